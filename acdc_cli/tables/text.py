"""Turn a filled table into rows of text and the notes under it: the meaning of marks, sources, versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from acdc_cli.tables.columns import COLUMNS, Column
from acdc_cli.tables.fill import OTHER_DATASET, OTHER_MODEL, OTHER_SETTINGS, SHORTER, Cell, FilledRow
from acdc_cli.tables.jobs import RowJobs, every_job
from acdc_cli.tables.spec import UNKNOWN, TableSpec

NOTHING, NOT_YET = "–", "not available yet"
AT_SCALE = {"paper": "", "small": " – its rows at small scale"}
MEANS = (
    "Cells are means over seeds ± their standard deviation. A number in round brackets behind a published value is the "
    "measured value minus the published one."
)
SUPERSCRIPT = str.maketrans({OTHER_DATASET: "ᵈ", OTHER_MODEL: "ᵐ", SHORTER: "ˢ", OTHER_SETTINGS: "ᵒ"})
MEANING = {
    OTHER_DATASET: "another data set",
    OTHER_MODEL: "another model",
    SHORTER: "fewer epochs",
    OTHER_SETTINGS: "other settings, given on the command line",
}
OF_EPOCH = {
    "last": "Accuracies are those at the end of each run.",
    "best": "Accuracies are those of each run's best epoch (of the sparse model: among epochs as sparse as the last).",
}
NOT_SUBTRACTED = "A published accuracy of the other epoch has no difference behind it."
STARTS = {
    "last": "at the end of the last dense phase, with empty momentum (at the best dense epoch with "
    "finetune_start=best keep_best=true)",
    "best": "at the best dense epoch, with empty momentum",
}
FINETUNING = "Fine-tuning begins {}; AC/DC's own code begins at the best dense checkpoint with its optimizer state."


@dataclass(frozen=True)
class TextTable:
    """A table that is ready to be written in any format.

    Attributes:
        title: title of the table.
        headings: headings of the columns.
        rows: cells in the order of ``headings``.
        notes: lines under the table.
        sources: sources of the published cells. Cells refer to them by number, counted from 1.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]
    sources: list[str]


def text_table(
    spec: TableSpec, rows: Sequence[FilledRow], scale: str = "paper", provenance: Sequence[str] = ()
) -> TextTable:
    """Return the table as text, with a column of measured values and, if there are any, one of published values.

    Args:
        spec: the table as its file describes it.
        rows: the filled rows.
        scale: ``paper`` or ``small``. The title names the small scale.
        provenance: notes about the machine, the versions and the time of the runs.
    """
    with_published = [name for name in spec.columns if any(row.cells[name].published for row in rows)]
    sources = list(
        dict.fromkeys(
            cell.published.source
            for row in rows
            for cell in row.cells.values()
            if cell.published is not None and cell.published.source is not None
        )
    )
    headings = ["method", "setting"]
    for name in spec.columns:
        headings += [COLUMNS[name].heading, *(["published"] if name in with_published else [])]
    return TextTable(
        spec.title + (AT_SCALE[scale] if with_published else ""),
        [*headings, "seeds"],
        [_row(spec, row, with_published, sources) for row in rows],
        [*_notes(spec, rows), *(_own_choices(rows) if scale == "paper" else []), *provenance],
        sources,
    )


def _row(spec: TableSpec, row: FilledRow, with_published: list[str], sources: list[str]) -> list[str]:
    texts = [row.row.method, row.row.setting]
    for name in spec.columns:
        cell = row.cells[name]
        texts.append(_measured_text(cell, COLUMNS[name], row))
        if name in with_published:
            texts.append(_published_text(cell, COLUMNS[name].digits, sources))
    return [*texts, row.note or f"{row.seeds_done}/{row.seeds_asked}"]


def _measured_text(cell: Cell, column: Column, row: FilledRow) -> str:
    """Return a measured value such as ``75.10 ± 0.12`` with the row's marks; a dash if nothing was measured.

    If the value exists only for some of the finished seeds, their number follows.
    """
    if cell.measured is None:
        return NOTHING if column.is_written else NOT_YET
    deviation = "" if cell.measured.deviation is None else f" ± {cell.measured.deviation:.{column.digits}f}"
    seeds = "" if cell.measured.count == row.seeds_done else f" (n={cell.measured.count})"
    return f"{cell.measured.mean:.{column.digits}f}{deviation}{row.marks.translate(SUPERSCRIPT)}{seeds}"


def _published_text(cell: Cell, digits: int, sources: list[str]) -> str:
    if cell.published is None:
        return ""
    if cell.published.value is None:
        return UNKNOWN
    assert cell.published.source is not None
    difference = "" if cell.difference is None else f" ({cell.difference:+.{digits}f})"
    return f"{cell.published.value:.{digits}f}{difference} [{sources.index(cell.published.source) + 1}]"


def _notes(spec: TableSpec, rows: Sequence[FilledRow]) -> list[str]:
    marks = [mark for mark in MEANING if any(mark in row.marks for row in rows)]
    notes = [MEANS]
    if marks:
        explained = ", ".join(f"{mark.translate(SUPERSCRIPT)} {MEANING[mark]}" for mark in marks)
        notes.append(f"Not the published recipe: {explained}.")
    published = [cell.published for row in rows for cell in row.cells.values() if cell.published is not None]
    if any(cell.is_of_other_epoch for cell in published):
        notes.append(f"{OF_EPOCH[spec.selection]} {NOT_SUBTRACTED}")
    elif spec.selection == "best":
        notes.append(OF_EPOCH["best"])
    starts = {row.finetune_start for row in rows if row.finetune_start is not None}
    return notes + [FINETUNING.format(STARTS[start]) for start in STARTS if start in starts]


def _own_choices(rows: Sequence[FilledRow]) -> list[str]:
    """Return one line for each of our choices that no source states.

    A line names a method if the choice applies to all its rows, and single rows otherwise.
    """
    lines = []
    for text in dict.fromkeys(text for row in rows for text in row.row.ours):
        having = [row.row for row in rows if text in row.row.ours]
        others = {row.row.method for row in rows if text not in row.row.ours}
        names = dict.fromkeys(row.label if row.method in others else row.method for row in having)
        lines.append(f"Our choice for {'; '.join(names)}, which no source states: {text}.")
    return lines


def provenance(rows: Sequence[RowJobs]) -> list[str]:
    """Which data, machines and programs the finished runs were of, and how long they took."""
    results = [job.folder.read_result() for job in every_job(rows) if job.state == "done"]
    if not results:
        return []
    versions = Counter(
        ", ".join(f"{name} {number}" for name, number in result["versions"].items() if number) for result in results
    )
    devices, data = (", ".join(sorted({result[key] for result in results})) for key in ("device", "dataset"))
    seconds = sum(result["seconds"] for result in results)
    most, count = versions.most_common(1)[0]
    others = f"; {len(results) - count} of them with other versions" if count < len(results) else ""
    return [f"{len(results)} runs on {data}, {seconds / 60:.1f} min of training on {devices}; {most}{others}."]
