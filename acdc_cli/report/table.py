"""Write tables of runs as text: for a terminal, as Markdown, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from acdc_cli.errors import AcdcError
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.headline import TOP1, headline_of
from acdc_cli.records.run_result import RunResult, final_model, model_metric, model_of
from acdc_cli.report.comparison import MeanOverSeeds, Row
from acdc_cli.report.terminal import print_table

NOTHING = "–"
RUN_COLUMNS = (
    "run", "state", "method", "target", "sparsity", f"sparse {TOP1.label}", f"dense {TOP1.label}", "train FLOPs",
    "inference FLOPs", "seconds",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "method", "target", "seeds", "sparsity", "of pruned layers", "sparse top-1", "dense top-1", "inference FLOPs",
    "train FLOPs", "seconds", "step time", "memory",
)  # fmt: skip
COMPARISON_NOTE = (
    "Means over seeds are given with ± their standard deviation. Sparsity is over all prunable weights and over the "
    "pruned layers. FLOPs, step time and memory are relative to method=dense. Seconds are those of a whole run."
)
Cells = list[list[str]]


def run_row(folder: RunFolder) -> list[str]:
    """Return the cells of one run in the order of RUN_COLUMNS, with a dash for a number that does not exist (yet)."""
    try:
        state = folder.state()
        result = folder.read_result() if folder.result.exists() else None
    except AcdcError:
        state, result = "damaged", None
    if result is None:
        return [folder.path.name, state, *[NOTHING] * (len(RUN_COLUMNS) - 2)]
    return [
        folder.path.name,
        state,
        result["method"],
        NOTHING if result["sparsity_target"] is None else str(result["sparsity_target"]),
        f"{result['sparsity']:.4f}",
        _headline(result, "sparse"),
        _headline(result, "dense"),
        f"{result['train_flops_fraction']:.3f}",
        f"{final_model(result)['inference_flops_fraction']:.3f}",
        f"{result['seconds']:.1f}",
    ]


def _headline(result: RunResult, kind: str) -> str:
    headline, model = headline_of(result), model_of(result, kind)
    return NOTHING if model is None else headline.text(model_metric(model, headline.val_key))


def comparison_cells(rows: Sequence[Row]) -> Cells:
    """Return the cells of all rows in the order of COMPARISON_COLUMNS. The method's cell includes the setting."""
    return [
        [
            f"{row.method} {row.setting}".strip(),
            NOTHING if row.target is None else str(row.target),
            str(row.seeds),
            f"{row.sparsity:.4f}",
            f"{row.sparsity_of_pruned_layers:.4f}",
            _with_deviation(row.sparse_metric),
            _with_deviation(row.dense_metric),
            f"{row.inference_flops_fraction:.3f}",
            f"{row.train_flops_fraction:.3f}",
            f"{row.seconds:.1f}",
            _ratio(row.step_time),
            _ratio(row.memory),
        ]
        for row in rows
    ]


def _with_deviation(mean: MeanOverSeeds | None) -> str:
    if mean is None:
        return NOTHING
    return f"{mean.mean:.4f}" + ("" if mean.deviation is None else f" ± {mean.deviation:.4f}")


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def print_runs(rows: Cells, title: str) -> None:
    """Print one line per run. The columns method and target are left out, because a run's name contains both."""
    shown = [position for position, column in enumerate(RUN_COLUMNS) if column not in ("method", "target")]
    print_table([RUN_COLUMNS[each] for each in shown], [[row[each] for each in shown] for row in rows], title)


def markdown_table(columns: Sequence[str], cells: Cells) -> str:
    """Return the table as Markdown."""
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def csv_table(columns: Sequence[str], cells: Sequence[Sequence[Any]]) -> str:
    """Return the table as CSV. Missing values (None or a dash) are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if cell in (None, NOTHING) else cell for cell in row] for row in cells])
    return text.getvalue().rstrip("\n")


def comparison_csv(rows: Sequence[Row]) -> str:
    """Return a comparison as CSV with all digits, and with means and deviations in separate columns."""
    columns, cells = list[str](), [list[Any]() for _ in rows]
    for name in (field.name for field in fields(Row) if field.name != "headline"):
        values = [getattr(row, name) for row in rows]
        is_spread = name.endswith("_metric")
        name = name.replace("metric", rows[0].headline.column) if rows else name
        columns += [name, f"{name}_deviation"] if is_spread else [name]
        for cell, value in zip(cells, values, strict=True):
            cell += [value and value.mean, value and value.deviation] if is_spread else [value]
    return csv_table(columns, cells)


def print_summary(folder: RunFolder) -> None:
    """Print the summary of a finished run: the numbers of each model and the path of the report.

    The last line is ``report: PATH``, which ``acdc-search`` reads.
    """
    result = folder.read_result()
    lines = [*summary_notes(result), f"report: {folder.report}"]
    print_table(summary_columns(result), summary_cells(result), folder.path.name, lines=lines)


def summary_columns(result: RunResult) -> tuple[str, ...]:
    """Return the headings of ``summary_cells``."""
    return ("model", headline_of(result).label, "val loss", "sparsity", "inference FLOPs", "training FLOPs")


def summary_cells(result: RunResult) -> Cells:
    """Return one row for each model of the run, the sparse one first, in the order of ``summary_columns``."""
    headline = headline_of(result)
    return [
        [
            kind,
            headline.text(model_metric(section, headline.val_key)),
            f"{section['val_loss']:.4f}",
            f"{section['sparsity']:.4f}",
            f"{section['inference_flops_fraction']:.3f}",
            f"{result['train_flops_fraction']:.3f}",
        ]
        for kind in ("sparse", "dense")
        if (section := model_of(result, kind)) is not None
    ]


def summary_notes(result: RunResult) -> list[str]:
    """Return the sentences printed under the summary, for facts that have no column."""
    sentences = ["FLOPs are fractions of the dense model's and of a dense run's."]
    of_pruned = result["sparsity_of_pruned_layers"]
    if round(of_pruned, 4) != round(result["sparsity"], 4):
        sentences.append(f"The sparsity of the pruned layers alone is {of_pruned:.4f}.")
    if result["agreement"] is not None:
        sentences.append(f"The two models predict the same class for {result['agreement']['top1']:.4f} of the samples.")
    return sentences
