"""Turn the rows of a table into runs, each with its overrides, id, folder and state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from acdc_cli.config.command_line import group_options, key_of, quoted
from acdc_cli.config.finetune import finetuning_config
from acdc_cli.config.identity import run_folder
from acdc_cli.config.schema import Config, prunes_a_dense_run
from acdc_cli.errors import AcdcError, BadInput, DataMissing
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.tables.composed import composed
from acdc_cli.tables.found import ID, FoundRuns, state_of
from acdc_cli.tables.spec import SELECTIONS, TableRow, TableSpec

# At small scale, the papers' rows run on the embedded digits: acdc-train's defaults and this experiment.
AT_SCALE = {"paper": (), "small": ("experiment=small_tables",)}
Runs = dict[str, FoundRuns]  # runs_dir -> the runs in it
_START = "finetune_start"  # only fine-tuning runs take this key


@dataclass(frozen=True)
class Job:
    """One run of a table.

    Attributes:
        overrides: the overrides for ``acdc-train``.
        config: resolved for this machine, or as it was asked for if the run needs another machine.
        run_id: the id of the run in the folder.
        folder: the folder of the existing run, whoever made it, or the folder that the run will get.
        state: done, running, interrupted, failed or missing.
        problem: why the run failed or was interrupted, else None.
    """

    overrides: tuple[str, ...]
    config: Config
    run_id: str
    folder: RunFolder
    state: str
    problem: str | None = None


@dataclass(frozen=True)
class SeedJobs:
    """The runs of a row under one seed.

    The id of a run depends on the weights that it starts from. A run that starts from another one is therefore unknown
    (None) until that one is done.

    Attributes:
        dense: the dense run that the row's method prunes; None for other methods.
        run: the row's own run; None until ``dense`` is done.
        partner: the run whose dense model is shown beside the sparse one, if the row names such a run.
        finetuned: the run that fine-tunes the dense partner; None until ``run`` is done, or if none is wanted.
        wants_finetuned: whether the row has a fine-tuning run.
    """

    dense: Job | None
    run: Job | None
    partner: Job | None
    finetuned: Job | None
    wants_finetuned: bool

    @property
    def known_run(self) -> Job:
        """The row's own run, of a row whose dense run is done."""
        assert self.run is not None, "the dense run that this one prunes is not done"
        return self.run

    @property
    def is_done(self) -> bool:
        """Whether the row's own run is done."""
        return self.run is not None and self.run.state == "done"


@dataclass(frozen=True)
class RowJobs:
    """A row with its runs for each seed; ``unavailable`` says why there are none, or is None."""

    row: TableRow
    seeds: Sequence[SeedJobs]
    unavailable: str | None = None


@dataclass(frozen=True)
class Request:
    """The scale, seeds and overrides that a user asks for when making a table.

    Attributes:
        scale: ``paper`` or ``small``.
        seeds: number of runs per row; None means the number in the table's file.
        extra: overrides from the command line, which apply to every run.
    """

    scale: str
    seeds: int | None = None
    extra: tuple[str, ...] = ()

    def all_overrides(self, overrides: tuple[str, ...]) -> tuple[str, ...]:
        """Return the overrides for ``acdc-train``: those of the scale, of the row and of the command line."""
        extra = (override for override in self.extra if key_of(override) != _START)
        return (*AT_SCALE[self.scale], *overrides, *extra)

    @property
    def finetune_start(self) -> str:
        """The state of the parent run from which fine-tuning starts, ``last`` or ``best``."""
        asked = [override.partition("=")[2] for override in self.extra if key_of(override) == _START]
        return asked[-1] if asked and asked[-1] != "null" else SELECTIONS[0]


def recipes(spec: TableSpec, request: Request) -> Iterator[tuple[str, ...]]:
    """Yield the overrides of all runs of a table that are known before any config is composed.

    If no row can run, the overrides from the command line are yielded alone, so that they are checked all the same.
    """
    available = list(_available(spec, request))
    return iter(available or [request.all_overrides(())])


def runs_dir_of(spec: TableSpec, request: Request) -> Path:
    """Return the ``runs_dir`` of a table's runs. Raises BadInput for an invalid override."""
    return Path(composed(next(recipes(spec, request))).runs_dir)


def _available(spec: TableSpec, request: Request) -> Iterator[tuple[str, ...]]:
    for row in spec.rows:
        of_row = [row.overrides[request.scale], (row.dense_partner or {}).get(request.scale)]
        known_ones = [overrides for overrides in of_row if overrides is not None]
        if first_missing([override for overrides in known_ones for override in overrides]) is None:
            yield from map(request.all_overrides, known_ones)


