"""Exact selection of the smallest magnitudes over many tensors, without sorting or concatenating them.

Non-negative floats have the same order as their bits read as integers. The threshold is therefore found by radix
selection: count the leading 16 bits of every magnitude, find the bucket that holds the wanted rank, then count the next
16 bits within that bucket. Weights are read in place, one chunk at a time, so the extra memory is the masks and one
chunk.

Comparisons write 0 and 1 as integers of the weights' width, and a second step turns these into bool. PyTorch does not
vectorise a comparison with a bool result for AVX2; the two steps together take a third of the time of one such
comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

_DIGIT_BITS = 16
_GROUP = 8  # so many bools are read as one 64-bit integer
_CHUNK = 1 << 20  # elements; smaller chunks spend their time starting threads, larger ones do not fit into the cache
_INTEGER_OF_BYTES = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Cut:
    """The boundary of the smallest magnitudes: all below ``threshold``, and the first ``ties_dropped`` equal to it.

    Attributes:
        threshold: a magnitude as an integer, see ``magnitude_bits``.
        ties_dropped: number of magnitudes equal to the threshold that count among the smallest.
        ties: number of all magnitudes equal to the threshold.
    """

    threshold: int
    ties_dropped: int
    ties: int


def magnitude_bits(weight: Tensor) -> Tensor:
    """Return |weight| as integers of the weight's width that have the same order as the magnitudes.

    The result is 1-D, in row-major order of the weight whatever its memory format. NaN is larger than every number.
    """
    bits = _bits(weight)
    return bits & torch.iinfo(bits.dtype).max


def _bits(weight: Tensor) -> Tensor:
    return weight.detach().reshape(-1).contiguous().view(_INTEGER_OF_BYTES[weight.element_size()])


def _chunks(weights: Sequence[Tensor]) -> Iterator[Tensor]:
    for weight in weights:
        yield from _bits(weight).split(_CHUNK)


def smallest(weights: Sequence[Tensor], count: int) -> Cut:
    """Find the boundary of the ``count`` smallest magnitudes.

    Args:
        weights: tensors of one floating dtype, any shapes.
        count: how many to select, 1 <= count <= total number of elements.
    """
    digits: list[int] = []  # the known digits of the threshold, most significant first
    remaining, ties = count, 0
    for _ in range(weights[0].element_size() * 8 // _DIGIT_BITS):
        values = 1 << (_DIGIT_BITS if digits else _DIGIT_BITS - 1)  # the sign bit is left out of the leading digit
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
    """Return the next digit of every magnitude whose leading digits are the known ones."""
    width = bits.element_size() * 8
    if not known:
        return (bits >> (width - _DIGIT_BITS)).to(torch.int16) & torch.iinfo(torch.int16).max  # clears the sign bit
    rest = width - _DIGIT_BITS * len(known)
    beginning = bits & (torch.iinfo(bits.dtype).max >> rest << rest)
    wanted = int.from_bytes(b"".join(digit.to_bytes(2) for digit in known)) << rest
    inside = torch.eq(beginning, wanted, out=beginning).to(torch.bool)
    return _few(bits, inside) >> (rest - _DIGIT_BITS) & ((1 << _DIGIT_BITS) - 1)


def _few(bits: Tensor, inside: Tensor) -> Tensor:
    """Return ``bits[inside]``, several times as fast as indexing if few elements are True.

    ``inside`` (bool) is read in groups of eight, and groups without a True are skipped.
    """
    whole = len(bits) // _GROUP * _GROUP
    groups = inside[:whole].view(torch.int64).nonzero().flatten()
    if 2 * _GROUP * len(groups) > whole:
        return bits[inside]
    of_groups, flags = (each[:whole].view(whole // _GROUP, _GROUP).index_select(0, groups) for each in (bits, inside))
    return torch.cat([of_groups[flags], bits[whole:][inside[whole:]]])


def keep_largest(weights: Sequence[Tensor], removed: int) -> list[Tensor]:
    """Return masks that drop exactly ``removed`` weights: the smallest magnitudes over all tensors together.

    Among equal magnitudes, the one at the lower position is dropped first (order of the tensors, then row-major). The
    count is therefore exact, and the masks are the same on every machine.

    Returns:
        One bool tensor per weight, same shape and memory format, True where the weight is kept.

    Raises:
        ValueError: if ``removed`` is negative or larger than the number of weights.
    """
    total = sum(weight.numel() for weight in weights)
    if not 0 <= removed <= total:
        raise ValueError(f"cannot remove {removed} of {total} weights")
    if removed == 0:
        return [torch.ones_like(weight, dtype=torch.bool) for weight in weights]
    common = reduce(torch.promote_types, {weight.dtype for weight in weights})  # represents all their values exactly
    weights = [weight.to(common) for weight in weights]
    cut = smallest(weights, removed)
    flat_masks = [torch.empty(weight.numel(), dtype=torch.bool, device=weight.device) for weight in weights]
    _write(flat_masks, weights, cut)
    return [_like(weight, flat) for weight, flat in zip(weights, flat_masks, strict=True)]


def _write(flat_masks: list[Tensor], weights: Sequence[Tensor], cut: Cut) -> None:
    """Fill the flat masks: True above the threshold, and at the threshold for the ties that are not dropped."""
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
    """Return a flat mask in the shape and memory format of its weight."""
    shaped = flat.view(weight.shape)
    return shaped if weight.is_contiguous() else torch.empty_like(weight, dtype=torch.bool).copy_(shaped)
