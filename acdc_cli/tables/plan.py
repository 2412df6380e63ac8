"""acdc-report TABLE --plan: which runs, which are done, and what the others will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from acdc_cli.config.schedule import timeline_of
from acdc_cli.config.schema import Config
from acdc_cli.report.table import NOTHING, csv_table, markdown_table
from acdc_cli.report.terminal import print_table
from acdc_cli.system.progress import stage
from acdc_cli.tables.composed import composed
from acdc_cli.tables.estimate import Clock, cost_key, flops_to_go
from acdc_cli.tables.jobs import Request, RowJobs, every_job, finetuning, runs_dir_of, settled_here, table_jobs
from acdc_cli.tables.spec import TableRow, TableSpec

PLAN_COLUMNS = ("id", "state", "method", "setting", "seed", "epochs", "training FLOPs", "time", "overrides")


@dataclass(frozen=True)
class _Run:
    """A line of the plan.

    Attributes:
        name: its id; of what follows another run, which one and how: its id will be of that run's weights.
        config: settled.
    """

    name: str
    state: str
    row: TableRow
    config: Config
    seed: int
    overrides: tuple[str, ...]


def print_plan(specs: Sequence[TableSpec], request: Request, form: str) -> None:
    """A line a run, then what is to do in all.

    Args:
        form: terminal, markdown or csv.
    """
    rows = [row for spec in specs for row in table_jobs(spec, request)]
    first: dict[str, _Run] = {}
    for run in (run for row in rows for run in _runs(row, request)):
        first.setdefault(run.name, run)  # though several rows share it
    runs = list(first.values())
    clock = Clock(runs_dir_of(specs[0], request))
    todo = [run for run in runs if run.state != "done"]
    flops = _flops(todo)
    seconds = {run.name: clock.seconds(run.config) for run in todo}
    cells = [_line(run, flops.get(run.name), seconds.get(run.name)) for run in runs]
    cells += [_unavailable(row.row, row.unavailable) for row in rows if row.unavailable is not None]
    if form == "csv":
        print(csv_table(PLAN_COLUMNS, cells))
        return
    if form == "markdown":
        print(markdown_table(PLAN_COLUMNS, cells))
    else:
        print_table(PLAN_COLUMNS, cells, f"{', '.join(spec.name for spec in specs)}, scale {request.scale}")
    states = Counter(run.state for run in runs)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    timed = [value for value in seconds.values() if value is not None]
    like = (
        f"{_duration(sum(timed))} for {len(timed)} of them, one after another, as long as finished runs like them took"
    )
    time = "" if not todo else f"; {like}" if timed else "; for how long is not known: no run like them is done"
    print(f"{len(runs)} runs: {counted}; {sum(flops.values()):.2e} training FLOPs to go{time}")


def _flops(runs: Sequence[_Run]) -> dict[str, float]:
    """By name. A model is built for each kind of run, on no device."""
    kinds = {cost_key(run.config): run.config for run in runs}
    costs = dict[str, float]()
    with stage("training FLOPs", len(kinds)) as advance:
        for key, config in kinds.items():
            costs[key] = flops_to_go(config)
            advance(1)
    return {run.name: costs[cost_key(run.config)] for run in runs}


def _runs(row: RowJobs, request: Request) -> Iterator[_Run]:
    for job in every_job([row]):
        yield _Run(job.run_id, job.state, row.row, job.config, job.config.seed, job.overrides)
    for seed, jobs in enumerate(row.seeds):
        if jobs.run is None:
            dense, own = jobs.dense, row.row.overrides[request.scale]
            assert dense is not None and own is not None  # a run is unknown before the dense one that it prunes is done
            typed = request.all_overrides(own)
            name, overrides = f"after {dense.run_id}: {' '.join(typed)}", (*typed, f"seed={seed}")
            yield _Run(name, "missing", row.row, settled_here(composed(typed)), seed, overrides)
        elif jobs.wants_finetuned and jobs.finetuned is None:
            first_epoch = timeline_of(jobs.run.config).last_sparse_phase().start_epoch
            config, overrides = replace(jobs.run.config, first_epoch=first_epoch), finetuning(jobs.run, request)
            yield _Run(f"after {jobs.run.run_id}: fine-tuning", "missing", row.row, config, seed, overrides)


def _line(run: _Run, flops: float | None, seconds: float | None) -> list[str]:
    return [
        run.name.partition(":")[0],
        run.state,
        run.row.method,
        run.row.setting,
        str(run.seed),
        str(run.config.epochs),
        NOTHING if flops is None else f"{flops:.2e}",
        NOTHING if seconds is None else _duration(seconds),
        " ".join(override for override in run.overrides if not override.startswith("run.")),
    ]


def _unavailable(row: TableRow, why: str) -> list[str]:
    return ["", why, row.method, row.setting, *[NOTHING] * (len(PLAN_COLUMNS) - 4)]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
