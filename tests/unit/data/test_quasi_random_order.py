"""shuffle_window: runs of 64 neighbours in random order, mixed one window after another."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_cli.data.order import windowed_order


@pytest.mark.parametrize("count", [1, 63, 64, 65, 640, 1437])
@pytest.mark.parametrize("window", [1, 64, 100, 256, 5000])
def test_an_epoch_visits_every_sample_once(count: int, window: int) -> None:
    order = windowed_order(3, 5, count, window)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_a_window_is_made_of_whole_runs_and_mixed() -> None:
    """10 runs of 64, windows of 2 runs: each window has exactly two of them, and not one after the other."""
    order = windowed_order(0, 0, 640, 128)
    runs_of_window = []
    for window in order.reshape(5, 128):
        runs = sorted(set((window // 64).tolist()))
        assert sorted(window.tolist()) == [sample for run in runs for sample in range(64 * run, 64 * run + 64)]
        assert len(set((window[:64] // 64).tolist())) == 2
        runs_of_window.append(runs)
    assert sorted(run for runs in runs_of_window for run in runs) == list(range(10))
    assert runs_of_window != [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]  # the runs come in random order


def test_a_window_of_one_run_keeps_neighbours_together() -> None:
    order = windowed_order(0, 0, 640, 64)
    assert {len(set((window // 64).tolist())) for window in order.reshape(10, 64)} == {1}


def test_a_window_of_the_whole_set_mixes_all_of_it() -> None:
    """640 samples of 10 runs: 64 of them in a row come from nearly all runs, as in a plain permutation."""
    for window in (640, 10_000):
        order = windowed_order(0, 0, 640, window)
        assert all(len(set((part // 64).tolist())) >= 8 for part in order.reshape(10, 64))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = windowed_order(3, 5, 640, 128).tolist()
    assert windowed_order(3, 5, 640, 128).tolist() == first
    orders = {tuple(windowed_order(seed, epoch, 640, 128).tolist()) for seed in range(4) for epoch in range(10)}
    assert len(orders) == 40
