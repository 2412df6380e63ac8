"""acdc-report: a run's report.html, or a sweep's table, from run records only."""

from __future__ import annotations

import argparse
from pathlib import Path

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.errors import EXIT_DONE, BadInput


def _parser() -> Parser:
    parser = Parser(prog="acdc-report", description="A run's report.html, or the table of a folder of runs.")
    parser.add_argument("path", type=Path, metavar="RUN|SWEEP", help="a run folder, or a folder that holds run folders")
    parser.add_argument("--format", choices=("terminal", "markdown", "csv"), default="terminal", help="of a table")
    return parser


def main() -> None:
    """The console script."""
    run_command("acdc-report", _parser(), _run)


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from acdc_cli.records.folder import RunFolder, run_folders
    from acdc_cli.report.page import write_page
    from acdc_cli.report.table import csv_table, markdown_table, print_table, run_row, summary_table

    folder = RunFolder(options.path)
    if folder.config.is_file() and options.format == "terminal":
        write_page(folder)
        Console().print(summary_table(folder))
        print(f"report: {folder.report}")
        return EXIT_DONE
    folders = run_folders(options.path) if options.path.is_dir() else []
    if not folders:
        raise BadInput(f"{options.path}: neither a run folder nor a folder of runs; runs lie in RUNS_DIR/<experiment>/")
    rows = [run_row(found) for found in folders]
    if options.format == "terminal":
        print_table(rows, title=str(options.path))
    else:
        print({"markdown": markdown_table, "csv": csv_table}[options.format](rows))
    return EXIT_DONE
