"""acdc-report: a run's report.html, or a sweep's table, from run records only."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.errors import EXIT_DONE, BadInput
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.report import table
from acdc_cli.report.comparison import Row, compare


def _parser() -> Parser:
    parser = Parser(prog="acdc-report", description="A run's report.html, or the table of a folder of runs.")
    parser.add_argument("path", type=Path, metavar="RUN|SWEEP", help="a run folder, or a folder that holds run folders")
    parser.add_argument("--format", choices=("terminal", "markdown", "csv"), default="terminal", help="of a table")
    parser.add_argument("--runs", action="store_true", help="one row a run, instead of one for all seeds of a config")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw accuracy against training FLOPs, PNG or SVG")
    return parser


def main() -> None:
    """The console script."""
    run_command("acdc-report", _parser(), _run)


def _run(options: argparse.Namespace) -> int:
    from acdc_cli.report.page import write_page

    folder = RunFolder(options.path)
    if folder.config.is_file() and options.format == "terminal":
        write_page(folder)
        Console().print(table.summary_table(folder))
        print(f"report: {folder.report}")
        return EXIT_DONE
    folders = run_folders(options.path) if options.path.is_dir() else []
    if not folders:
        raise BadInput(f"{options.path}: neither a run folder nor a folder of runs; runs lie in RUNS_DIR/<experiment>/")
    rows, left_out = compare(folders)
    if options.runs or not rows:
        _print_runs(options, folders)
        return EXIT_DONE
    if options.figure is not None:
        _draw(options.figure, rows)
    _print_comparison(options, rows)
    for name, state in left_out.items():
        print(f"acdc-report: not in the table: {name}: {state}", file=sys.stderr)
    return EXIT_DONE


def _print_runs(options: argparse.Namespace, folders: list[RunFolder]) -> None:
    rows = [table.run_row(found) for found in folders]
    if options.format == "terminal":
        table.print_runs(rows, title=str(options.path))
    else:
        write = {"markdown": table.markdown_table, "csv": table.csv_table}[options.format]
        print(write(table.RUN_COLUMNS, rows))


def _print_comparison(options: argparse.Namespace, rows: list[Row]) -> None:
    if options.format == "csv":
        print(table.comparison_csv(rows))
        return
    cells = table.comparison_cells(rows)
    if options.format == "markdown":
        print(table.markdown_table(table.COMPARISON_COLUMNS, cells))
    else:
        table.print_table(table.COMPARISON_COLUMNS, cells, str(options.path), table.COMPARISON_NOTE)


def _draw(file: Path, rows: list[Row]) -> None:
    from acdc_cli.report.comparison_figure import save_figure

    if file.suffix not in (".png", ".svg"):
        raise BadInput(f"--figure {file}: neither .png nor .svg; nearest: --figure {file.with_suffix('.png')}")
    if not any(row.sparse_top1 is not None for row in rows):
        raise BadInput(f"--figure {file}: no sparse run here is done yet; acdc-report --runs shows their states")
    save_figure(file, rows)
