"""When: the fill rule against the papers' schedules and the contract's numbers, written out."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from acdc_cli.sparsity import Phase, Timeline
from acdc_cli.sparsity.timeline import TimelineError, default_phase_epochs, nearest_stretched_epochs


def spans(timeline: Timeline) -> list[tuple[str, int, int]]:
    return [(phase.kind[0].upper(), phase.start_epoch, phase.end_epoch) for phase in timeline.phases]


def alternating(kind_and_ends: str) -> list[tuple[str, int, int]]:
    """``"D10 S15"`` -> D[0,10) S[10,15)."""
    result, start = [], 0
    for word in kind_and_ends.split():
        result.append((word[0], start, int(word[1:])))
        start = int(word[1:])
    return result


IMAGENET = {  # paper 1: D[0,10), S/D every 5 from 10, a last dense phase of 10, a final sparse phase of 15
    100: "D10 S15 D20 S25 D30 S35 D40 S45 D50 S55 D60 S65 D70 S75 D85 S100",
    150: "D10 S15 D20 S25 D30 S35 D40 S45 D50 S55 D60 S65 D70 S75 D80 S85 D90 S95 D100 S105 D110 S115 D120 S125 D135 "
    "S150",
    200: "D10 S15 D20 S25 D30 S35 D40 S45 D50 S55 D60 S65 D70 S75 D80 S85 D90 S95 D100 S105 D110 S115 D120 S125 D130 "
    "S135 D140 S145 D150 S155 D160 S165 D170 S175 D185 S200",
}


@pytest.mark.parametrize("epochs", IMAGENET)
def test_defaults_give_the_papers_imagenet_schedules(epochs: int) -> None:
    timeline = Timeline.acdc(epochs)
    assert spans(timeline) == alternating(IMAGENET[epochs])
    assert timeline.total_epochs == epochs
    assert timeline.sparse_epochs == epochs // 2  # the reference configs: 50/50, 75/75, 100/100


def test_cifar_schedule() -> None:
    timeline = Timeline.acdc(200, warmup_epochs=10, sparse_epochs=20, dense_epochs=20, final_sparse_epochs=30)
    assert spans(timeline) == alternating("D10 S30 D50 S70 D90 S110 D130 S150 D170 S200")
    assert timeline.sparse_epochs == 110


def test_transformer_xl_schedule() -> None:
    timeline = Timeline.acdc(48, warmup_epochs=5, sparse_epochs=3, dense_epochs=3, final_sparse_epochs=9)
    assert spans(timeline) == alternating("D5 S8 D11 S14 D17 S20 D23 S26 D29 S32 D39 S48")


def test_two_epoch_dense_phases() -> None:
    """Design: D[0,10), (S5 D2) x 11, S[87,100)."""
    timeline = Timeline.acdc(100, dense_epochs=2, final_sparse_epochs=13)
    expected = [("D", 0, 10)]
    for start in range(10, 87, 7):
        expected += [("S", start, start + 5), ("D", start + 5, start + 7)]
    assert spans(timeline) == [*expected, ("S", 87, 100)]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (2, "D1 S2"),
        (3, "D2 S3"),  # no pair fits: the warm-up takes what is left over
        (4, "D1 S2 D3 S4"),
        (5, "D1 S2 D4 S5"),  # one pair, one epoch left over: the last dense phase takes it
        (10, "D1 S2 D3 S4 D5 S6 D8 S10"),  # round(0.5) = 0 -> 1, round(1.5) = 2
        (40, "D4 S6 D8 S10 D12 S14 D16 S18 D20 S22 D24 S26 D28 S30 D34 S40"),
    ],
)
def test_short_runs(epochs: int, expected: str) -> None:
    assert spans(Timeline.acdc(epochs)) == alternating(expected)


@pytest.mark.parametrize(
    ("epochs", "warmup", "alternating_epochs", "final"),
    [(2, 1, 1, 1), (20, 2, 1, 3), (30, 3, 2, 4), (50, 5, 2, 8), (90, 9, 4, 14), (100, 10, 5, 15), (500, 10, 5, 15)],
)
def test_default_numbers_round_half_to_even(epochs: int, warmup: int, alternating_epochs: int, final: int) -> None:
    """N/20 = 1.5, 2.5, 4.5 -> 2, 2, 4; 3N/20 = 4.5, 7.5, 13.5 -> 4, 8, 14 (Python's round)."""
    assert default_phase_epochs(epochs) == {
        "warmup_epochs": warmup,
        "sparse_epochs": alternating_epochs,
        "dense_epochs": alternating_epochs,
        "final_sparse_epochs": final,
    }


@pytest.mark.parametrize("epochs", range(2, 260))
def test_every_length_fills_its_epochs_and_alternates(epochs: int) -> None:
    phases = Timeline.acdc(epochs).phases
    kinds = [phase.kind for phase in phases]
    assert kinds == ["dense", "sparse"] * (len(phases) // 2)
    assert phases[0].start_epoch == 0
    assert phases[-1].end_epoch == epochs
    assert all(before.end_epoch == after.start_epoch for before, after in pairwise(phases))


def test_without_a_warm_up_the_run_starts_sparse() -> None:
    timeline = Timeline.acdc(10, warmup_epochs=0, sparse_epochs=2, dense_epochs=2, final_sparse_epochs=2)
    assert spans(timeline) == alternating("S2 D4 S6 D8 S10")


@pytest.mark.parametrize(
    ("epochs", "boundaries", "expected"),
    [
        (10, [0.1, 0.5, 0.8], "D1 S5 D8 S10"),
        (10, [0.25, 0.35], "D3 S4 D10"),  # 2.5 and 3.5 go up; it need not end sparse
        (
            90,
            [0.15],
            "D14 S90",
        ),  # 13.5 exactly: as binary floats 0.15 * 90 is 13.5, and 0.35 * 90 is 31.499999999999996
        (90, [0.35], "D32 S90"),
        (90, [Fraction(1, 7)], "D13 S90"),  # 12.86
        (7, [], "D7"),
    ],
)
def test_stretched_phases_keep_their_share(epochs: int, boundaries: list[float], expected: str) -> None:
    assert spans(Timeline.stretched(epochs, boundaries)) == alternating(expected)


@pytest.mark.parametrize(("epochs", "boundaries"), [(4, [0.1]), (3, [0.4, 0.45]), (5, [0.95]), (9, [0.5, 0.3])])
def test_stretched_refuses_an_empty_phase(epochs: int, boundaries: list[float]) -> None:
    with pytest.raises(TimelineError, match="empty"):
        Timeline.stretched(epochs, boundaries)


@pytest.mark.parametrize(
    ("epochs", "boundaries", "nearest"),
    [
        (4, [0.1], 5),  # 0.5 rounds up to 1
        (5, [0.1], 5),
        (19, [0.05, 0.1, 0.15], 19),  # 0.95, 1.9, 2.85 -> 1, 2, 3: fits as it is
        (9, [0.05, 0.1], 15),  # 0.45, 0.9 -> 0, 1; at 10 0.5, 1 -> 1, 1; 11: 0.55, 1.1; ... 15: 0.75, 1.5 -> 1, 2
        (6, [0.35, 0.37], 7),  # 2.1, 2.22; at 7 2.45, 2.59 -> 2, 3
        (4, [0.35, 0.37], 7),
        (4, [0.35, 0.37], 7),
        (11, [0.35, 0.37], 15),  # 7 (2.45, 2.59) and 15 (5.25, 5.55) fit, nothing between: the longer one
        (10, [0.35, 0.37], 7),
    ],
)
def test_the_nearest_length_that_fits(epochs: int, boundaries: list[float], nearest: int) -> None:
    assert nearest_stretched_epochs(epochs, boundaries) == nearest


@pytest.mark.parametrize(
    "numbers",
    [
        {"epochs": 1},
        {"epochs": 0},
        {"epochs": 10, "warmup_epochs": 6, "final_sparse_epochs": 5},
        {"epochs": 10, "sparse_epochs": 0},
        {"epochs": 10, "dense_epochs": 0},
        {"epochs": 10, "final_sparse_epochs": 0},
        {"epochs": 10, "warmup_epochs": -1},
        {"epochs": 10, "warmup_epochs": 0, "final_sparse_epochs": 10},  # never dense
    ],
    ids=str,
)
def test_numbers_that_make_no_acdc_schedule_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(TimelineError):
        Timeline.acdc(**numbers)


@pytest.mark.parametrize(
    ("phases", "complaint"),
    [
        ([], "at least one"),
        ([("dense", 0, 4), ("sparse", 5, 8)], "gap"),
        ([("dense", 1, 4), ("sparse", 4, 8)], "gap"),
        ([("dense", 0, 4), ("sparse", 3, 8)], "overlap"),
        ([("dense", 0, 4), ("sparse", 4, 4)], "empty"),
        ([("dense", 0, 4), ("sparse", 4, 3)], "empty"),
        ([("dense", 0, 4), ("warm", 4, 8)], "warm"),
    ],
)
def test_what_is_not_a_schedule_is_refused(phases: list[tuple[str, int, int]], complaint: str) -> None:
    with pytest.raises(TimelineError, match=rf"\b{complaint}\b"):
        Timeline.of(phases)


def test_acdc_must_end_sparse_after_a_dense_phase() -> None:
    with pytest.raises(TimelineError, match="end"):
        Timeline.of([("dense", 0, 2), ("sparse", 2, 4), ("dense", 4, 6)]).require_acdc()
    with pytest.raises(TimelineError, match="dense"):
        Timeline.of([("sparse", 0, 2)]).require_acdc()
    with pytest.raises(TimelineError):
        Timeline.dense(3).last_sparse_phase()


def test_phases_are_half_open() -> None:
    timeline = Timeline.acdc(100)
    assert timeline.phase(9) == Phase("dense", 0, 10)
    assert timeline.phase(10) == Phase("sparse", 10, 15)
    assert timeline.phase(84).kind == "dense"
    assert timeline.phase(85).kind == timeline.phase(99).kind == "sparse"
    assert [epoch for epoch in range(30) if timeline.begins(epoch)] == [0, 10, 15, 20, 25]
    assert timeline.last_sparse_phase() == Phase("sparse", 85, 100)


@pytest.mark.parametrize("epoch", [-1, 100])
def test_epochs_outside_the_run_belong_to_no_phase(epoch: int) -> None:
    with pytest.raises(IndexError):
        Timeline.acdc(100).phase(epoch)


def test_a_dense_timeline_is_one_phase() -> None:
    assert spans(Timeline.dense(7)) == [("D", 0, 7)]
    assert Timeline.dense(7).sparse_epochs == 0


def test_timelines_are_values() -> None:
    listed = Timeline.of([("dense", 0, 1), ("sparse", 1, 2)])
    assert listed == Timeline.acdc(2)
    assert hash(listed) == hash(Timeline.acdc(2))
    assert str(listed) == "D[0,1) S[1,2)"


def test_two_phases_of_a_kind_in_a_row_are_refused() -> None:
    """The second sparse one would take a pruned model for the dense output."""
    with pytest.raises(TimelineError, match="join the two"):
        Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("sparse", 2, 3)])
