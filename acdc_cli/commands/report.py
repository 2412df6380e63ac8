"""acdc-report: a run's report.html, a sweep's table or a published one, from run records only."""

from __future__ import annotations

import argparse
from pathlib import Path

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.config.command_line import add_config_dir, is_override
from acdc_cli.errors import EXIT_DONE, BadInput, nearest
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.report.table import print_summary
from acdc_cli.tables.of_runs import print_folder
from acdc_cli.tables.spec import SCALES, SELECTIONS, table_names

FORMATS = ("terminal", "markdown", "csv", "latex")
TABLES = "tables (acdc-report table1 table2)"
SEEDS_AT_MOST = 100
OF_RUNS, OF_TABLES = ("runs", "figure", "retry"), ("plan", "run", "scale", "seeds", "selection", "out")


def _parser() -> Parser:
    parser = Parser(
        prog="acdc-report",
        allow_abbrev=False,
        description="A run's report.html, a table of a folder of runs, or a published table beside what was measured.",
        epilog="example: acdc-report table1 --run --scale small hydra/launcher=joblib",
    )
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="RUN|SWEEP|TABLE",
        help="a run folder, a folder of run folders, or tables and key=value for all their runs",
    )
    parser.add_argument("--format", choices=FORMATS, default="terminal", help="of a table")
    sweep = parser.add_argument_group("of a SWEEP")
    sweep.add_argument("--runs", action="store_true", help="one row a run, instead of one for all seeds of a config")
    sweep.add_argument("--figure", type=Path, metavar="FILE", help="draw accuracy against training FLOPs, PNG or SVG")
    sweep.add_argument(
        "--retry", action="store_true", help="go on with the runs that failed or were interrupted, first"
    )
    published = parser.add_argument_group("of a TABLE")
    published.add_argument("--plan", action="store_true", help="list the runs, their states and their cost")
    published.add_argument("--run", action="store_true", help="run what is missing, or go on with it, first")
    published.add_argument("--scale", choices=SCALES, help="paper, if not given; small: on the embedded digits")
    published.add_argument("--seeds", type=int, metavar="N", help="runs a row (default: as the table says)")
    published.add_argument(
        "--selection", choices=SELECTIONS, help="accuracies of the last or the best epoch (default: as the table says)"
    )
    published.add_argument("--config-dir", type=Path, metavar="DIR", help="with tables of one's own in DIR/table/")
    published.add_argument("--out", type=Path, metavar="DIR", help="for its files (RUNS_DIR/tables/SCALE)")
    return parser


def main() -> None:
    """The console script."""
    run_command("acdc-report", _parser(), _run, are_mixed=True)


def _run(options: argparse.Namespace) -> int:
    if options.config_dir is not None:
        add_config_dir(options.config_dir)
    places = [target for target in options.targets if Path(target).exists() or not is_override(target)]
    if any(not Path(place).exists() and place in table_names() for place in places):
        _refuse(OF_RUNS, options, "of runs, not of a table")
        return _tables(places, options)
    _refuse(OF_TABLES, options, "of a table, not of runs")
    others = [target for target in options.targets if target not in places]
    if len(places) != 1 or not all(target.startswith(("hydra/", "hydra.")) for target in others):
        raise BadInput(
            f"{' '.join(options.targets)}: one run or one folder of runs at a time; several, and key=value, only of "
            f"{TABLES}"
        )
    if not options.retry:
        return _runs(Path(places[0]), options)
    from acdc_cli.launch.retry import retry

    code = retry(Path(places[0]), others)
    _runs(Path(places[0]), options)
    return code


def _refuse(flags: tuple[str, ...], options: argparse.Namespace, why: str) -> None:
    for flag in flags:
        if getattr(options, flag) not in (None, False):
            raise BadInput(f"--{flag}: is {why}; see acdc-report --help")


def _tables(names: list[str], options: argparse.Namespace) -> int:
    from acdc_cli.commands.tables import report_tables

    if options.seeds is not None and not 1 <= options.seeds <= SEEDS_AT_MOST:
        nearest_valid = min(max(options.seeds, 1), SEEDS_AT_MOST)
        raise BadInput(
            f"--seeds {options.seeds}: not 1 to {SEEDS_AT_MOST} runs a row; nearest: --seeds {nearest_valid}"
        )
    if options.plan and options.run:
        raise BadInput("--plan --run: one of the two; --plan only lists what --run would run")
    if options.plan and options.format == "latex":
        raise BadInput("--format latex: a plan is printed as terminal, markdown or csv; nearest: --format markdown")
    options.scale = options.scale or SCALES[0]
    return report_tables(names, [target for target in options.targets if is_override(target)], options)


def _runs(path: Path, options: argparse.Namespace) -> int:
    folder = RunFolder(path)
    if folder.config.is_file() and options.format == "terminal" and not options.runs and options.figure is None:
        from acdc_cli.report.page import write_page

        write_page(folder)
        print_summary(folder)
        return EXIT_DONE
    folders = run_folders(path) if path.is_dir() else []
    if not folders:
        raise BadInput(
            f"{path}: neither a run folder nor a folder of runs, which lie in RUNS_DIR/<experiment>/, nor a table; "
            f"did you mean {nearest(path, table_names())}?"
        )
    print_folder(path, folders, options.format, options.runs, options.figure)
    return EXIT_DONE
