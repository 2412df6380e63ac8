"""GMP: gradual magnitude pruning (Zhu & Gupta 2017, arXiv 1710.01878)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.moving import Masks, MovingMasks, Rule
from acdc_cli.sparsity.pick import positive_where
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.select import blocks_with, magnitude_masks
from acdc_cli.sparsity.target import AllocationError, Pattern, require_fractions
from acdc_cli.sparsity.window import Window, gradual_sparsity


def gmp(
    sparsity: float | str | Allocation,
    window: Window,
    *,
    initial_sparsity: float = 0.0,
    power: float = 3.0,
    **spread: Any,
) -> MovingMasks:
    """Prune more and more: s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, equation 1, at each due step.

    The smallest magnitudes go; what is pruned never comes back.

    Args:
        sparsity: the final one, s_f: a fraction, or an ``Allocation``.
        window: t_0, t_0 + n dt and dt, in steps.
        initial_sparsity: s_i, reached at the window's start.
        power: 3 in the paper (cubic); 1 is linear.
        spread: as ``ACDC``'s.

    Raises:
        AllocationError: for N:M, which has no halfway; for a start above some layers' target.
    """
    allocation = Allocation.of(sparsity, **spread)
    targets = (allocation.target, *allocation.rules.values())
    require_fractions(*targets, method="gmp")
    if any(not isinstance(target, Pattern) and 0 < target < initial_sparsity for target in targets):
        raise AllocationError(f"initial_sparsity {initial_sparsity} is above the sparsity that it leads to")

    def at(share: Share, progress: float) -> Share:
        if not share.target or isinstance(share.target, Pattern):
            return share
        return replace(share, target=gradual_sparsity(initial_sparsity, share.target, progress, power))

    def prune(covered: Covered, step: int) -> Masks:
        shares = [at(share, window.progress(step)) for share in covered.ranked]
        remaining = {name: positive_where(covered.masks[name], weight) for name, weight in covered.weights.items()}
        if allocation.block is not None:
            for name in (name for share in shares if share.target is not None for name in share.names):
                remaining[name] = _cut_blocks_first(remaining[name], allocation.block)
        masks = magnitude_masks(remaining, allocation, shares)
        # ERK's whole weights, given out by the largest remainder, may ask a layer for one less than before.
        return {name: mask & (remaining[name] > 0) for name, mask in masks.items()}

    return MovingMasks(allocation, Rule(when_by_weights=window.is_due, by_weights=prune))


def _cut_blocks_first(remaining: Tensor, block: tuple[int, ...]) -> Tensor:
    """Magnitudes by which a block that has lost some of its weights ranks below every block that is whole.

    Else another block may be the smallest next time, and what the first one lost would come back.
    """
    is_cut = blocks_with(remaining == 0, block) & (remaining > 0)
    return remaining.masked_fill(is_cut, torch.finfo(remaining.dtype).tiny)
