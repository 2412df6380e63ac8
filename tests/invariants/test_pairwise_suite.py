"""The invariants of AC/DC over every pair of optimizer, precision, implementation, accumulation, clipping, EMA, ranks.

Weights outside the mask are exactly 0 after every step of a sparse phase, moments are new at the start of a dense one,
masks are the same on every rank, and an average of the weights is masked when it is read.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from case_run import run_case
from invariant_cases import AXES, Case, all_cases, exists, optimizer_of
from pairwise import pairwise_suite
from rank_pair import RankPair
from torch import nn

SUITE = pairwise_suite()


def check(case: Case, phases: int, request: pytest.FixtureRequest) -> None:
    if case.ranks == 1:
        run_case(case, phases)
        return
    pair: RankPair = request.getfixturevalue("two_ranks")
    first, second = pair.run(run_case, case, phases, seconds=300 if case.compiled else 60)
    assert len(first.mask_digests) == phases // 2
    assert first.mask_digests == second.mask_digests
    assert first.weights == second.weights


@pytest.mark.parametrize("case", [case for case in SUITE if not case.compiled], ids=str)
def test_every_pair(case: Case, request: pytest.FixtureRequest) -> None:
    check(case, 6, request)


@pytest.mark.exhaustive  # with a cold cache half a minute each, most of it the C++ compiler's
@pytest.mark.parametrize("case", [case for case in SUITE if case.compiled], ids=str)
def test_compiled(case: Case, request: pytest.FixtureRequest) -> None:
    check(case, 6, request)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_the_full_product(case: Case, request: pytest.FixtureRequest) -> None:
    check(case, 4, request)


def test_the_suite_is_small_and_brings_every_two_values_together() -> None:
    """Found out again, value by value: a pair may be missing only where no case that exists has it."""
    assert len(SUITE) <= 60
    assert [case.ranks for case in SUITE if case.compiled] == [1, 2]
    quick = [case for case in SUITE if not case.compiled]
    assert len(all_cases()) == (4 * 3 + 2 * 2) * 3 * 2**4  # NAdam and LAMB have two implementations, the others three
    impossible = {("nadam", "fused"), ("lamb", "fused")}
    for left, right in itertools.combinations(AXES, 2):
        for pair in itertools.product(AXES[left], AXES[right]):
            there = any((getattr(case, left), getattr(case, right)) == pair for case in quick)
            assert there != (pair in impossible), f"{left}, {right}: {pair}"


@pytest.mark.parametrize("optimizer", AXES["optimizer"])
@pytest.mark.parametrize("implementation", AXES["implementation"])
def test_what_does_not_exist_cannot_be_made(optimizer: str, implementation: str) -> None:
    case = Case(optimizer, "fp32", implementation, 1, False, False, 1)
    parameters = [nn.Parameter(torch.ones(2))]
    if exists(case):
        assert optimizer_of(case, parameters).param_groups
    else:
        with pytest.raises(TypeError, match="fused"):
            optimizer_of(case, parameters)
