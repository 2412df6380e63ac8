"""Every method through every pair of spread, optimizer, precision, implementation, accumulation, clipping, EMA, ranks.

Zeros outside the masks are exact after every step, the count is the asked one, clipping sees masked gradients, a step
that the scaler skips leaves no trace, an average is masked when it is read, and two ranks stay the same.
"""

from __future__ import annotations

import itertools

import pytest
from invariant_cases import AXES, Case
from method_cases import METHOD_AXES, METHODS, SPECIAL, MethodCase, case_of, goes_together
from method_run import MethodRun, run_method_case
from pairwise import covering_suite
from rank_pair import RankPair

SUITE = [case_of(values) for values in covering_suite(METHOD_AXES, goes_together)]


@pytest.mark.parametrize("case", SUITE, ids=str)
def test_every_pair(case: MethodCase, request: pytest.FixtureRequest) -> None:
    if case.how.ranks == 1:
        run_method_case(case)
        return
    pair: RankPair = request.getfixturevalue("two_ranks")
    first, second = pair.run(run_method_case, case)
    assert first == second
    assert any(first.mask_digests)


def test_the_suite_is_small_and_brings_every_two_values_together() -> None:
    """Found out again, value by value: a pair may be missing only where a rule of the methods says so."""
    assert len(SUITE) <= 90
    rows = [{"method": case.method, "spread": case.spread, **vars(case.how)} for case in SUITE]
    impossible = {("fused", "nadam"), ("fused", "lamb"), ("nadam", "fused"), ("lamb", "fused")}
    impossible |= {(method, spread) for method in ("rigl", "set") for spread in ("global", "block", "2:4")}
    impossible |= {(method, "2:4") for method in ("gmp", "top_kast")}
    impossible |= {(method, spread) for method in ("str", "sparse_vd") for spread in ("uniform", "erk", "block", "2:4")}
    for left, right in itertools.combinations(METHOD_AXES, 2):
        for pair in itertools.product(METHOD_AXES[left], METHOD_AXES[right]):
            if {left, right} >= {"method", "spread"} and not {*pair} & SPECIAL.keys():
                continue  # an added method: its own facts are all that is known of it
            there = any((row[left], row[right]) == pair for row in rows)
            assert there != (pair in impossible), f"{left}, {right}: {pair}"


ALL_GRADIENTS = ("iht", "sparse_vd")
PLAIN = Case("sgd", "fp32", "foreach", 1, False, False, 1)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ALL_GRADIENTS])
def test_control_gradients_that_are_not_masked_are_noticed(name: str) -> None:
    with pytest.raises(AssertionError, match="a gradient is not masked"):
        MethodRun(MethodCase(name, "uniform", PLAIN), broken="gradients").run()


@pytest.mark.parametrize("name", ["gmp", "dsd", "top_kast"])  # those that prune what has moments
def test_control_weights_that_are_not_masked_are_noticed(name: str) -> None:
    with pytest.raises(AssertionError, match="a weight outside the mask moved"):
        MethodRun(MethodCase(name, "uniform", PLAIN), broken="weights").run()


def test_the_training_axes_are_those_of_the_core() -> None:
    assert METHOD_AXES.keys() == {"method", "spread", *AXES}
