"""A table's cells: mean and deviation over the seeds that are there, the published value beside, and what differs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from acdc_cli.config.command_line import key_of
from acdc_cli.config.identity import NOT_IN_ID
from acdc_cli.config.schema import known
from acdc_cli.measure.best import best_epoch
from acdc_cli.records.headline import headline_of
from acdc_cli.report.comparison import Spread
from acdc_cli.tables.columns import COLUMNS, Measured
from acdc_cli.tables.composed import composed
from acdc_cli.tables.jobs import Job, Request, RowJobs, SeedJobs, first_missing
from acdc_cli.tables.pairs import agreement_of
from acdc_cli.tables.spec import Published, TableRow, TableSpec

# A letter a kind of difference from the published recipe. Numbers of another model or data set are not subtracted.
OTHER_DATASET, OTHER_MODEL, SHORTER, OTHER_SETTINGS = "d", "m", "s", "o"
MARKED_BY = r"(experiment|model|dataset|schedule)[=.]|epochs="
OF_OWN_MARK = ("dataset", "model", "epochs")
# Typed for all runs, these have marks of their own or change no number that the papers print.
NO_OTHER_SETTING = (*OF_OWN_MARK, *NOT_IN_ID, "keep_best", "device", "loader", "threads")


@dataclass(frozen=True)
class Cell:
    """One column of a row.

    Attributes:
        measured: None: no seed is done, or the records have no such number.
        published: None: the paper has no such cell.
        is_comparable: whether a difference means anything.
    """

    measured: Spread | None
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
        seeds_done, seeds_asked: runs.
        marks: letters, see above; empty for the published recipe.
        note: why there is nothing to measure.
        finetune_start: the state that its fine-tuning starts from; None where nothing is fine-tuned.
    """

    row: TableRow
    cells: dict[str, Cell]
    seeds_done: int
    seeds_asked: int
    marks: str
    note: str | None
    finetune_start: str | None = None


def published_recipes(spec: TableSpec) -> Iterator[tuple[str, ...]]:
    """What the configs that a table's runs are compared with are composed of."""
    return (recipe for row in spec.rows if (recipe := _compared_with(row)) is not None)


def fill(spec: TableSpec, rows: Sequence[RowJobs], request: Request) -> list[FilledRow]:
    """The cells of all rows, from run records only."""
    return [_fill_row(spec, jobs, request) for jobs in rows]


def _fill_row(spec: TableSpec, jobs: RowJobs, request: Request) -> FilledRow:
    row, done = jobs.row, [seed for seed in jobs.seeds if seed.is_done]
    measured = [_measured(seed, spec.baseline_epochs.get(request.scale)) for seed in done]
    marks = _marks(row, done[0], request) if done else ""
    comparable = not set(marks) & {OTHER_DATASET, OTHER_MODEL, OTHER_SETTINGS}
    cells = {name: _cell(name, measured, row.published.get(name), comparable) for name in spec.columns}
    start = request.finetune_start if row.is_finetuned else None
    return FilledRow(row, cells, len(done), len(jobs.seeds), marks, jobs.unavailable, start)


def _measured(jobs: SeedJobs, baseline_epochs: int | None) -> Measured:
    def result(job: Job | None) -> dict[str, Any] | None:
        return job.folder.read_result() if job is not None and job.state == "done" else None

    own = result(jobs.run)
    assert own is not None
    headline = headline_of(own)
    if own["sparse"] is not None and (
        best := best_epoch(known(jobs.run).folder.read_curves(headline), "sparse", headline)
    ):
        # Results that are older than the rule that the best epoch is as sparse as the last do not follow it.
        own["sparse"][f"best_{headline.val_key}"] = best[headline.val_key]
    return Measured(own, result(jobs.finetuned), result(jobs.partner), agreement_of(jobs), baseline_epochs)


def _cell(column: str, measured: Sequence[Measured], published: Published | None, is_comparable: bool) -> Cell:
    of_same_epoch = published is None or not published.is_of_other_epoch
    return Cell(_spread(column, measured), published, is_comparable and of_same_epoch)


def _spread(column: str, measured: Sequence[Measured]) -> Spread | None:
    values = [value for value in map(COLUMNS[column].read, measured) if value is not None]
    return Spread.of(values) if values else None


def _compared_with(row: TableRow) -> tuple[str, ...] | None:
    """Of the published recipe only what marks tell: that is a few configs, not one a row. None: not in the program."""
    own = row.published_recipe
    if first_missing(own) is not None:
        return None
    return tuple(override for override in own if re.match(MARKED_BY, override))


def _marks(row: TableRow, jobs: SeedJobs, request: Request) -> str:
    """How a run differs from the published one: other data, another model, fewer epochs, what else was typed."""
    published, job = _compared_with(row), known(jobs.run)
    keys = map(key_of, request.extra)
    groups = [key if key.startswith(("model.", "dataset.")) else key.partition(".")[0] for key in keys]
    typed = OTHER_SETTINGS * any(group not in NO_OTHER_SETTING for group in groups)
    if published is None:
        return OTHER_DATASET * (request.scale != "paper") + typed
    paper = composed(published)
    marks = OTHER_DATASET * (paper.dataset.name != job.config.dataset.name)
    marks += OTHER_MODEL * (paper.model.name != job.config.model.name)
    return marks + SHORTER * ((job.config.epochs or 0) < (paper.epochs or 0)) + typed
