"""What methods have in common that prune more and more, and never bring a weight back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.layout import Layout
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.pick import positive_where
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.select import blocks_with, magnitude_masks
from acdc_cli.sparsity.target import AllocationError, Pattern, Target
from acdc_cli.sparsity.window import gradual_sparsity


def require_initial(initial: float, targets: Sequence[Target]) -> None:
    """Raise AllocationError if a gradual schedule would begin above a target that it leads to."""
    if any(not isinstance(target, Pattern) and 0 < target < initial for target in targets):
        raise AllocationError(f"initial_sparsity {initial} is above the sparsity that it leads to")


def shares_at(shares: Sequence[Share], progress: float, initial: float, power: float) -> list[Share]:
    """The shares at what their targets are by then; N:M, which has no halfway, and dense ones as they are."""
    return [
        share
        if not share.target or isinstance(share.target, Pattern)
        else replace(share, target=gradual_sparsity(initial, share.target, progress, power))
        for share in shares
    ]


def pruned_further(
    scores: Mapping[str, Tensor], masks: MaskSet, allocation: Allocation, shares: Sequence[Share]
) -> dict[str, Tensor]:
    """Masks that keep the largest scores among the weights that ``masks`` has.

    Args:
        scores: by name; their magnitudes count.
    """
    remaining = {name: positive_where(masks[name], score) for name, score in scores.items()}
    if allocation.block is not None:
        pruned = [(name, share.layout(name)) for share in shares if share.target is not None for name in share.names]
        for name, layout in pruned:
            remaining[name] = _cut_blocks_first(remaining[name], allocation.block, layout)
    chosen = magnitude_masks(remaining, allocation, shares)
    # ERK's whole weights, given out by the largest remainder, may ask a layer for one less than before.
    return {name: mask & (remaining[name] > 0) for name, mask in chosen.items()}


def _cut_blocks_first(remaining: Tensor, block: tuple[int, ...], layout: Layout) -> Tensor:
    """Magnitudes by which a block that has lost some of its weights ranks below every block that is whole.

    Else another block may be the smallest next time, and what the first one lost would come back.
    """
    is_cut = blocks_with(remaining == 0, block, layout) & (remaining > 0)
    return remaining.masked_fill(is_cut, torch.finfo(remaining.dtype).tiny)
