"""Masks that are chosen once, before the first step: at random, or by the magnitudes of a trained dense network."""

from __future__ import annotations

from functools import partial
from typing import Any

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.moving import Masks, MaskUpdate, MovingMasks
from acdc_cli.sparsity.rewiring import random_scores
from acdc_cli.sparsity.select import magnitude_masks
from acdc_cli.sparsity.target import AllocationError


def random_static(sparsity: float | str | Allocation, *, seed: int = 0, **distributed: Any) -> MovingMasks:
    """A random network of that sparsity, trained as it is: the baseline called Static (RigL, section 4)."""
    allocation = Allocation.of(sparsity, **distributed)
    return MovingMasks(allocation, MaskUpdate(at_start=partial(random_masks, allocation, seed)))


def random_masks(allocation: Allocation, seed: int, covered: Covered, step: int) -> Masks:
    """A random network of that sparsity: name -> bool.

    Raises:
        AllocationError: if a layer would keep no weight, and no signal would ever pass through it.
    """
    masks = magnitude_masks(random_scores(covered.weights, seed, 0), allocation, covered.ranked)
    if empty := [name for name, mask in masks.items() if not mask.any()]:
        raise AllocationError(f"target {allocation.target}: {', '.join(empty)} would keep no weight; use a lower one")
    return masks


def magnitude(sparsity: float | str | Allocation, **distributed: Any) -> MovingMasks:
    """Keep the largest weights that the model has when this is attached, and fine-tune them: one-shot pruning."""
    allocation = Allocation.of(sparsity, **distributed)
    return MovingMasks(allocation, MaskUpdate(at_start=partial(_largest, allocation)))


def _largest(allocation: Allocation, covered: Covered, step: int) -> Masks:
    return magnitude_masks(covered.weights, allocation, covered.ranked)