def table_jobs(spec: TableSpec, request: Request) -> list[RowJobs]:
    """Return the runs of a table with their current states, read from the records.

    Raises:
        BadInput: for an invalid override.
    """
    composed(next(recipes(spec, request)))  # checks the overrides from the command line even if no row can run
    runs: Runs = {}
    return [_row_jobs(spec, row, request, runs) for row in spec.rows]


def every_job(rows: Sequence[RowJobs]) -> Iterator[Job]:
    """Yield every run of the rows, and a run that several rows share only once."""
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
    while len(seeds) < asked or seeds[-1].is_done:  # finished runs of further seeds are used too
        seeds.append(_seed_jobs(spec.name, row, own, partner, len(seeds), request, runs))
    return RowJobs(row, seeds[:asked] + [jobs for jobs in seeds[asked:] if jobs.is_done])


def first_missing(overrides: Sequence[str]) -> str | None:
    """Return the first override whose experiment, model or data set the program does not have yet, or None."""
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
        complete = request.all_overrides(overrides)
        config = composed(complete)
        run = replace(config.run, experiment=table)
        config = replace(config, seed=seed, run=run, start_from=start_from or config.start_from)
        starts = () if start_from is None else (f"start_from={quoted(start_from)}",)
        return _job(config, (*complete, f"seed={seed}", *starts), runs)

    dense = (
        job(_of_dense_run(own, composed(request.all_overrides(own))))
        if _prunes_a_dense_run(request.all_overrides(own))
        else None
    )
    start = None if dense is None else str(dense.folder.path)
    run, finetuned = None, None
    try:
        run = job(own, start) if dense is None or dense.state == "done" else None
    except (Damaged, DataMissing) as error:
        if dense is None:
            raise
        dense = _with_problem(dense, error)
    if row.is_finetuned and run is not None and run.state == "done":
        extra = _extra_of_finetuning(request)
        config = composed(tuple(each for each in extra if key_of(each) != _START))
        config = replace(
            config,
            finetune="dense",
            finetune_start="best" if request.finetune_start == "best" else None,
            start_from=str(run.folder.path),
            run=replace(config.run, experiment=table),
        )
        overrides = finetuning(run, request)
        try:
            finetuned = _job(finetuning_config(config, list(overrides)), overrides, runs)
        except (Damaged, DataMissing) as error:
            run = _with_problem(run, error)
    return SeedJobs(dense, run, None if partner is None else job(partner), finetuned, row.is_finetuned)


def _with_problem(job: Job, error: AcdcError) -> Job:
    """Return a finished run as failed, because its model or config cannot be read and the run must be made again."""
    return replace(job, state="failed", problem=str(error))


def finetuning(run: Job, request: Request) -> tuple[str, ...]:
    """Return the overrides with which ``acdc-train`` fine-tunes the dense partner of a run."""
    return ("finetune=dense", f"start_from={quoted(str(run.folder.path))}", *_extra_of_finetuning(request))


def _extra_of_finetuning(request: Request) -> tuple[str, ...]:
    return tuple(override for override in request.extra if key_of(override) in _FINETUNING_KEYS)


def _prunes_a_dense_run(overrides: tuple[str, ...]) -> bool:
    config = composed(overrides)
    return prunes_a_dense_run(config) and config.start_from is None


def _of_dense_run(overrides: tuple[str, ...], config: Config) -> tuple[str, ...]:
    """Return the overrides of the dense run that ``acdc-train`` makes before it prunes."""
    if config.dense_run is not None:
        return (*config.dense_run, "method=dense")
    pruning = ("method=", "method.", "bn_recalibration=")
    return (*(override for override in overrides if not override.startswith(pruning)), "method=dense")


# Overrides of these keys on the command line apply to fine-tuning runs too. Fine-tuning runs take all other settings
# from their parent.
_FINETUNING_KEYS = (
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
    """Resolve the config for this machine, or keep it as asked for if it needs another, such as one with a GPU."""
    from acdc_cli.planning.record_format import record_format
    from acdc_cli.planning.settle import settle

    try:
        return settle(config, lambda line: None)
    except BadInput:
        with suppress(BadInput):  # the network cannot be built; the plan of the run reports this
            return replace(config, record_format=record_format(config))
        return config


def _job(config: Config, overrides: tuple[str, ...], runs: Runs) -> Job:
    from acdc_cli.planning.start_file import locate_start

    asked = locate_start(config)
    settled = settled_here(asked)
    found = runs.setdefault(settled.runs_dir, FoundRuns(Path(settled.runs_dir))).of(asked, settled)
    if found is None:
        found = run_folder(settled)
    name = ID.sub("", found.path.name)
    where = (f"run.experiment={found.path.parent.name}", f"run.name={quoted(name)}")
    state = state_of(found)
    problem = found.reason() if state in ("failed", "interrupted") else None
    return Job((*overrides, *where), settled, found.path.name[len(name) + 1 :], found, state, problem)
