"""Exact selection of the smallest magnitudes over many tensors, without sorting or concatenating them.

The bits of a non-negative float, read as an integer, order as the float does. So the threshold is found by radix
selection: count the leading 16 bits of every magnitude, find the bucket that holds the wanted rank, then repeat on
the few magnitudes of that bucket with the next 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_BITS_OF = {torch.float32: (torch.int32, 32), torch.float64: (torch.int64, 64)}
_DIGIT_BITS = 16


def magnitude_bits(weight: Tensor) -> Tensor:
    """|weight| as flat integers (row-major, whatever the memory format) that order as the magnitudes do."""
    magnitude = weight.detach().reshape(-1).abs()
    if magnitude.dtype not in _BITS_OF:
        magnitude = magnitude.float()  # half precisions embed exactly in float32
    return magnitude.view(_BITS_OF[magnitude.dtype][0])


def smallest_threshold(weights: Sequence[Tensor], count: int) -> tuple[int, int]:
    """Find where the ``count`` smallest magnitudes end.

    Args:
        weights: tensors of one dtype, any shapes.
        count: how many to select, 1 <= count <= total number of elements.

    Returns:
        (threshold, ties): ``magnitude_bits`` below the threshold are all selected, and of those equal to it the
        first ``ties`` in order of position. NaN counts as larger than every number.
    """
    total_bits = 64 if weights[0].dtype == torch.float64 else 32
    candidates = [magnitude_bits(weight) for weight in weights]
    threshold, remaining = 0, count
    for shift in range(total_bits - _DIGIT_BITS, -1, -_DIGIT_BITS):
        histogram = torch.stack([_digit_histogram(bits, shift) for bits in candidates]).sum(dim=0)
        cumulative = histogram.cumsum(0)
        digit = int(torch.searchsorted(cumulative, remaining))
        remaining -= int(cumulative[digit] - histogram[digit])
        threshold |= digit << shift
        candidates = [bits[(bits >> shift) == (threshold >> shift)] for bits in candidates]
    return threshold, remaining


def _digit_histogram(bits: Tensor, shift: int) -> Tensor:
    digits = (bits >> shift) & (2**_DIGIT_BITS - 1)
    return torch.bincount(digits, minlength=2**_DIGIT_BITS)


def keep_largest(weights: Sequence[Tensor], removed: int) -> list[Tensor]:
    """Masks that drop exactly ``removed`` weights, the smallest magnitudes over all tensors together.

    Among equal magnitudes the one with the lower position goes first (order of the tensors, then row-major), so the
    count is exact and the same on every machine.

    Returns:
        One bool tensor per weight, same shape and memory format, True where the weight is kept.

    Raises:
        ValueError: if ``removed`` is negative or more than there are weights.
    """
    total = sum(weight.numel() for weight in weights)
    if not 0 <= removed <= total:
        raise ValueError(f"cannot remove {removed} of {total} weights")
    if removed == 0:
        return [torch.ones_like(weight, dtype=torch.bool) for weight in weights]
    threshold, ties_left = smallest_threshold(weights, removed)
    masks = []
    for weight in weights:
        bits = magnitude_bits(weight)
        keep = bits >= threshold
        if ties_left:
            tied = torch.nonzero(bits == threshold).flatten()[:ties_left]
            keep[tied] = False
            ties_left -= len(tied)
        mask = torch.empty_like(weight, dtype=torch.bool)
        masks.append(mask.copy_(keep.view(weight.shape)))
    return masks
