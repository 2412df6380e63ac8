"""The search for the value of a key that reaches a sparsity, on curves that are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from acdc_cli.errors import AcdcError, BadInput
from acdc_cli.launch.search import Try, next_value, search


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def searched(
    curve: Callable[[float], float], target: float, low: float, high: float, is_log: bool = True, most: int = 12
) -> tuple[Try, list[float]]:
    """Returns the run that was found, and the values in the order in which they were tried."""
    values: list[float] = []

    def run(value: float) -> Try:
        values.append(value)
        return Try(value, curve(value), target, 0.5, Path())

    return search(run, low, high, is_log=is_log, tolerance=0.005, most=most), values


CURVES: dict[str, Callable[[float], float]] = {  # over 1e-4 to 1
    "straight": lambda value: sigmoid(2 * math.log(value / 0.005)),
    "falling": lambda value: sigmoid(-2 * math.log(value / 0.005)),
    "steep": lambda value: sigmoid(20 * math.log(value / 0.005)),
    "bent": lambda value: 1 - math.exp(-30 * value),
    "plateaus": lambda value: 0.05 + 0.94 * sigmoid(9 * math.log(value / 0.3)),
    "noisy": lambda value: sigmoid(2 * math.log(value / 0.005)) + 0.004 * math.sin(1e5 * value),
}


@pytest.mark.parametrize("target", [0.5, 0.9, 0.95, 0.98])
@pytest.mark.parametrize("name", CURVES)
def test_it_ends_within_half_a_point(name: str, target: float) -> None:
    found, values = searched(CURVES[name], target, 1e-4, 1.0)
    assert abs(CURVES[name](found.value) - target) <= 0.005
    assert values[:2] == [1e-4, 1.0] and len(set(values)) == len(values) <= 12
    assert all(1e-4 <= value <= 1 for value in values)


def test_an_interval_may_hold_negative_numbers() -> None:
    found, _ = searched(lambda s: sigmoid(s + 3), 0.9, -10.0, 10.0, is_log=False)
    assert found.value == pytest.approx(math.log(9) - 3, abs=0.1)


def test_the_first_try_is_enough_if_it_is_near_enough() -> None:
    assert searched(lambda value: 0.897, 0.9, 0.1, 1.0)[1] == [0.1]


def test_between_two_neighbours_it_goes_where_a_straight_line_of_logits_would() -> None:
    """Logits -2 and 2 at 0.01 and 1: 0.5 is half-way of the logarithm, at 0.1; never nearer to an end than a fifth."""
    tried = {0.01: sigmoid(-2), 1.0: sigmoid(2)}
    assert next_value(tried, 0.5, 0.01, 1.0, True) == pytest.approx(0.1)
    assert next_value(tried, 0.5, 0.01, 1.0, False) == pytest.approx(0.505)
    assert next_value(tried, sigmoid(1), 0.01, 1.0, True) == pytest.approx(10 ** (-2 + 2 * 0.75), rel=1e-3)
    assert next_value(tried, sigmoid(1.9), 0.01, 1.0, True) == pytest.approx(10 ** (-2 + 2 * 0.8), rel=1e-3)


def test_of_several_neighbours_around_the_target_the_closest_are_narrowed_down() -> None:
    """A dead network at one end, and noise."""
    tried = {1.0: 0.1, 2.0: 0.92, 3.0: 0.88, 4.0: 0.99}
    assert 2 < next_value(tried, 0.9, 1.0, 4.0, False) < 3


def test_a_target_that_the_ends_do_not_enclose_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"--low=0\.001 --high=0\.01: .* the target 0\.9 is not between them"):
        searched(lambda value: value, 0.9, 0.001, 0.01)


def test_a_curve_that_jumps_over_the_target_is_given_up_with_the_nearest() -> None:
    with pytest.raises(AcdcError, match=r"not reached in 5 tries; nearest: 0\.\d+, with 0\.8800"):
        searched(lambda value: 0.88 if value < 0.3 else 0.99, 0.9, 0.01, 1.0, most=5)
    with pytest.raises(AcdcError, match="jumps over the target; nearest"):
        searched(lambda value: 0.88 if value < 0.3 else 0.99, 0.9, 0.01, 1.0, most=99)
