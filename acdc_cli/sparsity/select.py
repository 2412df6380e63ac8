"""Make masks that keep the weights with the largest magnitudes under an allocation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from acdc_cli.sparsity.allocate import Allocation, floor_of, removed_per_layer, shares_of
from acdc_cli.sparsity.layer import Layer
from acdc_cli.sparsity.layout import INPUT_AXIS, OUTPUT_AXIS, OUTPUTS_FIRST, Layout
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.target import Pattern
from acdc_cli.sparsity.topk import keep_largest, magnitude_bits

Select = Callable[[Sequence[Tensor], int], list[Tensor]]  # (weights, removed) -> masks


def magnitude_masks(
    weights: Mapping[str, Tensor], allocation: Allocation, shares: Sequence[Share] | None = None
) -> dict[str, Tensor]:
    """Return masks (True = kept) that keep the largest magnitudes under an allocation.

    A fraction removes exactly ``round(target * n)`` weights, where n counts the weights of a whole share (global, ERK)
    or of each of its layers (uniform).

    Args:
        weights: name -> weight.
        allocation: target, distribution and the other settings.
        shares: the result of ``allocate.shares_of``. It is needed if rules use words or if a weight is not stored
            outputs first, because a weight alone does not tell its layer's words and layout.

    Returns:
        name -> bool tensor of the weight's shape and memory format, in the order of the weights.
    """
    if shares is None:
        shares = shares_of({name: Layer(weight.shape) for name, weight in weights.items()}, allocation)
    masks: dict[str, Tensor] = {}
    for share in shares:
        its_weights = {name: weights[name] for name in share.names}
        if share.target is None:
            masks |= {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in its_weights.items()}
        elif isinstance(share.target, Pattern):
            masks |= {
                name: pattern_mask(weight, share.target, share.layout(name)) for name, weight in its_weights.items()
            }
        else:
            masks |= _ranked(its_weights, share, share.target, allocation)
    return {name: masks[name] for name in weights}


def _ranked(weights: Mapping[str, Tensor], share: Share, target: float, allocation: Allocation) -> dict[str, Tensor]:
    select: Select = keep_largest
    ranked = weights
    if allocation.block is not None:  # a block is (outputs, inputs), so weights are ranked with outputs first
        select = partial(keep_largest_blocks, block=allocation.block)
        ranked = {name: share.layout(name).outputs_first(weight.detach()) for name, weight in weights.items()}
    if allocation.distribution == "global":
        masks = _global_masks(ranked, target, allocation.min_layer_density, select)
    else:
        shapes = {name: share.layout(name).shape_outputs_first(weight.shape) for name, weight in weights.items()}
        removed = removed_per_layer(shapes, target, allocation.distribution)
        masks = {name: select([weight], removed[name])[0] for name, weight in ranked.items()}
    if allocation.block is None:
        return masks
    return {name: _as_stored(mask, weights[name], share.layout(name)) for name, mask in masks.items()}


def _as_stored(mask: Tensor, weight: Tensor, layout: Layout) -> Tensor:
    """Return a mask (out, in / groups, *kernel) in the weight's stored shape and memory format."""
    if not layout.inputs_first:
        return mask
    return torch.empty_like(weight, dtype=torch.bool).copy_(layout.as_stored(mask))


def _global_masks(
    weights: Mapping[str, Tensor], target: float, min_layer_density: float, select: Select
) -> dict[str, Tensor]:
    """Rank all weights together, and keep at least the minimum density in every layer.

    A layer that would fall below its minimum keeps exactly the minimum, and the other layers are ranked again without
    it. They then lose more weights, so this is repeated until no further layer falls below its minimum.
    """
    left_to_remove = round(target * sum(weight.numel() for weight in weights.values()))
    ceiling = {name: weight.numel() - floor_of(min_layer_density, weight.numel()) for name, weight in weights.items()}
    free: dict[str, Tensor] = dict(weights)
    masks: dict[str, Tensor] = {}
    while True:
        ranked = dict(zip(free, select(list(free.values()), left_to_remove), strict=True))
        below = [name for name, mask in ranked.items() if mask.numel() - int(mask.count_nonzero()) > ceiling[name]]
        if not below:
            return masks | ranked
        for name in below:
            masks[name] = select([free.pop(name)], ceiling[name])[0]
            left_to_remove -= ceiling[name]


