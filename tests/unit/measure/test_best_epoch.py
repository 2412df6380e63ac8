"""Which epoch is the best: by records written out here, and against every way that a run could go on."""

from __future__ import annotations

import random
from typing import Any

import pytest

from acdc_cli.measure.best import best_epoch, possible_best_epochs


def rows(*epochs: tuple[float, float], kinds: str = "") -> list[dict[str, Any]]:
    """(accuracy, sparsity) of each epoch; kinds: s or d, sparse where nothing is said."""
    kinds = kinds or "s" * len(epochs)
    return [
        {"epoch": number, "phase": {"s": "sparse", "d": "dense"}[kind], "val_top1": top1, "sparsity": sparsity}
        for number, ((top1, sparsity), kind) in enumerate(zip(epochs, kinds, strict=True))
    ]


def best(of: list[dict[str, Any]], kind: str = "sparse") -> int | None:
    row = best_epoch(of, kind)
    return None if row is None else row["epoch"]


@pytest.mark.parametrize(
    ("sparsity_of_third", "expected"),
    [(0.8985, 3), (0.8995, 2), (0.9, 2), (0.95, 2)],  # at least 0.9 - 0.001 counts
)
def test_epochs_that_are_denser_than_the_last_do_not_count(sparsity_of_third: float, expected: int) -> None:
    """As STR goes: the first epochs are the most accurate and not yet sparse."""
    assert best(rows((0.9, 0.1), (0.8, 0.6), (0.7, sparsity_of_third), (0.6, 0.9))) == expected


def test_of_equally_good_epochs_the_first_is_the_best() -> None:
    assert best(rows((0.5, 0.9), (0.6, 0.9), (0.6, 0.9), (0.4, 0.9))) == 1


def test_phase_kinds_are_apart_and_zeros_that_stay_in_dense_phases_mean_nothing() -> None:
    """Dense, sparse in turn; the most accurate dense epoch has fewer zeros than the last."""
    run = rows((0.3, 0.0), (0.5, 0.9), (0.8, 0.1), (0.55, 0.9), (0.7, 0.4), (0.52, 0.9), kinds="dsdsds")
    assert (best(run, "dense"), best(run, "sparse")) == (2, 3)
    assert best(run[:1], "sparse") is None and best([], "dense") is None


def test_a_run_that_ends_dense_is_compared_with_its_last_sparse_epoch() -> None:
    """As DSD goes: dense, sparse, dense."""
    run = rows((0.9, 0.0), (0.5, 0.75), (0.6, 0.75), (0.55, 0.75), (0.95, 0.0), (0.93, 0.0), kinds="dsssdd")
    assert (best(run, "sparse"), best(run, "dense")) == (2, 4)


def test_what_can_still_become_the_best_is_the_front_of_accuracy_and_sparsity() -> None:
    """0 is beaten by 1, as sparse and better; 3 by 2, sparser and better; 4 by 2, which is equal and earlier."""
    run = rows((0.5, 0.5), (0.6, 0.5), (0.55, 0.7), (0.4, 0.6), (0.55, 0.7), (0.3, 0.9))
    assert possible_best_epochs(run, "sparse") == [1, 2, 5]
    assert possible_best_epochs(run[:1], "sparse") == [0]
    assert possible_best_epochs(run, "dense") == []
    # As good and sparser, but later: the first wins where both count, the second where it counts alone.
    assert possible_best_epochs(rows((0.5, 0.5), (0.5, 0.6)), "sparse") == [0, 1]
    assert possible_best_epochs(rows((0.5, 0.3), (0.7, 0.2), (0.7, 0.0), (0.6, 0.1), kinds="dddd"), "dense") == [1]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_the_best_epoch_was_never_out_of_the_race(seed: int) -> None:
    """Few distinct values, so that ties abound; found by looking at all epochs, one after another."""
    chance = random.Random(seed)
    pairs = [(chance.randrange(6) / 6, chance.choice([0.5, 0.6, 0.6005, 0.8, 0.9])) for _ in range(12)]
    run = rows(*pairs)
    counting = [number for number, (_, sparsity) in enumerate(pairs) if sparsity >= pairs[-1][1] - 0.001]
    expected = counting[0]
    for number in counting:
        if pairs[number][0] > pairs[expected][0]:
            expected = number
    assert best(run) == expected
    for end in range(expected + 1, len(run) + 1):
        assert expected in possible_best_epochs(run[:end], "sparse")
