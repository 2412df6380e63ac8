"""Choose the epoch whose accuracies a table shows: the last epoch of each run, or the best one (early stopping)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from acdc_cli.tables.columns import BEST_OF
from acdc_cli.tables.spec import Published, TableRow, TableSpec


def select(spec: TableSpec, selection: str | None) -> TableSpec:
    """Return the table with the accuracy columns of a selection. All other columns stay the same.

    With ``best``, every accuracy at the end of a run is replaced by the accuracy at the best epoch; a table that has
    both columns keeps one. Published values are kept, and marked if they are of the other epoch.

    Args:
        spec: the table as its file describes it.
        selection: ``last`` or ``best``; None means the selection in the file.
    """
    chosen = selection or spec.selection
    shown = BEST_OF if chosen == "best" else {}
    columns = tuple(dict.fromkeys(shown.get(column, column) for column in spec.columns))
    rows = tuple(_select_row(row, shown, chosen) for row in spec.rows)
    return replace(spec, columns=columns, rows=rows, selection=chosen)


def _select_row(row: TableRow, shown: Mapping[str, str], chosen: str) -> TableRow:
    published: dict[str, Published] = {}
    for column, cell in row.published.items():
        of_other_epoch = column in BEST_OF and cell.selection != chosen
        name = shown.get(column, column)
        if name not in published or not of_other_epoch:  # a published value of the same epoch is preferred
            published[name] = replace(cell, is_of_other_epoch=of_other_epoch)
    return replace(row, published=published)
