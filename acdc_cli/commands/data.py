"""acdc-data: prepare, list and check data sets."""

from __future__ import annotations

import argparse
from pathlib import Path

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.errors import EXIT_DATA_MISSING, EXIT_DONE


def _parser() -> Parser:
    parser = Parser(prog="acdc-data", description="Prepare, list and check data sets.")
    actions = parser.add_subparsers(dest="action", required=True, parser_class=Parser)
    prepare = actions.add_parser("prepare", help="write train.beton, val.beton and dataset.json")
    prepare.add_argument("dataset", metavar="DATASET", help="one of acdc-data list")
    prepare.add_argument("--source", type=Path, metavar="DIR", help="folder of the published files; none for digits")
    prepare.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: ./data/DATASET)")
    actions.add_parser("list", help="the data sets that can be prepared")
    check = actions.add_parser("check", help="re-read a prepared data set and compare it with its dataset.json")
    check.add_argument("folder", type=Path, metavar="DIR")
    return parser


def main() -> None:
    """The console script."""
    run_command("acdc-data", _parser(), _run)


def _run(options: argparse.Namespace) -> int:
    return {"prepare": _prepare, "list": _list, "check": _check}[options.action](options)


def _prepare(options: argparse.Namespace) -> int:
    from acdc_cli.data.ffcv_availability import ffcv_problem
    from acdc_cli.data.prepare import prepare

    dataset = prepare(options.dataset, options.source, options.out or Path("data") / options.dataset)
    counts = f"{dataset.count('train')} training and {dataset.count('val')} validation images"
    print(f"{dataset.folder}: {dataset.name}, {counts}, {dataset.classes} classes")
    if problem := ffcv_problem():
        print(f"no .beton files: FFCV cannot be imported ({problem}). loader=torch reads the source; see acdc-doctor")
    return EXIT_DONE


def _list(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from acdc_cli.data.sources import SOURCES

    table = Table("data set", "what it is", "prepared by")
    for name, source in SOURCES.items():
        how = "acdc-train itself" if source.embedded else f"acdc-data prepare {name} --source DIR"
        table.add_row(name, source.summary, how)
    Console().print(table)
    return EXIT_DONE


def _check(options: argparse.Namespace) -> int:
    from acdc_cli.data.prepare import check, read_dataset

    dataset = read_dataset(options.folder)
    faults = check(dataset)
    for fault in faults:
        print(fault)
    if faults:
        print(f"make it again with: {dataset.prepare_command}")
        return EXIT_DATA_MISSING
    counts = f"{dataset.count('train')} + {dataset.count('val')} samples"
    print(f"{dataset.folder}: {dataset.name}, {counts}, as they were written")
    return EXIT_DONE