def keep_largest_blocks(weights: Sequence[Tensor], removed: int, block: Sequence[int]) -> list[Tensor]:
    """Return masks that drop exactly ``removed`` weights, as the blocks with the smallest sums of magnitudes.

    A block is ``block[0]`` outputs by ``block[1]`` inputs at one kernel position. If the size of a block does not
    divide ``removed``, the next block in the ranking loses only some of its weights, the smallest ones.

    Args:
        weights: each (out, in / groups, *kernel), with outputs and inputs that the block divides.
        removed: number of weights to drop, over all tensors together.
        block: (outputs, inputs).
    """
    scores = [_block_scores(weight.detach(), block) for weight in weights]
    whole, rest = divmod(removed, block[0] * block[1])
    kept_blocks = keep_largest(scores, whole)
    masks = [_mask_of_blocks(kept, weight, block) for kept, weight in zip(kept_blocks, weights, strict=True)]
    if rest == 0:
        return masks
    one_more = keep_largest(scores, whole + 1)
    for weight, mask, kept, without in zip(weights, masks, kept_blocks, one_more, strict=True):
        if not torch.equal(kept, without):
            cut = _mask_of_blocks(kept ^ without, weight, block)
            mask[cut] = keep_largest([weight.detach()[cut]], rest)[0]
    return masks


def _block_scores(weight: Tensor, block: Sequence[int]) -> Tensor:
    """Return the sum of magnitudes of each block: (out, in, *kernel) -> (out / rows, in / columns, *kernel).

    Magnitudes are always added in the same order, so that the ranking of nearly equal blocks does not depend on the
    memory format. They are added in double precision, so that blocks with the same magnitudes have equal sums.
    """
    rows, columns = block
    out, inputs, *kernel = weight.shape
    magnitudes = weight.contiguous().double().abs()
    return magnitudes.view(out // rows, rows, inputs // columns, columns, *kernel).sum(dim=(1, 3))


def _mask_of_blocks(blocks: Tensor, weight: Tensor, block: Sequence[int]) -> Tensor:
    """Expand a mask with one element per block into a mask of the weight, in the weight's memory format."""
    per_weight = blocks.repeat_interleave(block[0], OUTPUT_AXIS).repeat_interleave(block[1], INPUT_AXIS)
    return torch.empty_like(weight, dtype=torch.bool).copy_(per_weight)


def blocks_with(places: Tensor, block: Sequence[int], layout: Layout = OUTPUTS_FIRST) -> Tensor:
    """Return a mask that is True in every block in which ``places`` has at least one True.

    Args:
        places: bool, in the stored shape of its weight.
    """
    outputs_first = layout.outputs_first(places)
    found = _mask_of_blocks(_block_scores(outputs_first, block) > 0, outputs_first, block)
    return _as_stored(found, places, layout)


def pattern_mask(weight: Tensor, pattern: Pattern, layout: Layout = OUTPUTS_FIRST) -> Tensor:
    """Return an N:M mask: the N largest magnitudes of every M neighbours in the order (out, *kernel, in / groups).

    Among equal magnitudes, the one at the lower position is dropped first. If M divides the input channels, every group
    lies within the input channels of one output. Otherwise (``indivisible=flatten``), groups cross that boundary.
    """
    channels_last = layout.outputs_first(weight.detach()).movedim(INPUT_AXIS, -1).contiguous()
    columns = magnitude_bits(channels_last).view(-1, pattern.group).unbind(dim=1)
    keep = torch.empty(channels_last.numel(), dtype=torch.bool, device=weight.device).view(-1, pattern.group)
    for position, column in enumerate(columns):
        # Ranks come from comparing the M columns in pairs. Sorting millions of short rows takes four times as long.
        larger = torch.zeros(len(column), dtype=torch.int16, device=weight.device)
        for other_position, other in enumerate(columns):
            if other_position != position:
                larger += other >= column if other_position > position else other > column
        keep[:, position] = larger < pattern.kept
    mask = torch.empty_like(weight, dtype=torch.bool)
    return mask.copy_(layout.as_stored(keep.view(channels_last.shape).movedim(-1, INPUT_AXIS)))
