"""Every schedule of conf/schedule/, written out by hand from the papers and reference/notes.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schedule import timeline_of

Span = tuple[str, int, int]


def spans(ends: str) -> list[Span]:
    """``"D10 S15"`` -> D[0,10) S[10,15): each phase by its kind and the epoch at which it ends."""
    words = ends.split()
    edges = [0, *(int(word[1:]) for word in words)]
    return [(word[0], start, end) for word, (start, end) in zip(words, pairwise(edges), strict=True)]


def repeated(first: int, pairs: int, sparse: int, dense: int, *tail: str) -> list[Span]:
    """A dense phase of ``first`` epochs, alternating pairs of these lengths, then the tail in words as of ``spans``."""
    edges = list(accumulate([sparse, dense] * pairs, initial=first))
    words = [f"{'SD'[position % 2]}{end}" for position, end in enumerate(edges[1:])]
    return spans(" ".join([f"D{first}", *words, *tail]))


def composed(*typed: str) -> list[Span]:
    phases = timeline_of(compose_config(list(typed))).phases
    return [(phase.kind[0].upper(), phase.start_epoch, phase.end_epoch) for phase in phases]


STANDARD = "D10 S15 D20 S25 D30 S35 D40 S45 D50 S55 D60 S65 D70 S75 D85 S100"
ACDC_20 = "D10 S30 D50 S70 D90 S110 D130 S150 D170 S200"
# Option -> its phases, and its sparse and dense epochs.
OWN_LENGTH: dict[str, tuple[list[Span], int, int]] = {
    # notes.md, 4.1: fixed warm-up and tails, only the number of 5-epoch phases grows.
    "imagenet_100": (spans(STANDARD), 50, 50),
    "imagenet_150": (repeated(10, 11, 5, 5, "S125", "D135", "S150"), 75, 75),
    "imagenet_200": (repeated(10, 16, 5, 5, "S175", "D185", "S200"), 100, 100),
    # Paper 1, section 4: dense phases of two epochs, the last one not extended. Design: the tail.
    "imagenet_100_dense_2": (repeated(10, 11, 5, 2, "S100"), 68, 32),
    "imagenet_200_dense_2": (repeated(10, 25, 5, 2, "S200"), 140, 60),
    # Paper 1, C.3; tails ours (their files say why).
    "imagenet_100_figure_1": (repeated(10, 7, 5, 5, "S100"), 55, 45),
    "imagenet_130": (repeated(10, 9, 5, 5, "S105", "D115", "S130"), 65, 65),
    "imagenet_130_alternate_10": (spans("D10 S20 D30 S40 D50 S60 D70 S80 D90 S100 D115 S130"), 65, 65),
    "imagenet_130_dense_10": (repeated(10, 7, 5, 10, "S130"), 50, 80),
    # notes.md, 4.2 and 4.3.
    "cifar100_acdc_20": (spans(ACDC_20), 110, 90),
    "cifar100_acdc_14": (
        spans("D10 S30 D43 S63 D76 S96 D109 S129 D142 S162 D175 S225"),
        150,
        75,
    ),
    "cifar100_acdc_7": (repeated(10, 7, 20, 7, "S240"), 181, 59),  # boundaries ours
    "cifar10_memorization": (spans(ACDC_20), 110, 90),
    # Paper 1, section 4 ("33-39", "40-48" count from 1) and design.md.
    "transformer_xl_48": (spans("D5 S8 D11 S14 D17 S20 D23 S26 D29 S32 D39 S48"), 24, 24),
    "acdcpp": (spans(STANDARD), 50, 50),
    "acdcpp_stretched": (spans(STANDARD), 50, 50),
    # contract.md's defaults at 40 epochs, and our example of a list.
    "epochs_40": (spans("D4 S6 D8 S10 D12 S14 D16 S18 D20 S22 D24 S26 D28 S30 D34 S40"), 20, 20),
    "listed_40": (spans("D4 S6 D8 S12 D14 S20 D24 S40"), 28, 12),
}


@pytest.mark.parametrize("option", OWN_LENGTH)
def test_a_schedule_at_its_own_length(option: str) -> None:
    expected, sparse_epochs, dense_epochs = OWN_LENGTH[option]
    assert composed(f"schedule={option}") == expected
    timeline = timeline_of(compose_config([f"schedule={option}"]))
    assert (timeline.sparse_epochs, timeline.total_epochs) == (sparse_epochs, sparse_epochs + dense_epochs)


def test_every_schedule_is_in_the_table(conf_options: Callable[[str], list[str]]) -> None:
    assert conf_options("schedule") == sorted(OWN_LENGTH)


@pytest.mark.parametrize(("epochs", "option"), [(150, "imagenet_150"), (200, "imagenet_200"), (130, "imagenet_130")])
def test_a_longer_imagenet_100_is_the_longer_schedule(epochs: int, option: str) -> None:
    assert composed("schedule=imagenet_100", f"epochs={epochs}") == OWN_LENGTH[option][0]


def test_resnet20_has_the_schedule_of_its_paper() -> None:
    assert composed("model=resnet20") == spans(ACDC_20)


# AC/DC++ with phases of 5 epochs: D[0,10), pairs of 5 and 5 while they fit before the last 15; the last dense phase
# takes what is left over. epochs -> number of whole pairs that end at a multiple of 10, then the tail.
FIXED = {
    100: repeated(10, 6, 5, 5, "S75", "D85", "S100"),
    137: repeated(
        10, 10, 5, 5, "S115", "D122", "S137"
    ),  # 112 epochs before the last 15 and after the first 10: 11 pairs
    150: repeated(10, 11, 5, 5, "S125", "D135", "S150"),
    200: repeated(10, 16, 5, 5, "S175", "D185", "S200"),
    500: repeated(10, 46, 5, 5, "S475", "D485", "S500"),
    1000: repeated(10, 96, 5, 5, "S975", "D985", "S1000"),
    # N/20 = 4.5, 3N/20 = 13.5: warm-up 9, pairs of 4 and 4 (round to even), last sparse 14; 67 = 8 pairs and 3 over.
    90: repeated(9, 7, 4, 4, "S69", "D76", "S90"),
}
# AC/DC++ with seven pairs: boundaries at 10%, 15%, ..., 75%, 85%, half an epoch rounding up.
STRETCHED = {
    90: "D9 S14 D18 S23 D27 S32 D36 S41 D45 S50 D54 S59 D63 S68 D77 S90",  # 13.5, 22.5, ..., 76.5 go up
    100: STANDARD,
    # 13.7 20.55 27.4 34.25 41.1 47.95 54.8 61.65 68.5 75.35 82.2 89.05 95.9 102.75 116.45
    137: "D14 S21 D27 S34 D41 S48 D55 S62 D69 S75 D82 S89 D96 S103 D116 S137",
    # 15 22.5 30 37.5 ... 105 112.5 127.5
    150: "D15 S23 D30 S38 D45 S53 D60 S68 D75 S83 D90 S98 D105 S113 D128 S150",
    200: "D20 S30 D40 S50 D60 S70 D80 S90 D100 S110 D120 S130 D140 S150 D170 S200",
    500: "D50 S75 D100 S125 D150 S175 D200 S225 D250 S275 D300 S325 D350 S375 D425 S500",
    1000: "D100 S150 D200 S250 D300 S350 D400 S450 D500 S550 D600 S650 D700 S750 D850 S1000",
    20: "D2 S3 D4 S5 D6 S7 D8 S9 D10 S11 D12 S13 D14 S15 D17 S20",
}


@pytest.mark.parametrize("epochs", FIXED)
def test_acdcpp_with_phases_of_five_epochs(epochs: int) -> None:
    assert composed("schedule=acdcpp", f"epochs={epochs}") == FIXED[epochs]


@pytest.mark.parametrize("epochs", STRETCHED)
def test_acdcpp_stretched(epochs: int) -> None:
    assert composed("schedule=acdcpp_stretched", f"epochs={epochs}") == spans(STRETCHED[epochs])


@pytest.mark.exhaustive
@pytest.mark.parametrize("option", ["acdcpp", "acdcpp_stretched"])
def test_acdcpp_at_every_length_of_the_paper_ends_sparse_after_dense(option: str) -> None:
    """The papers' 100 to 1000 epochs: nothing is refused, and every epoch belongs to one phase."""
    for epochs in range(100, 1001, 37):
        phases = composed(f"schedule={option}", f"epochs={epochs}")
        assert [kind for kind, _, _ in phases] == ["D", "S"] * (len(phases) // 2)
        assert phases[-1][2] == epochs


def test_a_stretched_schedule_is_resolved_to_its_phases() -> None:
    """So that a run's id is that of the phases, however they were said."""
    schedule = compose_config(["schedule.boundaries=[0.25,0.5,0.75]", "epochs=6"]).schedule
    assert schedule.boundaries is None
    assert schedule.phases == [["dense", 0, 2], ["sparse", 2, 3], ["dense", 3, 5], ["sparse", 5, 6]]  # 1.5, 3, 4.5
    assert (schedule.warmup_epochs, schedule.final_sparse_epochs) == (None, None)
    listed = compose_config(["schedule.phases=[[dense,0,2],[sparse,2,3],[dense,3,5],[sparse,5,6]]"])
    assert listed.schedule == schedule


def test_a_dense_run_reads_no_boundaries() -> None:
    config = compose_config(["schedule=acdcpp_stretched", "method=dense", "epochs=7"])
    assert config.schedule.boundaries is None
    assert config.schedule.phases is None
    assert timeline_of(config).sparse_epochs == 0


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("schedule=acdcpp_stretched epochs=19", ["epochs=19", "is empty", "nearest: epochs=20"]),
        ("schedule=acdcpp_stretched epochs=1", ["epochs=1", "nearest: epochs=20"]),
        # 0.1 of 5 epochs is half an epoch, which rounds up; of 4 it is 0.4.
        ("schedule.boundaries=[0.1] epochs=4", ["epochs=4", "D[0,0) is empty", "nearest: epochs=5"]),
        # 0.35, 0.37: at 4 epochs 1.4, 1.48 -> 1, 1; at 3 1.05, 1.11; at 5 1.75, 1.85; at 7 2.45, 2.59 -> 2, 3.
        ("schedule.boundaries=[0.35,0.37,0.9] epochs=6", ["epochs=6", "nearest: epochs=7"]),
        ("schedule.boundaries=[0.3,0.2,0.5]", ["schedule.boundaries=[0.3,0.2,0.5]", "nearest: [0.2,0.3,0.5]"]),
        ("schedule.boundaries=[0.3,1.5,0.5]", ["schedule.boundaries=[0.3,1.5,0.5]", "nearest: [0.3,0.5]"]),
        ("schedule.boundaries=[0.3,0.6]", ["schedule.boundaries=[0.3,0.6]", "end with a sparse", "nearest: [0.3]"]),
        ("schedule.boundaries=[]", ["schedule.boundaries=[]", "nearest: ["]),
        ("schedule.boundaries=half", ["schedule.boundaries=half", "list", "[0.1,0.5,0.7]"]),
        ("schedule=acdcpp_stretched schedule.sparse_epochs=3", ["schedule.sparse_epochs=3", "schedule.boundaries"]),
        ("schedule=listed_40 schedule.boundaries=[0.5]", ["schedule.boundaries=[0.5]", "schedule.phases"]),
        ("schedule=listed_40 epochs=80", ["epochs=80", "cannot be rescaled", "epochs=40"]),
    ],
)
def test_what_is_no_schedule_is_one_line(typed: str, parts: list[str], acdc_train: Callable) -> None:
    outcome = acdc_train("plan=true", *typed.split())
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert [part for part in parts if part not in outcome.err] == [], outcome.err


def test_a_plan_shows_the_stretched_phases(acdc_train: Callable) -> None:
    plan = json.loads(acdc_train("plan=true", "schedule=acdcpp_stretched", "epochs=20").out)
    assert plan["timeline"][:3] == [["dense", 0, 2], ["sparse", 2, 3], ["dense", 3, 4]]
    assert plan["timeline"][-1] == ["sparse", 17, 20]
