"""Shared parts of the methods that raise sparsity gradually and never bring a removed weight back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.layout import Layout
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.rewiring import positive_where
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.select import blocks_with, magnitude_masks
from acdc_cli.sparsity.target import AllocationError, Pattern, Target
from acdc_cli.sparsity.window import gradual_sparsity


def require_initial(initial: float, targets: Sequence[Target]) -> None:
    """Raise AllocationError if a gradual schedule would begin above its final sparsity."""
    if any(not isinstance(target, Pattern) and 0 < target < initial for target in targets):
        raise AllocationError(f"initial_sparsity {initial} is above the final sparsity")


def shares_at(shares: Sequence[Share], progress: float, initial: float, power: float) -> list[Share]:
    """Return the shares with the targets of a gradual schedule at ``progress`` in [0, 1].

    Dense shares are returned unchanged, and so are N:M shares, because N:M has no intermediate sparsity.
    """
    return [
        share
        if not share.target or isinstance(share.target, Pattern)
        else replace(share, target=gradual_sparsity(initial, share.target, progress, power))
        for share in shares
    ]


def pruned_further(
    scores: Mapping[str, Tensor], masks: MaskSet, allocation: Allocation, shares: Sequence[Share]
) -> dict[str, Tensor]:
    """Return masks that keep the largest scores among the weights that ``masks`` keeps.

    Args:
        scores: one score per weight, by name; magnitudes count.
    """
    remaining = {name: positive_where(masks[name], score) for name, score in scores.items()}
    if allocation.block is not None:
        pruned = [(name, share.layout(name)) for share in shares if share.target is not None for name in share.names]
        for name, layout in pruned:
            remaining[name] = _cut_blocks_first(remaining[name], allocation.block, layout)
    chosen = magnitude_masks(remaining, allocation, shares)
    # ERK rounds to whole weights by the largest remainder, so it may remove one weight less from a layer than before.
    # Such a weight stays removed, because its remaining score is 0.
    return {name: mask & (remaining[name] > 0) for name, mask in chosen.items()}


def _cut_blocks_first(remaining: Tensor, block: tuple[int, ...], layout: Layout) -> Tensor:
    """Lower the magnitudes of blocks that are partly removed, so that they rank below every whole block.

    Otherwise another block could be the smallest in the next ranking, and the weights removed from the first one would
    come back.
    """
    is_cut = blocks_with(remaining == 0, block, layout) & (remaining > 0)
    return remaining.masked_fill(is_cut, torch.finfo(remaining.dtype).tiny)
