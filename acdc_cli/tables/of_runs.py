"""A folder of runs as a table: a row for all seeds of a config, or a row a run."""

from __future__ import annotations

import sys
from pathlib import Path

from acdc_cli.errors import BadInput
from acdc_cli.records.folder import RunFolder
from acdc_cli.report import table
from acdc_cli.report.comparison import Row, compare
from acdc_cli.report.terminal import print_table
from acdc_cli.tables.formats import latex
from acdc_cli.tables.text import TextTable


def print_folder(path: Path, folders: list[RunFolder], form: str, by_run: bool, figure: Path | None) -> None:
    """Print the table on stdout, and on stderr what is wrong with a run.

    Args:
        path: of the folder.
        folders: the runs in it.
        form: terminal, markdown, csv or latex.
        by_run: a row a run.
        figure: a file to draw accuracy against training FLOPs in, PNG or SVG.

    Raises:
        BadInput: if the figure cannot be drawn.
    """
    rows, left_out = compare(folders)
    if figure is not None:
        _draw(figure, rows)
    is_listed = by_run or not rows  # with its state, which needs no second word
    if is_listed:
        _print_runs(path, form, folders)
    else:
        _print_comparison(path, form, rows)
    for place, why in left_out.items():
        if not is_listed:
            print(f"acdc-report: not in the table: {place}: {why}", file=sys.stderr)
        elif ":" in why:
            print(f"acdc-report: {place}: {why}", file=sys.stderr)


def _latex(path: Path, columns: tuple[str, ...], cells: list[list[str]]) -> str:
    return latex(path.name, TextTable(str(path), list(columns), cells, [table.COMPARISON_NOTE], []))


def _print_runs(path: Path, form: str, folders: list[RunFolder]) -> None:
    rows = [table.run_row(found) for found in folders]
    if form == "terminal":
        table.print_runs(rows, title=str(path))
    elif form == "latex":
        print(_latex(path, table.RUN_COLUMNS, rows))
    else:
        write = {"markdown": table.markdown_table, "csv": table.csv_table}[form]
        print(write(table.RUN_COLUMNS, rows))


def _print_comparison(path: Path, form: str, rows: list[Row]) -> None:
    if form == "csv":
        print(table.comparison_csv(rows))
        return
    cells = table.comparison_cells(rows)
    if form == "markdown":
        print(table.markdown_table(table.COMPARISON_COLUMNS, cells))
    elif form == "latex":
        print(_latex(path, table.COMPARISON_COLUMNS, cells))
    else:
        print_table(table.COMPARISON_COLUMNS, cells, str(path), table.COMPARISON_NOTE)


def _draw(file: Path, rows: list[Row]) -> None:
    from acdc_cli.report.comparison_figure import save_figure

    if file.suffix not in (".png", ".svg"):
        raise BadInput(f"--figure {file}: neither .png nor .svg; nearest: --figure {file.with_suffix('.png')}")
    if not any(row.sparse_metric is not None for row in rows):
        raise BadInput(f"--figure {file}: no sparse run here is done yet; acdc-report --runs shows their states")
    save_figure(file, rows)
