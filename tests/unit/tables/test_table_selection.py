"""selection: last|best of a table, in its file and as typed: which epoch each cell is of, and what is subtracted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.fake_records import RESULT, ROW

from acdc_cli.commands.report import _parser, _run
from acdc_cli.errors import BadInput
from acdc_cli.records.folder import RunFolder
from acdc_cli.tables.fill import FilledRow, fill
from acdc_cli.tables.jobs import Job, Request, RowJobs, SeedJobs
from acdc_cli.tables.selection import select
from acdc_cli.tables.spec import TableSpec, read_table, read_table_file
from acdc_cli.tables.text import text_table

TABLE = """
title: "A table"
columns: [top1, best_top1, finetuned_top1, inference_flops]
sources: {p: "a paper, Table 1"}
rows:
  - {method: A, run: [sparsity=0.9], published: {top1: [75.03, p], inference_flops: [0.2, p]}}
  - {method: B, run: [sparsity=0.9], finetune: true, published: {best_top1: [75.64, p], finetuned_top1: [76.85, p]}}
"""
OF_RUN: dict[str, Any] = RESULT | {
    "run_id": "01234567",
    "sparse": {"val_top1": 0.75, "best_val_top1": 0.76, "inference_flops_fraction": 0.25},
    "dense": {"val_top1": 0.7, "best_val_top1": 0.72, "inference_flops_fraction": 1.0},
}


def spec_of(tmp_path: Path, selection: str | None = None) -> TableSpec:
    path = tmp_path / "a_table.yaml"
    path.write_text(TABLE if selection is None else f"selection: {selection}{TABLE}")
    return read_table_file(path)


def filled(spec: TableSpec, tmp_path: Path, *extra: str) -> list[FilledRow]:
    """Both rows from one finished run, whose fine-tuning is its dense model."""
    from acdc_cli.tables.composed import composed

    folder = RunFolder(tmp_path / "run")
    folder.write_json(folder.result, OF_RUN)
    job = Job((), composed(()), "01234567", folder, "done")
    seeds = [SeedJobs(None, job, None, job, False)]
    return fill(spec, [RowJobs(row, seeds) for row in spec.rows], Request("paper", None, extra))


def cells(row: FilledRow) -> dict[str, tuple[float | None, float | None, float | None]]:
    """Column -> measured, published, difference."""
    return {
        name: (
            cell.measured and cell.measured.mean,
            cell.published and cell.published.value,
            None if cell.difference is None else round(cell.difference, 6),
        )
        for name, cell in row.cells.items()
    }


def test_without_a_word_accuracies_are_of_the_end_and_the_best_has_a_column(tmp_path: Path) -> None:
    first, second = (cells(row) for row in filled(select(spec_of(tmp_path), None), tmp_path))
    assert first == {
        "top1": (75.0, 75.03, -0.03),
        "best_top1": (76.0, None, None),
        "finetuned_top1": (70.0, None, None),
        "inference_flops": (0.25, 0.2, 0.05),
    }
    assert second["best_top1"] == (76.0, 75.64, 0.36) and second["top1"] == (75.0, None, None)


def test_the_best_epoch_of_an_older_record_is_looked_up_again(tmp_path: Path) -> None:
    """Once, any epoch counted: 0.76 was of one at half the sparsity."""
    pairs = [(0.76, 0.45), (0.74, 0.9), (0.75, 0.9)]
    rows = [ROW | {"epoch": n, "val_top1": a, "sparsity": s} for n, (a, s) in enumerate(pairs)]
    RunFolder(tmp_path / "run").close_metrics(rows)
    first, _ = (cells(row) for row in filled(spec_of(tmp_path), tmp_path))
    assert first["best_top1"] == (75.0, None, None)


def test_best_takes_the_place_of_the_end_and_does_not_subtract_what_is_of_the_end(tmp_path: Path) -> None:
    spec = select(spec_of(tmp_path), "best")
    rows = filled(spec, tmp_path)
    first, second = map(cells, rows)
    assert first == {
        "best_top1": (76.0, 75.03, None),  # published at the end of a run
        "best_finetuned_top1": (72.0, None, None),
        "inference_flops": (0.25, 0.2, 0.05),
    }
    assert second["best_top1"] == (76.0, 75.64, 0.36)
    assert second["best_finetuned_top1"] == (72.0, 76.85, None)
    table = text_table(spec, rows)
    assert table.headings == [
        *("method", "setting", "best top-1 %", "published", "best dense, fine-tuned %", "published"),
        *("inference FLOPs", "published", "seeds"),
    ]
    assert "each run's best epoch" in table.notes[1] and "has no difference" in table.notes[1]


def test_a_table_of_best_epochs_and_one_cell_of_the_end(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "best")
    path = tmp_path / "a_table.yaml"
    path.write_text(path.read_text().replace("finetuned_top1: [76.85, p]", "finetuned_top1: [76.85, p, last]"))
    by_file = select(read_table_file(path), None)
    first, second = (cells(row) for row in filled(by_file, tmp_path))
    assert first["best_top1"] == (76.0, 75.03, 0.97)  # the file says that it is of the best epoch
    assert second["best_finetuned_top1"] == (72.0, 76.85, None)
    assert by_file == select(read_table_file(path), "best") != spec
    typed = select(read_table_file(path), "last")
    first, second = (cells(row) for row in filled(typed, tmp_path))
    assert first["top1"] == (75.0, 75.03, None) and second["finetuned_top1"] == (70.0, 76.85, 6.85 * -1)
    assert second["best_top1"] == (76.0, 75.64, 0.36)  # a column of its own is what it says
    notes = text_table(typed, filled(typed, tmp_path)).notes
    assert any(note.startswith("Accuracies are those at the end of each run.") for note in notes)


def test_the_second_papers_table_is_of_best_epochs_but_for_rigls_own_numbers() -> None:
    spec = select(read_table("table-acdcpp"), None)
    assert "best_top1" in spec.columns and "top1" not in spec.columns
    of_other_epoch = {row.method for row in spec.rows if row.published["best_top1"].is_of_other_epoch}
    assert of_other_epoch == {"RigL 5x"}


@pytest.mark.parametrize(
    ("typed", "begins"),
    [((), "at the end of the last dense phase"), (("finetune_start=best",), "at the best dense epoch")],
)
def test_a_table_says_where_fine_tuning_begins(typed: tuple[str, ...], begins: str, tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    notes = text_table(spec, filled(spec, tmp_path, *typed)).notes
    (note,) = (note for note in notes if note.startswith("Fine-tuning"))
    assert note.startswith(f"Fine-tuning begins {begins}") and "optimizer state" in note
    (without,) = filled(spec, tmp_path, *typed)[:1]
    assert not any("Fine-tuning" in note for note in text_table(spec, [without]).notes)


def test_finetune_start_is_given_to_fine_tunings_alone() -> None:
    asked = Request("small", None, ("epochs=2", "finetune_start=best", "keep_best=true"))
    assert asked.all_overrides(("sparsity=0.8",)) == (
        "experiment=small_tables",
        "sparsity=0.8",
        "epochs=2",
        "keep_best=true",
    )
    assert asked.finetune_start == "best" and Request("small").finetune_start == "last"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table9", "finetune_start=best"], "finetune_start=best: .*add keep_best=true"),
        (["table9", "finetune_start=first"], "finetune_start=first: .*best"),
        (["runs", "--selection", "best"], "--selection: is of a table, not of runs"),
    ],
)
def test_what_cannot_be(arguments: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        _run(_parser().parse_intermixed_args(arguments))
