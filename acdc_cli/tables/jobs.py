"""From a table's rows to runs: which overrides, which id, which folder, and how far each one is."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from acdc_cli.config.command_line import group_options, key_of, quoted
from acdc_cli.config.finetune import finetuning_config
from acdc_cli.config.identity import readable_name, run_id
from acdc_cli.config.schema import Config, known, prunes_a_dense_run
from acdc_cli.errors import AcdcError, BadInput, DataMissing
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.tables.composed import composed
from acdc_cli.tables.found import ID, FoundRuns, state_of
from acdc_cli.tables.spec import SELECTIONS, TableRow, TableSpec

# The small scale is the papers' rows on the digits: what acdc-train is by itself, and this.
AT_SCALE = {"paper": (), "small": ("experiment=small_tables",)}
Runs = dict[str, FoundRuns]  # by runs_dir
_START = "finetune_start"  # of fine-tunings alone


@dataclass(frozen=True)
class Job:
    """One run of a table.

    Attributes:
        overrides: what ``acdc-train`` is given.
        config: settled for this machine, or as asked where this is not the machine for it.
        run_id: of the folder.
        folder: where the run lies, whoever made it, or will lie.
        state: done, running, interrupted, failed or missing.
        problem: why it is not done, where there is more to say than its state.
    """

    overrides: tuple[str, ...]
    config: Config
    run_id: str
    folder: RunFolder
    state: str
    problem: str | None = None


@dataclass(frozen=True)
class SeedJobs:
    """A row's runs under one seed. What goes on from another run can be told only when that is done: its id is of its
    weights.

    Attributes:
        dense: the dense run that the row's method prunes.
        run: the row's own; None until ``dense`` is done.
        partner: whose dense model stands beside the sparse one, where the row names another run's.
        finetuned: the fine-tuning of the run's dense partner; None until ``run`` is done, or where none is wanted.
    """

    dense: Job | None
    run: Job | None
    partner: Job | None
    finetuned: Job | None
    wants_finetuned: bool

    @property
    def is_done(self) -> bool:
        """Whether the row's own run is."""
        return self.run is not None and self.run.state == "done"


@dataclass(frozen=True)
class RowJobs:
    """A row, and its runs by seed; or why there are none."""

    row: TableRow
    seeds: Sequence[SeedJobs]
    unavailable: str | None = None


@dataclass(frozen=True)
class Request:
    """What is wanted of a table.

    Attributes:
        scale: paper or small.
        seeds: runs a row; None: as the table says.
        extra: overrides that were typed, for every run.
    """

    scale: str
    seeds: int | None = None
    extra: tuple[str, ...] = ()

    def typed(self, overrides: tuple[str, ...]) -> tuple[str, ...]:
        """What acdc-train is given for a run of a row with these overrides."""
        extra = (override for override in self.extra if key_of(override) != _START)
        return (*AT_SCALE[self.scale], *overrides, *extra)

    @property
    def finetune_start(self) -> str:
        """Which state of their parents the fine-tunings start from, ``last`` or ``best``."""
        asked = [override.partition("=")[2] for override in self.extra if key_of(override) == _START]
        return asked[-1] if asked and asked[-1] != "null" else SELECTIONS[0]


def recipes(spec: TableSpec, request: Request) -> Iterator[tuple[str, ...]]:
    """What the configs of a table's runs will be composed of, as far as that can be told without any of them.

    Never empty: with no row to run, what was typed is composed alone, to be checked.
    """
    available = list(_available(spec, request))
    return iter(available or [request.typed(())])


def runs_dir_of(spec: TableSpec, request: Request) -> Path:
    """Where the runs of a table lie. Raises BadInput on an override that cannot be."""
    return Path(composed(next(recipes(spec, request))).runs_dir)


def _available(spec: TableSpec, request: Request) -> Iterator[tuple[str, ...]]:
    for row in spec.rows:
        of_row = [row.overrides[request.scale], (row.dense_partner or {}).get(request.scale)]
        known_ones = [overrides for overrides in of_row if overrides is not None]
        if first_missing([override for overrides in known_ones for override in overrides]) is None:
            yield from map(request.typed, known_ones)


def table_jobs(spec: TableSpec, request: Request) -> list[RowJobs]:
    """The runs of a table and their states, as the records are now.

    Raises:
        BadInput: on an override that cannot be.
    """
    composed(next(recipes(spec, request)))  # says what is wrong with what was typed, though no row be run
    runs: Runs = {}
    return [_row_jobs(spec, row, request, runs) for row in spec.rows]


def every_job(rows: Sequence[RowJobs]) -> Iterator[Job]:
    """Each run once, though several rows share it."""
    seen = set[str]()
    for jobs in (jobs for row in rows for jobs in row.seeds):
        for job in (jobs.dense, jobs.partner, jobs.run, jobs.finetuned):
            if job is not None and job.run_id not in seen:
                seen.add(job.run_id)
                yield job


