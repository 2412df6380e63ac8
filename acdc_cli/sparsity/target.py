"""Sparsity targets: a fraction of the weights to remove, or an N:M pattern."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass


class AllocationError(ValueError):
    """A sparsity target or setting is invalid, or the layers of the model cannot follow it."""


@dataclass(frozen=True)
class Pattern:
    """N:M sparsity: of every M neighbours along the input channels, the N largest are kept (``kept:group``)."""

    kept: int
    group: int

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"


Target = float | Pattern


def parse_target(target: object) -> Target:
    """Parse a target such as ``0.9`` or ``"2:4"``. A target that is parsed already is returned as it is.

    Raises:
        AllocationError: if the target is neither a number in [0, 1) nor N:M with 1 <= N < M.
    """
    if isinstance(target, Pattern):
        return target
    match = re.fullmatch(r"\s*(\d+):(\d+)\s*", target) if isinstance(target, str) else None
    if match:
        kept, group = int(match[1]), int(match[2])
        if not 1 <= kept < group:
            raise AllocationError(f"{target}: N:M needs 1 <= N < M, such as 2:4")
        return Pattern(kept, group)
    if isinstance(target, bool) or not isinstance(target, (int, float, str)):
        raise _not_a_target(target)
    try:
        fraction = float(target)
    except ValueError:
        raise _not_a_target(target) from None
    if math.isnan(fraction):
        raise _not_a_target(target)
    if not 0 <= fraction < 1:
        meant = fraction / 100 if 2 < fraction < 100 else 0.0 if fraction < 0 else 0.99
        hint = '; in a YAML file write N:M in quotes, "2:4"' if isinstance(target, int) and target >= 60 else ""
        raise AllocationError(f"{target}: outside [0, 1); did you mean {meant:g}?{hint}")
    return fraction


def _not_a_target(target: object) -> AllocationError:
    return AllocationError(f"{target}: not a number in [0, 1) and not N:M, such as 0.9 or 2:4")


def removed_fraction(target: Target) -> float:
    """Return the fraction of weights that a target removes."""
    return 1 - target.kept / target.group if isinstance(target, Pattern) else target


def require_fractions(*targets: Target, method: str) -> None:
    """Raise AllocationError if a target is N:M. Methods call this if their masks cannot follow N:M groups."""
    for target in targets:
        if isinstance(target, Pattern):
            raise AllocationError(f"target {target}: method {method} cannot honour N:M; use a fraction, such as 0.5")


def require_layer_by_layer(distribution: str, method: str) -> None:
    """Raise AllocationError if the distribution is global. Methods call this if they work layer by layer."""
    if distribution == "global":
        raise AllocationError(f"distribution global: method {method} works layer by layer; use erk or uniform")
