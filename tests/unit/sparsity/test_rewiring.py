"""Connections that move within a layer, and scores drawn from a key: masks written out by hand."""

from __future__ import annotations

import pytest
import torch

from acdc_cli.sparsity.rewiring import positive_where, random_scores, rewire


def rewired(mask: list[int], magnitudes: list[float], growth: list[float], moved: int) -> list[int]:
    scores = (torch.tensor(numbers, dtype=torch.float32) for numbers in (magnitudes, growth))
    new = rewire(torch.tensor(mask, dtype=torch.bool), *scores, moved)
    return new.int().tolist()


def test_the_smallest_goes_and_the_largest_gradient_comes() -> None:
    #                       drop: 1.0 at 1              grow: 5 at 4
    assert rewired([1, 1, 1, 0, 0, 0], [3, -1, 2, 0, 0, 0], [9, 0.5, 9, 1, 5, 2], 1) == [1, 0, 1, 0, 1, 0]


def test_signs_do_not_matter() -> None:
    assert rewired([1, 1, 1, 0, 0, 0], [-3, -1, 2, 0, 0, 0], [9, 0.5, -9, 1, 5, -7], 1) == [1, 0, 1, 0, 0, 1]


def test_several_move_and_one_that_was_dropped_may_come_back() -> None:
    # dropped: 1 and 2; in the running: 1 (0.5), 2 (9), 3 (1), 4 (5), 5 (2); grown: 2 and 4
    assert rewired([1, 1, 1, 0, 0, 0], [3, 1, 2, 0, 0, 0], [9, 0.5, 9, 1, 5, 2], 2) == [1, 0, 1, 0, 1, 0]
    assert rewired([1, 1, 0, 0], [1, 2, 0, 0], [8, 7, 6, 5], 1) == [1, 1, 0, 0]


def test_nothing_and_everything_may_move() -> None:
    assert rewired([1, 0, 1, 0], [1, 0, 2, 0], [0, 9, 0, 9], 0) == [1, 0, 1, 0]
    assert rewired([1, 0, 1, 0], [1, 0, 2, 0], [0, 9, 0, 8], 2) == [0, 1, 0, 1]


def test_a_connection_whose_weight_is_exactly_zero_is_a_connection() -> None:
    assert rewired([1, 1, 1, 0], [3, 0, 2, 0], [0, 0, 0, 1], 1) == [1, 0, 1, 1]
    assert rewired([1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1], 0) == [1, 1, 1, 0]
    assert sum(rewired([1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], 2)) == 3


def test_without_any_gradient_as_many_grow_all_the_same() -> None:
    """Of equal scores the lower position goes first: of 1, 2 and 3 the last is grown."""
    assert rewired([1, 1, 0, 0], [2, 1, 0, 0], [0, 0, 0, 0], 1) == [1, 0, 0, 1]


def test_what_a_weight_outside_the_mask_holds_does_not_matter() -> None:
    assert rewired([1, 1, 0, 0], [1, 2, 50, 60], [0, 0, 3, 4], 1) == [0, 1, 0, 1]


def test_a_full_layer_has_nowhere_to_move_to() -> None:
    assert rewired([1, 1, 1], [3, 1, 2], [1, 2, 3], 1) == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_and_any_shape(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 0], [1, 0]], dtype=torch.bool)
    new = rewire(mask, torch.tensor([[0, 0], [2, 0]], dtype=dtype), torch.tensor([[0, 1], [0, 3]], dtype=dtype), 1)
    assert new.int().tolist() == [[0, 0], [1, 1]]


def test_magnitudes_count_inside_alone() -> None:
    scores = positive_where(torch.tensor([True, True, False]), torch.tensor([-2.0, 0.0, 7.0]))
    assert scores[0] == 2.0 and scores[1] > 0.0 and scores[2] == 0.0


WEIGHTS = {"a": torch.zeros(30, 10), "b": torch.zeros(30, 10, dtype=torch.bfloat16)}


def test_the_same_key_draws_the_same() -> None:
    first, second = random_scores(WEIGHTS, 3, 100), random_scores(WEIGHTS, 3, 100)
    assert list(first) == ["a", "b"]
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    random_scores(WEIGHTS, 3, 100)
    assert torch.equal(torch.rand(3), expected)  # nobody else's random numbers move


def test_another_layer_seed_or_step_draws_others() -> None:
    drawn = [
        scores
        for key in [(3, 100), (3, 101), (4, 100), (31, 0), (3, 10)]
        for scores in random_scores(WEIGHTS, *key).values()
    ]
    for index, scores in enumerate(drawn):
        assert not any(torch.equal(scores, other) for other in drawn[:index])


def test_every_score_is_above_zero_and_at_most_one() -> None:
    scores = random_scores({"a": torch.zeros(100_000)}, 0)["a"]
    assert float(scores.min()) > 0.0 and float(scores.max()) <= 1.0
    assert float(scores.mean()) == pytest.approx(0.5, abs=0.01)