def _row_jobs(spec: TableSpec, row: TableRow, request: Request, runs: Runs) -> RowJobs:
    own = row.overrides[request.scale]
    if own is None:
        return RowJobs(row, (), row.not_run)
    partner = None if row.dense_partner is None else row.dense_partner[request.scale]
    if (missing := first_missing((*own, *(partner or ())))) is not None:
        return RowJobs(row, (), f"not available yet: {missing}")
    asked, seeds = request.seeds or row.seeds[request.scale], list[SeedJobs]()
    while len(seeds) < asked or seeds[-1].is_done:  # and what there is beyond
        seeds.append(_seed_jobs(spec.name, row, own, partner, len(seeds), request, runs))
    return RowJobs(row, seeds[:asked] + [jobs for jobs in seeds[asked:] if jobs.is_done])


def first_missing(overrides: Sequence[str]) -> str | None:
    """The override whose experiment, model or data set there is not: the row's task is not in the program yet."""
    groups = group_options()
    for override in overrides:
        group, _, option = override.partition("=")
        if group in ("experiment", "model", "dataset") and option not in groups[group]:
            return override
    return None


def _seed_jobs(
    table: str,
    row: TableRow,
    own: tuple[str, ...],
    partner: tuple[str, ...] | None,
    seed: int,
    request: Request,
    runs: Runs,
) -> SeedJobs:
    def job(overrides: tuple[str, ...], start_from: str | None = None) -> Job:
        typed = request.typed(overrides)
        config = copy.deepcopy(composed(typed))
        config.seed, config.run.experiment, config.start_from = seed, table, start_from or config.start_from
        starts = () if start_from is None else (f"start_from={quoted(start_from)}",)
        return _job(config, (*typed, f"seed={seed}", *starts), runs)

    dense = job(_of_dense_run(own, composed(request.typed(own)))) if _prunes_a_dense_run(request.typed(own)) else None
    start = None if dense is None else str(dense.folder.path)
    run, finetuned = None, None
    try:
        run = job(own, start) if dense is None or dense.state == "done" else None
    except (Damaged, DataMissing) as error:
        if dense is None:
            raise
        dense = _with_problem(dense, error)
    if row.is_finetuned and run is not None and run.state == "done":
        config = copy.deepcopy(composed(tuple(each for each in _of_any_run(request) if key_of(each) != _START)))
        config.finetune, config.start_from, config.run.experiment = "dense", str(run.folder.path), table
        config.finetune_start = "best" if request.finetune_start == "best" else None
        typed = finetuning(run, request)
        try:
            finetuned = _job(finetuning_config(config, list(typed)), typed, runs)
        except (Damaged, DataMissing) as error:
            run = _with_problem(run, error)
    return SeedJobs(dense, run, None if partner is None else job(partner), finetuned, row.is_finetuned)


def _with_problem(job: Job, error: AcdcError) -> Job:
    """A run that looked done until its model or its config was read: it has to be made again."""
    return replace(job, state="failed", problem=str(error))


def finetuning(run: Job, request: Request) -> tuple[str, ...]:
    """What acdc-train is given to fine-tune a run's dense partner."""
    return ("finetune=dense", f"start_from={quoted(str(run.folder.path))}", *_of_any_run(request))


def _of_any_run(request: Request) -> tuple[str, ...]:
    return tuple(override for override in request.extra if key_of(override) in _ANY_RUN)


def _prunes_a_dense_run(overrides: tuple[str, ...]) -> bool:
    config = composed(overrides)
    return prunes_a_dense_run(config) and config.start_from is None


def _of_dense_run(overrides: tuple[str, ...], config: Config) -> tuple[str, ...]:
    """Of the run that acdc-train would make first."""
    if config.dense_run is not None:
        return (*config.dense_run, "method=dense")
    pruning = ("method=", "method.", "bn_recalibration=")
    return (*(override for override in overrides if not override.startswith(pruning)), "method=dense")


# Of what is typed for every run, what fine-tuning takes over too: it has all else from its parent.
_ANY_RUN = (
    "runs_dir",
    "data_dir",
    "tracker",
    "tracker.mode",
    "tracker.project",
    "tracker.entity",
    "workers",
    "os_cache",
    _START,
)


def settled_here(config: Config) -> Config:
    """As it would run on this machine; as it was asked for where that is for another, such as one with a GPU."""
    from acdc_cli.training.machine import settle
    from acdc_cli.training.record_format import record_format

    try:
        return settle(config, lambda line: None)
    except BadInput:
        with suppress(BadInput):  # of a network that cannot be had, which the plan of the run says
            return replace(config, record_format=record_format(config))
        return config


def _job(config: Config, overrides: tuple[str, ...], runs: Runs) -> Job:
    from acdc_cli.training.start import locate_start

    asked = locate_start(config)
    settled = settled_here(asked)
    key, runs_dir = run_id(settled), Path(settled.runs_dir)
    found = runs.setdefault(settled.runs_dir, FoundRuns(runs_dir)).of(asked, settled)
    if found is None:
        found = RunFolder(runs_dir / known(settled.run.experiment) / f"{readable_name(settled)}-{key}")
    name = ID.sub("", found.path.name)
    where = (f"run.experiment={found.path.parent.name}", f"run.name={quoted(name)}")
    state = state_of(found)
    problem = found.reason() if state in ("failed", "interrupted") else None
    return Job((*overrides, *where), settled, found.path.name[len(name) + 1 :], found, state, problem)
