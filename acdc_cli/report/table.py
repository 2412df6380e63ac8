"""Tables of runs, from their result.json."""

from __future__ import annotations

import csv
import io
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from acdc_cli.errors import AcdcError
from acdc_cli.records.folder import RunFolder

COLUMNS = (
    "run", "state", "method", "target", "sparsity", "sparse top-1", "dense top-1", "train FLOPs", "inference FLOPs",
    "seconds",
)  # fmt: skip
WIDTH_WITHOUT_TERMINAL = 140


def run_row(folder: RunFolder) -> list[str]:
    """One run's cells, in the order of COLUMNS; a dash where there is no number (yet)."""
    try:
        state = folder.read_status().get("state", "unknown")
        result = folder.read_result() if folder.result.is_file() else None
    except AcdcError:
        state, result = "damaged", None
    if result is None:
        return [folder.path.name, state, *["–"] * (len(COLUMNS) - 2)]
    final = result["sparse"] or result["dense"]
    return [
        folder.path.name,
        state,
        result["method"],
        "–" if result["sparsity_target"] is None else str(result["sparsity_target"]),
        f"{result['sparsity']:.4f}",
        _top1(result["sparse"]),
        _top1(result["dense"]),
        f"{result['train_flops_fraction']:.3f}",
        f"{final['inference_flops_fraction']:.3f}",
        f"{result['seconds']:.1f}",
    ]


def _top1(section: dict[str, Any] | None) -> str:
    return "–" if section is None else f"{section['val_top1']:.4f}"


def print_table(rows: list[list[str]], title: str) -> None:
    """On a terminal, or as wide as it needs to be elsewhere. Method and target stand in the run's name already."""
    shown = [position for position, column in enumerate(COLUMNS) if column not in ("method", "target")]
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for position in shown:
        column = COLUMNS[position].replace(" ", "\n")
        text = position < 2
        table.add_column(column, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for row in rows:
        table.add_row(*(row[position] for position in shown))
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(table)


def markdown_table(rows: list[list[str]]) -> str:
    """For a README."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def csv_table(rows: list[list[str]]) -> str:
    """For a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([["" if cell == "–" else cell for cell in row] for row in rows])
    return text.getvalue().rstrip("\n")


def summary_table(folder: RunFolder) -> Table:
    """What a person wants to know at the end of a run."""
    result = folder.read_result()
    name = folder.path.name
    table = Table(title=name, title_justify="left", show_header=False, min_width=len(name))  # the name is not wrapped
    for kind in ("dense", "sparse"):
        if result[kind] is not None:
            table.add_row(f"{kind} top-1", f"{result[kind]['val_top1']:.4f}")
    table.add_row("sparsity", f"{result['sparsity']:.4f}")
    if round(result["sparsity_of_pruned_layers"], 4) != round(result["sparsity"], 4):
        table.add_row("sparsity of the pruned layers", f"{result['sparsity_of_pruned_layers']:.4f}")
    table.add_row("training FLOPs, of dense", f"{result['train_flops_fraction']:.3f}")
    if result["sparse"] is not None:
        table.add_row("inference FLOPs, of dense", f"{result['sparse']['inference_flops_fraction']:.3f}")
    if result["agreement"] is not None:
        table.add_row("agreement of the two", f"{result['agreement']['top1']:.4f}")
    return table
