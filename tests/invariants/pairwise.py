"""Few cases that bring every two values together: greedy, and the same on every machine."""

from __future__ import annotations

from dataclasses import replace

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
