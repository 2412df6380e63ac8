"""The timeline on the terminal, column by column."""

from __future__ import annotations

import pytest
from rich.style import Style

from acdc_cli.report.timeline_text import timeline_text
from acdc_cli.sparsity import Phase, Timeline


def lines(timeline: Timeline, width: int) -> list[str]:
    return timeline_text(timeline.phases, width).plain.split("\n")


def test_a_bar_with_two_columns_an_epoch() -> None:
    timeline = Timeline.of([("dense", 0, 4), ("sparse", 4, 6), ("dense", 6, 11), ("sparse", 11, 20)])
    assert lines(timeline, 40) == [
        "█ dense 9 epochs in 2 phases",  # beside each other they would take 61 columns
        "░ sparse 11 epochs in 2 phases",
        "████████░░░░██████████░░░░░░░░░░░░░░░░░░",
        "|0        |5        |10       |15    20|",
    ]


def test_the_legend_is_one_line_where_it_fits() -> None:
    timeline = Timeline.acdc(100)
    assert lines(timeline, 80)[0] == "█ dense 50 epochs in 8 phases   ░ sparse 50 epochs in 8 phases"
    assert len(lines(timeline, 80)) == 3


def test_a_column_of_several_epochs_has_the_kind_of_its_middle() -> None:
    """50 epochs in 20 columns: 2.5 a column, its middle at 1.25, 3.75, ...; D[0,10) S[10,13) D[13,16) S[16,50)."""
    timeline = Timeline.of([("dense", 0, 10), ("sparse", 10, 13), ("dense", 13, 16), ("sparse", 16, 50)])
    assert lines(timeline, 20)[-2] == "████░█░░░░░░░░░░░░░░"


def test_phases_narrower_than_a_column_are_drawn_as_both() -> None:
    """4 epochs a column, phases of 2 from epoch 8 to 72: a column is dense or sparse as a whole, or half and half."""
    spans = [("sparse" if start % 4 == 0 else "dense", start, start + 2) for start in range(8, 72, 2)]
    timeline = Timeline.of([("dense", 0, 8), *spans, ("sparse", 72, 80)])
    drawn = lines(timeline, 20)
    assert drawn[-2] == "██" + "▒" * 16 + "░░"
    assert drawn[2] == "▒ both, too short to draw"


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("epochs", [2, 3, 48, 100, 137, 1000])
def test_every_line_fits_and_the_totals_are_there(epochs: int, width: int) -> None:
    timeline = Timeline.acdc(epochs)
    *legend, bar, ticks = lines(timeline, width)
    assert len(bar) == len(ticks) == width
    assert all(len(line) <= width for line in legend)
    assert f"sparse {timeline.sparse_epochs} epoch" in " ".join(legend)
    assert f"dense {epochs - timeline.sparse_epochs} epoch" in " ".join(legend)
    if (epochs, width) != (1000, 40):  # there a column is 25 epochs, the warm-up 10 and the last sparse phase 15
        assert (bar[0], bar[-1]) == ("█", "░")
    assert ticks.startswith("|0") and ticks.endswith(f"{epochs}|")
    for mark in ticks[: -len(f"{epochs}|")].split("|")[1:]:
        column = ticks.index(f"|{mark.strip()}")
        assert column == round(int(mark) * width / epochs)


def test_a_dense_run_is_one_colour() -> None:
    assert lines(Timeline.dense(10), 20) == [
        "█ dense 10 epochs in 1 phase",
        "████████████████████",
        "|0        |5     10|",
    ]


def test_a_run_that_goes_on_from_another_starts_at_its_own_epoch() -> None:
    drawn = timeline_text([Phase("dense", 85, 100)], 30).plain.split("\n")
    assert drawn[0] == "█ dense 15 epochs in 1 phase"
    assert drawn[-1] == "|85       |90       |95   100|"


def test_the_colours_are_those_of_the_figures() -> None:
    text = timeline_text(Timeline.acdc(4).phases, 40)
    offset = text.plain.index("\n", text.plain.index("sparse")) + 1
    assert Style.parse("#2f6fb0") in [Style.parse(str(s.style)) for s in text.spans if s.start <= offset < s.end]
    assert Style.parse("#c8641e") in [Style.parse(str(s.style)) for s in text.spans if s.start <= offset + 10 < s.end]
