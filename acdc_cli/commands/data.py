"""acdc-data: prepare, list and check data sets."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.errors import EXIT_DATA_MISSING, EXIT_DONE, BadInput, Interrupted
from acdc_cli.system.signals import interrupt

if TYPE_CHECKING:
    from acdc_cli.data.write_options import WriteOptions

NAMED_AT_MOST = 20  # unreadable images that are printed; dataset.json has them all


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("names no folder; an empty one would be the current folder")
    return Path(text)


def _parser() -> Parser:
    parser = Parser(prog="acdc-data", description="Prepare, list and check data sets.")
    actions = parser.add_subparsers(dest="action", required=True, parser_class=Parser)
    prepare = actions.add_parser("prepare", help="write train.beton, val.beton and dataset.json")
    prepare.add_argument("dataset", metavar="DATASET", help="one of acdc-data list")
    prepare.add_argument(
        "--source", type=_folder, metavar="DIR", help="folder (arrays: file) of the images; none if embedded"
    )
    prepare.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the data set, such as pad_to=32"
    )
    prepare.add_argument("--out", type=_folder, metavar="DIR", help="folder to write (default: ./data/DATASET)")
    prepare.add_argument("--config-dir", type=Path, metavar="DIR", help="with the YAML of data sets of your own")
    prepare.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    images = prepare.add_argument_group("image files", "how they are written (default: imagenet's, patches')")
    images.add_argument("--max-resolution", metavar="PIXELS|none", help="reduce longer sides to this (500, none)")
    images.add_argument("--jpeg-quality", type=int, metavar="1..100", help="of what is written as JPEG (90, 95)")
    images.add_argument(
        "--raw-share", type=float, metavar="0..1", help="share kept as pixels: larger, quicker to read (0.5, 0)"
    )
    actions.add_parser("list", help="the data sets that can be prepared")
    check = actions.add_parser("check", help="re-read a prepared data set and compare it with its dataset.json")
    check.add_argument("folder", type=Path, metavar="DIR")
    check.add_argument("--source", action="store_true", help="read every image file of the source too")
    return parser


def main() -> None:
    """The console script."""
    run_command("acdc-data", _parser(), _run)


def _run(options: argparse.Namespace) -> int:
    return {"prepare": _prepare, "list": _list, "check": _check}[options.action](options)


def _write_options(options: argparse.Namespace) -> WriteOptions | None:
    """What was typed, over the data set's own; None where nothing was."""
    from acdc_cli.data.source import Tree, source_of
    from acdc_cli.data.write_options import changed

    typed = (options.max_resolution, options.jpeg_quality, options.raw_share)
    if typed == (None, None, None):
        return None
    images = source_of(options.dataset).data
    if not isinstance(images, Tree):
        raise BadInput(
            f"--max-resolution, --jpeg-quality, --raw-share: {options.dataset} is stored as it is; drop them"
        )
    return changed(images.write, *typed)


def _content_keys(options: argparse.Namespace) -> dict[str, Any]:
    """The data set's keys that decide what the samples are, as its YAML has them and with what was typed."""
    from acdc_cli.data.preparing.own import content_keys_of
    from acdc_cli.parts import DATASETS

    content_keys = [key for key in DATASETS.part(options.dataset, "DATASET").facts.content_keys if key != "source"]
    for typed in options.set:
        key = typed.partition("=")[0]
        if key not in content_keys:
            there = f"its keys are {', '.join(content_keys)}" if content_keys else "it has none"
            raise BadInput(f"--set {typed}: {options.dataset} is not prepared by the key {key}; {there}")
    if not content_keys:
        return {}
    from acdc_cli.config.command_line import add_config_dir
    from acdc_cli.config.compose import compose_config

    if options.config_dir is not None:
        add_config_dir(options.config_dir)

    config = compose_config([f"dataset={options.dataset}", *(f"dataset.{typed}" for typed in options.set)])
    return content_keys_of(options.dataset, config.dataset.options)


def _prepare(options: argparse.Namespace) -> int:
    from acdc_cli.data.beton.availability import ffcv_problem
    from acdc_cli.data.preparing.find import named_folder
    from acdc_cli.data.preparing.prepare import prepare
    from acdc_cli.data.source import is_own

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)  # they end it as Ctrl-C does
    if options.workers is not None and options.workers < 1:
        raise BadInput(f"--workers {options.workers}: nearest: --workers 1")
    keys = _content_keys(options)
    out = options.out or named_folder(options.dataset, keys, "data")
    own_file = () if is_own(options.dataset) else (("--source", options.source),)
    for flag, folder in (*own_file, ("--out", out)):
        if folder is not None and folder.is_file():
            raise BadInput(f"{flag} {folder}: a file, no folder; nearest: {flag} {folder.parent}")
    try:
        dataset = prepare(options.dataset, options.source, out, _write_options(options), options.workers, keys)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; the same command goes on: {out}") from None
    counts = f"{dataset.count('train')} training and {dataset.count('val')} validation images"
    print(f"{dataset.folder}: {dataset.name}, {counts}, {dataset.classes} classes")
    skipped = [item for split in ("train", "val") for item in dataset.info[split].get("skipped", {}).items()]
    for path, problem in skipped[:NAMED_AT_MOST]:
        print(f"skipped, unreadable: {_printable(path)}: {problem}")
    if skipped:
        print(f"{len(skipped)} unreadable images were skipped; {dataset.folder / 'dataset.json'} names them all")
    if problem := ffcv_problem():
        print(f"no .beton files: FFCV cannot be imported ({problem}). loader=torch reads the source; see acdc-doctor")
    return EXIT_DONE


def _printable(name: str) -> str:
    """A file's name with what a terminal cannot show spelled out: a tab, bytes that are no text."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def _list(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from acdc_cli.parts import DATASETS

    table = Table("data set", "what it is", "prepared by")
    for name in DATASETS.names():
        facts = DATASETS.part(name).facts
        own = f"acdc-train dataset={name} dataset.source=PATH" if "source" in facts.content_keys else None
        how = "acdc-train itself" if facts.is_embedded else own or f"acdc-data prepare {name} --source DIR"
        table.add_row(name, facts.summary, how)
    Console().print(table)
    return EXIT_DONE


def _check(options: argparse.Namespace) -> int:
    from acdc_cli.data.dataset import read_dataset
    from acdc_cli.data.preparing.check import check

    dataset = read_dataset(options.folder)
    faults = check(dataset, options.source)
    for fault in faults:
        print(fault)
    if faults:
        print(f"make it again with: {dataset.prepare_command}")
        return EXIT_DATA_MISSING
    counts = f"{dataset.count('train')} + {dataset.count('val')} samples"
    print(f"{dataset.folder}: {dataset.name}, {counts}, as they were written")
    return EXIT_DONE
