"""Which samples make up which training step, and which part of them is whose: pure functions, to start anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MicroBatch:
    """One forward and backward pass of a rank. A step is made of one of them, or of several whose gradients add up.

    Attributes:
        samples: their indices (N,).
        weight: what the mean loss over them is multiplied by, so that the mean over the ranks of the gradients that
            the ranks add up is the gradient of the mean loss over the step's samples.
        count: samples that count in training loss and accuracy: N, or 0 for a stand-in.
        begins_step, ends_step: whether it is the first or the last pass of its step.
    """

    samples: np.ndarray
    weight: float
    count: int
    begins_step: bool
    ends_step: bool


def in_batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """The samples in consecutive batches; the last one may be smaller."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def training_batches(
    order: np.ndarray, batch_size: int, passes: int = 1, rank: int = 0, ranks: int = 1, first_step: int = 0
) -> list[MicroBatch]:
    """The passes of a rank through an epoch.

    A step's samples are dealt out in equal runs: to the ranks within a pass, to the passes within the step. Where an
    epoch's last step has fewer samples than places, a rank that goes without passes one sample again at weight zero,
    because the others wait for its gradients.

    Args:
        order: the epoch's samples, in order (N,).
        batch_size: samples a step, over all ranks and passes.
        passes: forward and backward passes a step.
        first_step: steps (0-based) before it are left out.
    """
    batches = []
    for samples in in_batches(order, batch_size)[first_step:]:
        parts = np.array_split(samples, passes * ranks)
        for index in range(passes):
            part = parts[index * ranks + rank]
            weight = ranks * len(part) / len(samples)
            stand_in = part if len(part) else samples[:1]
            batches.append(MicroBatch(stand_in, weight, len(part), index == 0, index == passes - 1))
    return batches


def evaluation_batches(count: int, batch_size: int, rank: int = 0, ranks: int = 1) -> list[np.ndarray]:
    """A rank's share of the samples 0 to count - 1, each of which is in exactly one batch of exactly one rank."""
    return in_batches(np.array_split(np.arange(count), ranks)[rank], batch_size)
