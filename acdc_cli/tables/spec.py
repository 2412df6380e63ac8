"""Read a table's YAML: its rows, the runs that they need, and the published cells with their sources.

A file looks like this::

    title: "AC/DC, Table 1: ..."
    seeds: {paper: 3}              # runs of each row by scale; the default is 1
    baseline_epochs: {paper: 100, small: 40}   # epochs of the dense run whose training FLOPs are the unit
    columns: [top1, finetuned_top1, inference_flops, train_flops]
    selection: best                # accuracies are those of each run's best epoch; the default is last
    sources: {str: "github.com/RAIVNLab/STR README.md"}
    ours: {recipe: "the recipe is AC/DC's; the method's own was not seen"}   # our choices that no source states
    paper: [model=resnet50]        # overrides of all rows at one scale
    rows:
      - method: AC/DC
        setting: "global, 90%"
        run: [sparsity=0.9]        # overrides at every scale
        small: [epochs=80]         # overrides at one scale; null: the row is not run
        not_run: "not available yet: distillation"   # the reason; the default is that its settings are not known
        finetune: true             # the dense partner is also fine-tuned
        dense_partner: [method=dense]   # overrides of the run with the dense partner, used in place of run and the
                                        # row's scales
        ours: recipe               # or several: [recipe, batch]
        seeds: 1
        published: {top1: [75.03, sa], train_flops: [0.58, p1], finetuned_top1: unknown}

``unknown`` means that the paper has this cell, but its value has not been seen. A column that is not named under
``published`` is not in the paper. A published accuracy is that of the epoch given by ``selection``;
``[74.6, rigl, last]`` is that of the end of the run in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from acdc_cli.config.command_line import TABLES, user_dirs
from acdc_cli.errors import BadInput, nearest, not_a_choice, reason
from acdc_cli.tables.columns import COLUMNS

SCALES = ("paper", "small")
SELECTIONS = ("last", "best")
UNKNOWN = "unknown"
TABLE_KEYS = ("title", "seeds", "baseline_epochs", "columns", "selection", "sources", "ours", *SCALES, "rows")
ROW_KEYS = ("method", "setting", "run", *SCALES, "finetune", "dense_partner", "seeds", "published", "not_run", "ours")


@dataclass(frozen=True)
class Published:
    """A published cell.

    Attributes:
        value: None if the paper has the value but it has not been seen.
        source: where the value is published; None without a value.
        selection: the epoch of an accuracy, ``last`` or ``best``.
        is_of_other_epoch: whether the measured value beside this one is not of the epoch ``selection``.
    """

    value: float | None
    source: str | None
    selection: str = SELECTIONS[0]
    is_of_other_epoch: bool = False


@dataclass(frozen=True)
class TableRow:
    """One line of a table.

    Attributes:
        method: name of the method, as the table prints it.
        setting: text of the second column.
        overrides: scale -> overrides for ``acdc-train``, or None if the row is not run at this scale.
        not_run: why the row is not run.
        published_recipe: the overrides at paper scale, as far as the recipe is known.
        dense_partner: scale -> overrides of the run whose dense model is the partner; None if it is the row's own run.
        is_finetuned: whether the dense partner is also fine-tuned.
        seeds: scale -> number of runs, with seeds counted from 0.
        published: column -> published cell.
        ours: our choices for the recipe at paper scale that no source states.
    """

    method: str
    setting: str
    overrides: Mapping[str, tuple[str, ...] | None]
    not_run: str
    published_recipe: tuple[str, ...]
    dense_partner: Mapping[str, tuple[str, ...]] | None
    is_finetuned: bool
    seeds: Mapping[str, int]
    published: Mapping[str, Published]
    ours: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Method and setting, the row's name in messages."""
        return f"{self.method} {self.setting}".strip()


