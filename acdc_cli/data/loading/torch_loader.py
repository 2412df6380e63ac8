"""The torch loader: the same batches from the samples' source, through ``torch.utils.data.DataLoader``."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from acdc_cli.data.source import Samples
from acdc_cli.data.view import View
from acdc_cli.system.signals import ignore_stop_signals


class _Arrays(Dataset):
    """Samples in memory, fetched a batch at a time."""

    def __init__(self, samples: Samples) -> None:
        self.images = torch.from_numpy(samples.images)
        self.labels = torch.from_numpy(samples.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(indices)
        return self.images[index], self.labels[index]


def _as_fetched(batch: Any) -> Any:
    """``__getitems__`` has collated the batch already."""
    return batch


class TorchLoader:
    """Batches of samples in memory, made by ``workers`` processes (0: in this one)."""

    def __init__(self, samples: Samples, workers: int) -> None:
        self._dataset = _Arrays(samples)
        self._workers = workers
        self.count = len(self._dataset)

    def batches(
        self, batches: list[np.ndarray], view: View | None = None
    ) -> Generator[tuple[Tensor, Tensor, np.ndarray], None, None]:
        """(images uint8 (N, height, width, channels), labels (N,), sample indices (N,)) of each batch in turn.

        Args:
            view: ignored: all samples have one size.
        """
        loader = DataLoader(
            self._dataset,
            batch_sampler=[samples.tolist() for samples in batches],
            num_workers=self._workers,
            collate_fn=_as_fetched,
            generator=torch.Generator(),  # its own: the global one is the model's
            worker_init_fn=ignore_stop_signals,
            # A worker ends with its parent. That is the run only if it is forked: Python 3.14 has a server fork it.
            multiprocessing_context="fork" if self._workers else None,
        )
        for (images, labels), samples in zip(loader, batches, strict=True):
            yield images, labels, samples
