"""Tables on a narrow terminal: whole columns move to a part of their own, and no number is cut."""

from __future__ import annotations

import re

import pytest

from acdc_cli.report.terminal import parts, print_table

COLUMNS = ["method", "setting", "top-1 %", "published", "seeds"]
ROWS = [["AC/DC", "global, 90%", "75.10 ± 0.12", "75.03 (+0.07) [1]", "3/3"], ["RigL", "[ERK]", "–", "unknown", "0/3"]]


def test_columns_that_do_not_fit_stand_behind_the_row_s_name_again() -> None:
    widths = [6, 11, 12, 17, 5]  # and 3 between: 66 in all
    assert parts(COLUMNS, widths, 66) == [[0, 1, 2, 3, 4]]
    assert parts(COLUMNS, widths, 65) == [[0, 1, 2, 3], [0, 1, 4]]
    assert parts(COLUMNS, widths, 51) == [[0, 1, 2], [0, 1, 3, 4]]
    assert parts(COLUMNS, widths, 10) == [[0, 1, 2], [0, 1, 3], [0, 1, 4]]  # one column at least


@pytest.mark.parametrize("columns", ["40", "60", "80", "200"])
def test_every_cell_is_printed_whole(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes this for a terminal
    print_table(COLUMNS, ROWS, "A table")
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in printed.splitlines()]
    assert all(cell in printed for row in ROWS for cell in row)
    assert columns == "40" or max(map(len, lines)) <= int(columns)


def test_elsewhere_it_is_as_wide_as_it_has_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    wide = [[*ROWS[0][:1], "x" * 300, *ROWS[0][2:]]]
    print_table(COLUMNS, wide, "A table", "a note [1]")
    printed = capsys.readouterr().out
    assert "x" * 300 in printed and "a note [1]" in printed
    assert sum("AC/DC" in line and "3/3" in line for line in printed.splitlines()) == 1


def test_elsewhere_no_line_ends_in_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    """The last column's cells are shorter than its heading, or as long; a row is filled up on a terminal alone."""
    print_table(["model", "top-1"], [["a", "0.5"], ["longer", "0.25"]], "A table", lines=["report: here"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert lines[0] == "A table" and lines[-1] == "report: here"
    assert [line.split() for line in lines if "0." in line] == [["a", "0.5"], ["longer", "0.25"]]
