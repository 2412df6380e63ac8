"""Masks that are chosen once, before the first step: at random, or by the magnitudes of a trained dense network."""

from __future__ import annotations

from typing import Any

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.moving import MovingMasks, Rule
from acdc_cli.sparsity.pick import random_scores
from acdc_cli.sparsity.select import magnitude_masks


def random_static(sparsity: float | str | Allocation, *, seed: int = 0, **spread: Any) -> MovingMasks:
    """A random network of that sparsity, trained as it is: the baseline called Static (RigL, section 4)."""
    allocation = Allocation.of(sparsity, **spread)
    return MovingMasks(
        allocation,
        Rule(
            at_start=lambda covered, _: magnitude_masks(
                random_scores(covered.weights, seed, 0), allocation, covered.ranked
            )
        ),
    )


def magnitude(sparsity: float | str | Allocation, **spread: Any) -> MovingMasks:
    """Keep the largest weights that the model has when this is attached, and fine-tune them: one-shot pruning."""
    allocation = Allocation.of(sparsity, **spread)
    return MovingMasks(
        allocation, Rule(at_start=lambda covered, _: magnitude_masks(covered.weights, allocation, covered.ranked))
    )
