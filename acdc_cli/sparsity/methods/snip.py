"""SNIP: single-shot network pruning (Lee et al., ICLR 2019, arXiv 1810.02340)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.moving import Masks, MaskUpdate, MovingMasks
from acdc_cli.sparsity.select import magnitude_masks


def snip(sparsity: float | str | Allocation, **distributed: Any) -> MovingMasks:
    """Keep the weights whose removal would change the first batch's loss most: |g * w|, equations 4 to 6.

    Chosen before the first step, by its gradients over all ranks; then fixed.

    Args:
        sparsity: a fraction, N:M, or an ``Allocation``; global in the paper.
        distributed: as ``ACDC``'s.
    """
    allocation = Allocation.of(sparsity, **distributed)

    return MovingMasks(allocation, MaskUpdate(when_by_gradients=_is_first, by_gradients=partial(_prune, allocation)))


def _is_first(step: int) -> bool:
    return step == 0


def _prune(allocation: Allocation, covered: Covered, step: int) -> Masks:
    saliency = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.detach() * weight.grad
        for name, weight in covered.weights.items()
    }
    return magnitude_masks(saliency, allocation, covered.ranked)
