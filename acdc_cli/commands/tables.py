"""acdc-report TABLE: plan a published table's runs, run what is missing, print it from the records."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from errno import EACCES
from pathlib import Path

from acdc_cli.errors import EXIT_DONE, BadInput
from acdc_cli.launch.listed_runs import say
from acdc_cli.launch.table_pairs import measure_pairs
from acdc_cli.launch.table_runs import run_missing
from acdc_cli.report.terminal import print_table
from acdc_cli.tables.composed import compose_ahead
from acdc_cli.tables.fill import fill, published_recipes
from acdc_cli.tables.formats import full_csv, latex, markdown, write_table
from acdc_cli.tables.jobs import Request, every_job, recipes, runs_dir_of, table_jobs
from acdc_cli.tables.plan import print_plan
from acdc_cli.tables.request_checks import check_request
from acdc_cli.tables.selection import select
from acdc_cli.tables.spec import TableSpec, read_table
from acdc_cli.tables.text import provenance, text_table


def report_tables(names: Sequence[str], typed: Sequence[str], options: argparse.Namespace) -> int:
    """Plan, run or report one or more tables.

    Args:
        names: of the tables.
        typed: overrides for every run; Hydra's own, such as ``hydra/launcher=joblib``, are for the launcher.

    Returns:
        The exit code: of a sweep, where there was one.
    """
    launcher = [override for override in typed if override.startswith("hydra")]
    extra = tuple(override for override in typed if override not in launcher)
    request = Request(options.scale, options.seeds, extra)
    specs = [select(read_table(name), options.selection) for name in names]
    check_request(specs, request)
    compose_ahead(recipe for spec in specs for recipe in recipes(spec, request))
    if options.plan:
        print_plan(specs, request, options.format)
        return EXIT_DONE
    folder = _made(options.out, runs_dir_of(specs[0], request) / "tables" / options.scale)
    code, began = EXIT_DONE, time.monotonic()
    if options.run:
        code = run_missing(lambda: [row for spec in specs for row in table_jobs(spec, request)], launcher)
        for spec in specs:
            if {"agreement", "cross_entropy"} & set(spec.columns):
                measure_pairs(table_jobs(spec, request), say)
        say(f"{(time.monotonic() - began) / 60:.1f} min")
    compose_ahead(recipe for spec in specs for recipe in published_recipes(spec))
    for spec in specs:
        _report(spec, request, options, folder)
    return code


def _made(out: Path | None, default: Path) -> Path:
    """The folder for the tables' files, before anything runs for hours."""
    folder = out or default
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
    except OSError as error:
        key = f"--out {folder}" if out else f"runs_dir: {folder}"
        raise BadInput(f"{key}: cannot be written to ({error.strerror}); choose another folder") from None
    return folder


def _report(spec: TableSpec, request: Request, options: argparse.Namespace, folder: Path) -> None:
    rows = table_jobs(spec, request)
    for job in every_job(rows):
        if job.problem is not None:
            say(f"not in the table: {job.folder.path}: {job.problem}")
    filled = fill(spec, rows, request)
    table = text_table(spec, filled, options.scale, provenance(rows))
    paths = write_table(folder, spec, filled, table)
    if options.format == "csv":
        print(full_csv(spec, filled))
    elif options.format in ("markdown", "latex"):
        print(markdown(table) if options.format == "markdown" else latex(spec.name, table))
    else:
        print_table(table.headings, table.rows, table.title)
        sources = (f"[{number}] {source}" for number, source in enumerate(table.sources, 1))
        print("\n".join([*table.notes, *sources]))
        print("written: " + ", ".join(str(path) for path in paths))
