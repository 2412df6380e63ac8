"""acdc-eval: re-evaluate the models of a finished run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.errors import EXIT_DONE
from acdc_cli.records.folder import MODELS


def _parser() -> Parser:
    parser = Parser(prog="acdc-eval", description="Re-evaluate a finished run's model on its validation set.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--model", choices=MODELS, help="default: sparse if the run has one, else dense")
    parser.add_argument("--dataset", metavar="NAME", help="another data set of the same image shape and classes")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="default: the run's own data_dir")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main() -> None:
    """The console script."""
    run_command("acdc-eval", _parser(), _run)


def _run(options: argparse.Namespace) -> int:
    from acdc_cli.training.reevaluate import reevaluate

    measured = reevaluate(options.run, options.model, options.dataset, options.data_dir)
    if options.json:
        print(json.dumps(measured, indent=2))
        return EXIT_DONE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(options.run), title_justify="left", show_header=False)
    for key, value in measured.items():
        table.add_row(key, "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value))
    Console().print(table)
    return EXIT_DONE
