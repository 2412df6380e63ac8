"""Exact selection of the smallest magnitudes over many tensors, without sorting or concatenating them.

The bits of a non-negative float, read as an integer, order as the float does. So the threshold is found by radix
selection: count the leading 16 bits of every magnitude, find the bucket that holds the wanted rank, and count the next
16 bits inside that bucket alone. Weights are read in place, a chunk at a time, so that memory holds the masks and one
chunk.

Comparisons write 0 and 1 as integers of the weights' width, which become bool afterwards: PyTorch does not vectorise a
comparison with a bool result for AVX2, and both steps together take a third of its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

_DIGIT_BITS = 16
_GROUP = 8  # bools that are read as one integer
_CHUNK = 1 << 20  # elements; smaller ones spend their time starting threads, larger ones leave the cache
_INTEGER_OF_BYTES = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Cut:
    """Where the smallest magnitudes end: all below the threshold, and the first ``ties_dropped`` of those equal to it.

    Attributes:
        threshold: magnitude bits, see ``magnitude_bits``.
        ties: how many magnitudes equal the threshold.
    """

    threshold: int
    ties_dropped: int
    ties: int


def magnitude_bits(weight: Tensor) -> Tensor:
    """|weight| as flat integers of its width (row-major, whatever the memory format) that order as the magnitudes do.

    NaN comes out larger than every number.
    """
    bits = _bits(weight)
    return bits & torch.iinfo(bits.dtype).max


def _bits(weight: Tensor) -> Tensor:
    return weight.detach().reshape(-1).contiguous().view(_INTEGER_OF_BYTES[weight.element_size()])


def _chunks(weights: Sequence[Tensor]) -> Iterator[Tensor]:
    for weight in weights:
        yield from _bits(weight).split(_CHUNK)


def smallest(weights: Sequence[Tensor], count: int) -> Cut:
    """Find where the ``count`` smallest magnitudes end.

    Args:
        weights: tensors of one floating dtype, any shapes.
        count: how many to select, 1 <= count <= total number of elements.
    """
    digits: list[int] = []  # of the threshold, most significant first
    remaining, ties = count, 0
    for _ in range(weights[0].element_size() * 8 // _DIGIT_BITS):
        values = 1 << (_DIGIT_BITS if digits else _DIGIT_BITS - 1)  # the leading digit has no sign
        histogram = torch.zeros(values, dtype=torch.int64, device=weights[0].device)
        for bits in _chunks(weights):
            histogram += torch.bincount(_next_digit(bits, digits), minlength=values)
        cumulative = histogram.cumsum(0)
        digit = int(torch.searchsorted(cumulative, remaining))
        ties = int(histogram[digit])
        remaining -= int(cumulative[digit]) - ties
        digits.append(digit)
    return Cut(int.from_bytes(b"".join(digit.to_bytes(2) for digit in digits)), remaining, ties)


def _next_digit(bits: Tensor, known: list[int]) -> Tensor:
    """The digit after the known ones, of those magnitudes that begin with the known ones."""
    width = bits.element_size() * 8
    if not known:
        return (bits >> (width - _DIGIT_BITS)).to(torch.int16) & torch.iinfo(torch.int16).max  # without the sign
    rest = width - _DIGIT_BITS * len(known)
    beginning = bits & (torch.iinfo(bits.dtype).max >> rest << rest)
    wanted = int.from_bytes(b"".join(digit.to_bytes(2) for digit in known)) << rest
    inside = torch.eq(beginning, wanted, out=beginning).to(torch.bool)
    return _few(bits, inside) >> (rest - _DIGIT_BITS) & ((1 << _DIGIT_BITS) - 1)


def _few(bits: Tensor, inside: Tensor) -> Tensor:
    """``bits[inside]``, several times as fast where few are inside: groups of eight without any are passed over."""
    whole = len(bits) // _GROUP * _GROUP
    groups = inside[:whole].view(torch.int64).nonzero().flatten()
    if 2 * _GROUP * len(groups) > whole:
        return bits[inside]
    of_groups, flags = (each[:whole].view(whole // _GROUP, _GROUP).index_select(0, groups) for each in (bits, inside))
    return torch.cat([of_groups[flags], bits[whole:][inside[whole:]]])


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
    common = reduce(torch.promote_types, {weight.dtype for weight in weights})  # holds each one's values exactly
    weights = [weight.to(common) for weight in weights]
    cut = smallest(weights, removed)
    flat_masks = [torch.empty(weight.numel(), dtype=torch.bool, device=weight.device) for weight in weights]
    _write(flat_masks, weights, cut)
    return [_like(weight, flat) for weight, flat in zip(weights, flat_masks, strict=True)]


def _write(flat_masks: list[Tensor], weights: Sequence[Tensor], cut: Cut) -> None:
    """Fill flat masks: kept above the threshold, and at it from the first tie that is not dropped."""
    parts = (part for mask in flat_masks for part in mask.split(_CHUNK))
    buffer = torch.empty(0, device=weights[0].device)
    ties_kept, ties_left = cut.ties - cut.ties_dropped, cut.ties_dropped
    for bits, mask in zip(_chunks(weights), parts, strict=True):
        if buffer.numel() < bits.numel():
            buffer = torch.empty_like(bits)
        magnitude = torch.bitwise_and(bits, torch.iinfo(bits.dtype).max, out=buffer[: len(bits)])
        tied = torch.nonzero(magnitude == cut.threshold).flatten() if ties_kept else None
        mask.copy_(torch.gt(magnitude, cut.threshold, out=magnitude))
        if tied is not None:
            mask[tied[ties_left:]] = True
            ties_left -= min(ties_left, len(tied))


def _like(weight: Tensor, flat: Tensor) -> Tensor:
    """A flat mask in its weight's shape and memory format."""
    shaped = flat.view(weight.shape)
    return shaped if weight.is_contiguous() else torch.empty_like(weight, dtype=torch.bool).copy_(shaped)