@dataclass(frozen=True)
class TableSpec:
    """A table as its file describes it.

    Attributes:
        name: name of the file without suffix.
        title: title of the table.
        columns: names of the columns, see ``columns.COLUMNS``.
        selection: the epoch whose accuracies are shown, ``last`` or ``best``.
        baseline_epochs: scale -> epochs of the dense run whose training FLOPs are the unit.
        rows: the rows.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    selection: str
    baseline_epochs: Mapping[str, int]
    rows: tuple[TableRow, ...]


PUBLISHED = Path(__file__).with_name("published")


def _files() -> dict[str, Path]:
    """Map each table's name to its file: the published ones, and those in ``table/`` of the user's own folders."""
    folders = (PUBLISHED, *(folder / TABLES for folder in user_dirs()))
    return {path.stem: path for folder in folders for path in folder.glob("*.yaml")}


def table_names() -> list[str]:
    """Return the names of all tables under acdc_cli/tables/published/."""
    return sorted(_files())


def read_table(name: str) -> TableSpec:
    """Read the table that tables/published/NAME.yaml describes.

    Raises:
        BadInput: if there is no such file, or it has an unknown key, column or source.
    """
    if name not in table_names():
        raise not_a_choice("TABLE", name, table_names())
    return read_table_file(_files()[name])


def read_table_file(path: Path) -> TableSpec:
    """Read the table that a file describes. The table has the name of the file.

    Raises:
        BadInput: if the file is not valid YAML, or has an unknown key, column or source.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not valid YAML ({reason(error)})") from None
    return _table(path, path.stem, content)


def _table(path: Path, name: str, content: dict[str, Any]) -> TableSpec:
    _refuse_unknown(path, "", content, TABLE_KEYS)
    for column in content["columns"]:
        if column not in COLUMNS:
            raise BadInput(f"{path}: columns: there is no column {column}; did you mean {nearest(column, COLUMNS)}?")
    return TableSpec(
        name,
        content["title"],
        tuple(content["columns"]),
        _selection(path, "selection: ", _selection_of(content)),
        content.get("baseline_epochs", {}),
        tuple(_row(path, content, row) for row in content["rows"]),
    )


def _row(path: Path, table: dict[str, Any], row: dict[str, Any]) -> TableRow:
    label = f"{row.get('method')} {row.get('setting', '')}".strip()
    _refuse_unknown(path, f"{label}: ", row, ROW_KEYS)
    published = {}
    for column, cell in row.get("published", {}).items():
        if column not in table["columns"]:
            raise BadInput(f"{path}: {label}: published: {column} is not among the table's columns; add it there")
        published[column] = _published(path, label, table, cell)
    partner = row.get("dense_partner")
    return TableRow(
        row["method"],
        row.get("setting", ""),
        {scale: None if row.get(scale, ()) is None else _overrides(table, row, "run", scale) for scale in SCALES},
        row.get("not_run", "its settings are not known"),
        _overrides(table, row, "run", "paper"),
        None if partner is None else {scale: (*table.get(scale, ()), *partner) for scale in SCALES},
        row.get("finetune", False),
        {scale: row.get("seeds", table.get("seeds", {}).get(scale, 1)) for scale in SCALES},
        published,
        tuple(_named(path, label, "ours", table.get("ours", {}), name) for name in _listed(row.get("ours", []))),
    )


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _named(path: Path, label: str, kind: str, texts: dict[str, str], name: str) -> str:
    if name not in texts:
        raise BadInput(f"{path}: {label}: {kind} {name} is not one of {', '.join(texts)}")
    return texts[name]


def _overrides(table: dict[str, Any], row: dict[str, Any], key: str, scale: str) -> tuple[str, ...]:
    return (*table.get(scale, ()), *(row.get(scale) or ()), *row.get(key, ()))


def _published(path: Path, label: str, table: dict[str, Any], cell: Any) -> Published:
    sources: dict[str, str] = table.get("sources", {})
    if cell == UNKNOWN:
        return Published(None, None, _selection_of(table))
    value, source, *own_selection = cell
    selection = _selection(path, f"{label}: ", own_selection[0] if own_selection else _selection_of(table))
    return Published(float(value), _named(path, label, "source", sources, source), selection)


def _selection_of(table: dict[str, Any]) -> str:
    return str(table.get("selection", SELECTIONS[0]))


def _selection(path: Path, where: str, word: str) -> str:
    if word not in SELECTIONS:
        raise BadInput(f"{path}: {where}{word} is neither {' nor '.join(SELECTIONS)}")
    return word


def _refuse_unknown(path: Path, where: str, content: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in content:
        if key not in keys:
            raise BadInput(f"{path}: {where}there is no key {key}; did you mean {nearest(key, keys)}?")
