"""Fill the cells of a table with mean and deviation over finished seeds, and the published value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from acdc_cli.config.command_line import key_of
from acdc_cli.config.identity import NOT_IN_ID
from acdc_cli.measure.best import best_epoch
from acdc_cli.records.epoch_row import metric_of
from acdc_cli.records.headline import headline_of
from acdc_cli.records.run_result import RunResult
from acdc_cli.report.comparison import MeanOverSeeds
from acdc_cli.tables.columns import COLUMNS, Measured
from acdc_cli.tables.composed import composed
from acdc_cli.tables.jobs import Job, Request, RowJobs, SeedJobs, first_missing
from acdc_cli.tables.pairs import agreement_of
from acdc_cli.tables.spec import Published, TableRow, TableSpec

# Each letter marks one kind of difference from the published recipe. If the model, the data set or other settings
# differ, published and measured values are not subtracted.
OTHER_DATASET, OTHER_MODEL, SHORTER, OTHER_SETTINGS = "d", "m", "s", "o"
MARKED_BY = r"(experiment|model|dataset|schedule)[=.]|epochs="
OF_OWN_MARK = ("dataset", "model", "epochs")
# Overrides of these keys do not give the mark OTHER_SETTINGS. They have marks of their own, or they change no number
# that the papers print.
NO_OTHER_SETTING = (*OF_OWN_MARK, *NOT_IN_ID, "keep_best", "device", "loader", "threads")


@dataclass(frozen=True)
class Cell:
    """One cell of a row.

    Attributes:
        measured: None if no seed is done or the records do not have the number.
        published: None if the paper has no such cell.
        is_comparable: whether measured and published value may be subtracted.
    """

    measured: MeanOverSeeds | None
    published: Published | None
    is_comparable: bool

    @property
    def difference(self) -> float | None:
        """Measured minus published, in the column's unit."""
        if not self.is_comparable or self.measured is None or self.published is None or self.published.value is None:
            return None
        return self.measured.mean - self.published.value


@dataclass(frozen=True)
class FilledRow:
    """A row with its cells.

    Attributes:
        row: the row as the table's file describes it.
        cells: column name -> cell.
        seeds_done: number of finished runs.
        seeds_asked: number of runs that the row should have.
        marks: letters for the differences from the published recipe; empty if there are none.
        note: why the row has no runs, or None.
        finetune_start: the state from which the fine-tuning starts; None if the row has no fine-tuning.
    """

    row: TableRow
    cells: dict[str, Cell]
    seeds_done: int
    seeds_asked: int
    marks: str
    note: str | None
    finetune_start: str | None = None


def published_recipes(spec: TableSpec) -> Iterator[tuple[str, ...]]:
    """Yield the overrides of the published recipes with which the runs of a table are compared."""
    return (recipe for row in spec.rows if (recipe := _compared_with(row)) is not None)


def fill(spec: TableSpec, rows: Sequence[RowJobs], request: Request) -> list[FilledRow]:
    """Return all rows with their cells, filled from run records only."""
    return [_fill_row(spec, jobs, request) for jobs in rows]


def _fill_row(spec: TableSpec, jobs: RowJobs, request: Request) -> FilledRow:
    row, done = jobs.row, [seed for seed in jobs.seeds if seed.is_done]
    has_published = any(each.published for each in spec.rows)  # a table of one's own is compared with nothing
    measured = [_measured(seed, spec.baseline_epochs.get(request.scale)) for seed in done]
    marks = _marks(row, done[0], request) if done and has_published else ""
    comparable = not set(marks) & {OTHER_DATASET, OTHER_MODEL, OTHER_SETTINGS}
    cells = {name: _cell(name, measured, row.published.get(name), comparable) for name in spec.columns}
    start = request.finetune_start if row.is_finetuned else None
    return FilledRow(row, cells, len(done), len(jobs.seeds), marks, jobs.unavailable, start)


def _measured(jobs: SeedJobs, baseline_epochs: int | None) -> Measured:
    def result(job: Job | None) -> RunResult | None:
        return job.folder.read_result() if job is not None and job.state == "done" else None

    own = result(jobs.run)
    assert own is not None
    headline = headline_of(own)
    if own["sparse"] is not None and (
        best := best_epoch(jobs.known_run.folder.read_curves(headline), "sparse", headline)
    ):
        # In older results, the best epoch may be less sparse than the last one, so it is determined again.
        own["sparse"].update({f"best_{headline.val_key}": metric_of(best, headline.val_key)})  # type: ignore[misc]
    return Measured(own, result(jobs.finetuned), result(jobs.partner), agreement_of(jobs), baseline_epochs)


def _cell(column: str, measured: Sequence[Measured], published: Published | None, is_comparable: bool) -> Cell:
    of_same_epoch = published is None or not published.is_of_other_epoch
    return Cell(_mean(column, measured), published, is_comparable and of_same_epoch)


def _mean(column: str, measured: Sequence[Measured]) -> MeanOverSeeds | None:
    values = [value for value in map(COLUMNS[column].read, measured) if value is not None]
    return MeanOverSeeds.of(values) if values else None


def _compared_with(row: TableRow) -> tuple[str, ...] | None:
    """Return the overrides of the published recipe on which the marks depend.

    All others are left out, so that a few configs serve all rows. The result is None if the program does not have the
    recipe's experiment, model or data set yet.
    """
    own = row.published_recipe
    if first_missing(own) is not None:
        return None
    return tuple(override for override in own if re.match(MARKED_BY, override))


def _marks(row: TableRow, jobs: SeedJobs, request: Request) -> str:
    """Return the letters for a run's differences from the published recipe: data set, model, epochs, other settings."""
    published, job = _compared_with(row), jobs.known_run
    keys = map(key_of, request.extra)
    groups = [key if key.startswith(("model.", "dataset.")) else key.partition(".")[0] for key in keys]
    others = OTHER_SETTINGS * any(group not in NO_OTHER_SETTING for group in groups)
    if published is None:
        return OTHER_DATASET * (request.scale != "paper") + others
    paper = composed(published)
    marks = OTHER_DATASET * (paper.dataset.name != job.config.dataset.name)
    marks += OTHER_MODEL * (paper.model.name != job.config.model.name)
    return marks + SHORTER * (job.config.epochs < paper.epochs) + others
