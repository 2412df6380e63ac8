"""When masks move and how far: values worked out by hand from the papers' equations."""

from __future__ import annotations

import math

import pytest

from acdc_cli.sparsity.window import Window, cosine_drop_fraction, gradual_sparsity


def test_due_from_the_start_every_interval_to_the_end() -> None:
    assert [step for step in range(20) if Window(2, 9, 3).is_due(step)] == [2, 5, 8]
    assert [step for step in range(20) if Window(0, 6, 2).is_due(step)] == [0, 2, 4, 6]
    assert [step for step in range(20) if Window(5, 5, 100).is_due(step)] == [5]


def test_progress_is_over_at_the_last_due_step() -> None:
    """From 2 to 9 every 3: due at 2, 5 and 8, so that n dt = 6 and not 7."""
    window = Window(2, 9, 3)
    assert [window.progress(step) for step in (0, 2, 5, 8, 9, 50)] == [0.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    assert window.progress(3) == pytest.approx(1 / 6)


@pytest.mark.parametrize("window", [Window(4, 4, 1), Window(4, 6, 5)])
def test_a_window_with_one_due_step_goes_all_the_way_there(window: Window) -> None:
    assert [window.progress(step) for step in (3, 4, 5)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("numbers", [(-1, 5, 1), (5, 4, 1), (0, 5, 0), (0, 5, -2)])
def test_a_window_that_is_none_is_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="a window needs 0 <= start <= end"):
        Window(*numbers)


@pytest.mark.parametrize(
    ("progress", "cubic", "linear"),
    [(0.0, 0.0, 0.0), (0.25, 0.4625, 0.2), (0.5, 0.7, 0.4), (0.75, 0.7875, 0.6), (1.0, 0.8, 0.8)],
)
def test_gradual_sparsity_from_0_to_80_percent(progress: float, cubic: float, linear: float) -> None:
    """Cubic: 0.8 (1 - (1 - p)^3), with (3/4)^3 = 27/64, (1/2)^3 = 1/8, (1/4)^3 = 1/64."""
    assert gradual_sparsity(0.0, 0.8, progress) == pytest.approx(cubic)
    assert gradual_sparsity(0.0, 0.8, progress, power=1.0) == pytest.approx(linear)


def test_gradual_sparsity_from_an_initial_one() -> None:
    assert gradual_sparsity(0.2, 0.8, 0.0) == pytest.approx(0.2)
    assert gradual_sparsity(0.2, 0.8, 0.5) == pytest.approx(0.8 - 0.6 / 8)
    assert gradual_sparsity(0.2, 0.8, 0.5, power=2.0) == pytest.approx(0.8 - 0.6 / 4)


@pytest.mark.parametrize(
    ("step", "fraction"),
    [(0, 0.3), (25, 0.15 * (1 + math.sqrt(0.5))), (50, 0.15), (75, 0.15 * (1 - math.sqrt(0.5))), (100, 0.0)],
)
def test_the_drop_fraction_is_half_a_cosine(step: int, fraction: float) -> None:
    assert cosine_drop_fraction(0.3, step, 100) == pytest.approx(fraction)


def test_nothing_is_dropped_after_the_end() -> None:
    assert cosine_drop_fraction(0.3, 150, 100) == 0.0
    assert cosine_drop_fraction(0.3, 0, 0) == 0.0
