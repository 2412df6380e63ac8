"""acdc-report TABLE --plan: which runs, which are done, and what the others will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from acdc_cli.report.table import NOTHING, csv_table, markdown_table
from acdc_cli.report.terminal import print_table
from acdc_cli.tables.estimate import Clock, train_flops
from acdc_cli.tables.jobs import Job, Request, RowJobs, every_job, runs_dir_of, table_jobs
from acdc_cli.tables.spec import TableRow, TableSpec

PLAN_COLUMNS = ("id", "state", "method", "setting", "seed", "epochs", "training FLOPs", "time", "overrides")


def print_plan(specs: Sequence[TableSpec], request: Request, form: str) -> None:
    """A line a run, then what is to do in all.

    Args:
        form: terminal, markdown or csv.
    """
    rows = [row for spec in specs for row in table_jobs(spec, request)]
    jobs, clock = list(every_job(rows)), Clock(runs_dir_of(specs[0], request))
    first_row: dict[str, TableRow] = {}
    for row in rows:
        for job in every_job([row]):
            first_row.setdefault(job.run_id, row.row)
    todo = [job for job in jobs if job.state != "done"]
    flops = {job.run_id: train_flops(job) for job in todo}
    seconds = {job.run_id: clock.seconds(job) for job in todo}
    cells = [_line(job, first_row[job.run_id], flops.get(job.run_id), seconds.get(job.run_id)) for job in jobs]
    if form == "csv":
        print(csv_table(PLAN_COLUMNS, cells))
        return
    if form == "markdown":
        print(markdown_table(PLAN_COLUMNS, cells))
    else:
        print_table(PLAN_COLUMNS, cells, f"{', '.join(spec.name for spec in specs)}, scale {request.scale}")
    _print_totals(rows, jobs, flops, seconds)


def _print_totals(
    rows: Sequence[RowJobs], jobs: Sequence[Job], flops: Mapping[str, float], seconds: Mapping[str, float | None]
) -> None:
    states = Counter(job.state for job in jobs)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    known = [value for value in seconds.values() if value is not None]
    like = f"{_duration(sum(known))} for {len(known)} of them, as long as finished runs like them took"
    time = "" if not seconds else f"; {like}" if known else "; for how long is not known: no run like them is done"
    print(f"{len(jobs)} runs: {counted}; {sum(flops.values()):.2e} training FLOPs to go{time}")
    waiting = sum(seed.to_be_named for row in rows for seed in row.seeds)
    if waiting:
        print(f"{waiting} more follow, fine-tuning and pruning of trained networks: their ids are of those weights")
    for row in rows:
        if row.unavailable is not None:
            print(f"{row.row.label}: {row.unavailable}")


def _line(job: Job, row: TableRow, flops: float | None, seconds: float | None) -> list[str]:
    return [
        job.run_id,
        job.state,
        row.method,
        row.setting,
        str(job.config.seed),
        str(job.config.epochs),
        NOTHING if flops is None else f"{flops:.2e}",
        NOTHING if seconds is None else _duration(seconds),
        " ".join(override for override in job.overrides if not override.startswith("run.")),
    ]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
