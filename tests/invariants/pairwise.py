"""Few cases that bring every two values together: greedy, and the same on every machine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from invariant_cases import Case, all_cases, pairs_of


def pairwise_suite() -> list[Case]:
    """Cases until no pair is left, each the one with the most new pairs (the first of those, in product order).

    Compilation is no axis: it takes seconds and changes nothing that an optimizer or a scaler sees. Two cases, on one
    rank and on two, are there a second time, compiled.
    """
    candidates = {case: set(pairs_of(case)) for case in all_cases()}
    left = set().union(*candidates.values())
    suite: list[Case] = []
    while left:
        best = max(candidates, key=lambda case: len(candidates[case] & left))
        suite.append(best)
        left -= candidates[best]
    return suite + [replace(_first(suite, ranks), compiled=True) for ranks in (1, 2)]


def _first(suite: list[Case], ranks: int) -> Case:
    """The first that has much for a compiled model to go through."""
    return next(case for case in suite if case.ranks == ranks and case.accumulation > 1 and case.clipping)


def covering_suite(
    axes: Mapping[str, tuple[Any, ...]], goes_together: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """Few combinations in which every two values meet that can; for axes whose full product is too large to list.

    Greedy: begin with the first two values that have not met, give each other axis the value that meets the most new
    ones.

    Args:
        goes_together: whether some values (not of every axis yet) can be one case. It may forbid pairs alone, and must
            leave each axis a value whatever the others are.
    """
    left = {
        frozenset(pair)
        for first, second in itertools.combinations(axes, 2)
        for pair in itertools.product([(first, value) for value in axes[first]], [(second, v) for v in axes[second]])
        if goes_together(dict(pair))
    }
    suite = []
    while left:
        case = dict(min(left, key=lambda pair: sorted(map(repr, pair))))
        for axis in (name for name in axes if name not in case):
            fitting = [value for value in axes[axis] if goes_together(case | {axis: value})]
            case[axis] = max(fitting, key=lambda value: len(left & _meetings(case, axis, value)))
        left -= {frozenset(pair) for pair in itertools.combinations(case.items(), 2)}
        suite.append(case)
    return suite


def _meetings(case: Mapping[str, Any], axis: str, value: Any) -> set[frozenset[tuple[str, Any]]]:
    return {frozenset([(axis, value), other]) for other in case.items()}
