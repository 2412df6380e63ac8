"""How much: a sparsity target, spread over the layers and turned into masks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc_cli.sparsity.topk import keep_largest, magnitude_bits

DISTRIBUTIONS = ("global", "uniform")
INDIVISIBLE = ("skip", "error", "flatten")
INPUT_CHANNEL_AXIS = 1  # of linear (out, in) and convolution (out, in / groups, *kernel) weights


class AllocationError(ValueError):
    """A target that these layers cannot take."""


@dataclass(frozen=True)
class Pattern:
    """N:M sparsity: of every M neighbours along the input channels, the N largest are kept."""

    kept: int
    group: int

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"


def parse_target(target: float | str) -> float | Pattern:
    """Read ``0.9`` or ``"2:4"``.

    Raises:
        AllocationError: unless it is a number in [0, 1) or N:M with 1 <= N < M.
    """
    match = re.fullmatch(r"\s*(\d+):(\d+)\s*", target) if isinstance(target, str) else None
    if match:
        kept, group = int(match[1]), int(match[2])
        if not 1 <= kept < group:
            raise AllocationError(f"{target}: N:M needs 1 <= N < M, such as 2:4")
        return Pattern(kept, group)
    try:
        if isinstance(target, bool):
            raise ValueError
        fraction = float(target)
        if math.isnan(fraction):
            raise ValueError
    except (TypeError, ValueError):
        raise AllocationError(f"{target}: not a number in [0, 1) and not N:M, such as 0.9 or 2:4") from None
    if not 0 <= fraction < 1:
        meant = fraction / 100 if 2 < fraction < 100 else 0.0 if fraction < 0 else 0.99
        hint = '; in a YAML file write N:M in quotes, "2:4"' if isinstance(target, int) and target >= 60 else ""
        raise AllocationError(f"{target}: outside [0, 1); did you mean {meant:g}?{hint}")
    return fraction


@dataclass(frozen=True)
class Allocation:
    """How a target is spread.

    Attributes:
        target: fraction of weights removed, in [0, 1), or an N:M pattern.
        distribution: ``global`` ranks all weights together, ``uniform`` each layer alone. An N:M pattern is what it
            is under either.
        min_layer_density: fraction of its weights that every layer keeps, whatever the global ranking says; the
            total stays exact.
        indivisible: what an N:M pattern does with a layer whose input channels M does not divide: ``skip`` leaves it
            dense, ``error`` refuses, ``flatten`` groups over the flattened (out, *kernel, in) tensor as in the
            reference code of AC/DC.
    """

    target: float | Pattern
    distribution: str = "global"
    min_layer_density: float = 0.0
    indivisible: str = "skip"

    def __post_init__(self) -> None:
        if self.distribution not in DISTRIBUTIONS:
            raise AllocationError(f"distribution {self.distribution!r} is none of {', '.join(DISTRIBUTIONS)}")
        if self.indivisible not in INDIVISIBLE:
            raise AllocationError(f"indivisible {self.indivisible!r} is none of {', '.join(INDIVISIBLE)}")
        if not 0 <= self.min_layer_density <= 1:
            raise AllocationError(f"min_layer_density {self.min_layer_density} is outside [0, 1]")
        if self.distribution != "global" or isinstance(self.target, Pattern):
            return  # no floor is needed
        if self.min_layer_density > round(1 - self.target, 12):
            raise AllocationError(
                f"min_layer_density {self.min_layer_density} keeps more than the target {self.target} leaves; "
                f"at most {1 - self.target:.4g}"
            )


def excluded_layers(shapes: Mapping[str, torch.Size], allocation: Allocation) -> list[str]:
    """Names of the weights that this allocation leaves dense.

    Raises:
        AllocationError: if these layers cannot take the allocation: a pattern that none or not all of them can follow,
            or a floor that keeps more whole weights than the target leaves.
    """
    if not isinstance(allocation.target, Pattern):
        _check_floor(shapes, allocation)
        return []
    group = allocation.target.group
    if allocation.indivisible == "flatten":
        bad = [name for name, shape in shapes.items() if math.prod(shape) % group]
    else:
        bad = [name for name, shape in shapes.items() if shape[INPUT_CHANNEL_AXIS] % group]
    if bad and allocation.indivisible != "skip":
        what = "weights" if allocation.indivisible == "flatten" else "input channels"
        raise AllocationError(f"{group} does not divide the {what} of {', '.join(bad)}; use indivisible=skip")
    if len(bad) == len(shapes):
        raise AllocationError(f"no layer's input channels are divisible by {group}, so nothing could be pruned")
    return bad


def magnitude_masks(weights: Mapping[str, Tensor], allocation: Allocation) -> dict[str, Tensor]:
    """Masks (True = kept) that keep the largest magnitudes under an allocation.

    Global and uniform targets remove exactly ``round(target * n)`` weights, n being all weights or a layer's.

    Args:
        weights: name -> weight, of one dtype.

    Returns:
        name -> bool tensor of the weight's shape and memory format.
    """
    target = allocation.target
    if isinstance(target, Pattern):
        excluded = excluded_layers({name: weight.shape for name, weight in weights.items()}, allocation)
        return {
            name: torch.ones_like(weight, dtype=torch.bool) if name in excluded else _pattern_mask(weight, target)
            for name, weight in weights.items()
        }
    if allocation.distribution == "uniform":
        return {name: keep_largest([weight], round(target * weight.numel()))[0] for name, weight in weights.items()}
    _check_floor({name: weight.shape for name, weight in weights.items()}, allocation)
    return _global_masks(weights, target, allocation.min_layer_density)


def _global_masks(weights: Mapping[str, Tensor], target: float, min_layer_density: float) -> dict[str, Tensor]:
    """Rank all weights together; layers that would fall below the floor get exactly the floor, the rest is re-ranked.

    Fixing a layer at its floor takes weights from the others, so it is repeated until every free layer is above it.
    """
    removed = round(target * sum(weight.numel() for weight in weights.values()))
    ceiling = {name: weight.numel() - _floor(min_layer_density, weight.numel()) for name, weight in weights.items()}
    free: dict[str, Tensor] = dict(weights)
    masks: dict[str, Tensor] = {}
    while True:
        free_removed = removed - sum(int((~mask).sum()) for mask in masks.values())
        ranked = dict(zip(free, keep_largest(list(free.values()), free_removed), strict=True))
        below = [name for name, mask in ranked.items() if int((~mask).sum()) > ceiling[name]]
        if not below:
            masks |= ranked
            return {name: masks[name] for name in weights}
        for name in below:
            masks[name] = keep_largest([free.pop(name)], ceiling[name])[0]


def _check_floor(shapes: Mapping[str, torch.Size], allocation: Allocation) -> None:
    """Floors are whole weights: in many small layers they add up to more than the fractions say."""
    assert not isinstance(allocation.target, Pattern)
    counts = [math.prod(shape) for shape in shapes.values()]
    left = sum(counts) - round(allocation.target * sum(counts))
    kept = sum(_floor(allocation.min_layer_density, count) for count in counts)
    if allocation.distribution == "global" and kept > left:
        raise AllocationError(
            f"min_layer_density {allocation.min_layer_density} keeps {kept} weights, the target leaves {left}; "
            "set min_layer_density=0 or a lower target"
        )


def _floor(density: float, count: int) -> int:
    """Weights that a density keeps at least; rounded first, because 0.3 * 90 is a little more than 27."""
    return math.ceil(round(density * count, 6))


def _pattern_mask(weight: Tensor, pattern: Pattern) -> Tensor:
    """N:M along (out, *kernel, in); among equal magnitudes the lower position goes first.

    Where the pattern divides the input channels a group lies within them; otherwise (``flatten``) it straddles.
    """
    channels_last = weight.detach().movedim(INPUT_CHANNEL_AXIS, -1).contiguous()
    groups = magnitude_bits(channels_last).view(-1, pattern.group)
    ascending = groups.argsort(dim=1, stable=True)
    keep = torch.ones_like(groups, dtype=torch.bool)
    keep.scatter_(1, ascending[:, : pattern.group - pattern.kept], False)
    mask = torch.empty_like(weight, dtype=torch.bool)
    return mask.copy_(keep.view(channels_last.shape).movedim(-1, INPUT_CHANNEL_AXIS))
