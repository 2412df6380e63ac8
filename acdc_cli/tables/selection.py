"""Which epoch's accuracies a table shows: those at the end of each run, or those of its best epoch (early stopping)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from acdc_cli.tables.columns import BEST_OF
from acdc_cli.tables.spec import Published, TableRow, TableSpec


def select(spec: TableSpec, selection: str | None) -> TableSpec:
    """The table with the columns that a selection shows; of what is no accuracy, both show the same.

    With ``best``, a column that is of the end of a run gives way to that of the best epoch, once, where a table has
    both. A published value stays beside it, and is marked where it is of the other epoch.

    Args:
        spec: as its file describes it.
        selection: ``last`` or ``best``; None: as the file says.
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
        if name not in published or not of_other_epoch:  # the best epoch's own published value is nearer
            published[name] = replace(cell, is_of_other_epoch=of_other_epoch)
    return replace(row, published=published)
