"""What a published table's cells say: units, baselines, seeds, differences and marks, by records written out here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acdc_cli.errors import BadInput
from acdc_cli.report.comparison import MeanOverSeeds
from acdc_cli.tables.columns import COLUMNS, Measured
from acdc_cli.tables.fill import Cell, FilledRow
from acdc_cli.tables.formats import full_csv, latex, markdown, write_table
from acdc_cli.tables.spec import Published, TableSpec, read_table_file
from acdc_cli.tables.text import text_table

TABLE = """
title: "A table"
seeds: {paper: 3}
baseline_epochs: {paper: 100}
columns: [top1, train_flops]
sources: {p: "a paper, Table 1"}
ours: {batch: "the batch size", rates: "the rates"}
paper: [model=resnet50]
rows:
  - {method: Dense, run: [method=dense], published: {top1: unknown}}
  - {method: RigL, setting: "5x, 80%", run: [sparsity.target=0.8], paper: [epochs=500], seeds: 1, ours: [batch, rates],
     published: {top1: [77.17, p], train_flops: [2.09, p]}}
  - {method: STR, setting: "80%", run: [method=str], paper: null, ours: rates}
"""
RESULT: dict[str, Any] = {
    "sparsity": 0.8,
    "epochs": 500,
    "train_samples": 1000,
    "dense_inference_flops": 8,
    "train_flops_total": 5_016_000,  # of 3 x 8 x 1000 an epoch: 0.418 of 500 epochs
    "sparse": {"val_top1": 0.7525, "inference_flops_fraction": 0.42, "best_val_top1": 0.76},
    "dense": {"val_top1": 0.7, "best_val_top1": 0.71, "sparsity": 0.105},
    "agreement": None,
}


def spec_of(tmp_path: Path, text: str = TABLE) -> TableSpec:
    path = tmp_path / "a_table.yaml"
    path.write_text(text)
    return read_table_file(path)


def read(column: str, measured: Measured) -> float | None:
    return COLUMNS[column].read(measured)


def test_a_row_has_the_overrides_of_its_table_of_the_scale_and_its_own(tmp_path: Path) -> None:
    dense, rigl, soft = spec_of(tmp_path).rows
    assert dense.overrides == {"paper": ("model=resnet50", "method=dense"), "small": ("method=dense",)}
    assert rigl.overrides["paper"] == ("model=resnet50", "epochs=500", "sparsity.target=0.8")
    assert (dense.seeds, rigl.seeds) == ({"paper": 3, "small": 1}, {"paper": 1, "small": 1})
    assert soft.overrides == {"paper": None, "small": ("method=str",)}
    assert dense.published == {"top1": Published(None, None)}
    assert rigl.published["train_flops"] == Published(2.09, "a paper, Table 1")


@pytest.mark.parametrize(
    ("instead_of", "wrong", "said"),
    [
        ("columns: [top1,", "columns: [top_1,", "columns: there is no column top_1; did you mean top1?"),
        ("setting:", "seting:", "there is no key seting; did you mean setting?"),
        ("[2.09, p]", "[2.09, q]", "source q is not one of p"),
        ("ours: [batch,", "ours: [bach,", "ours bach is not one of batch, rates"),
        ("{top1: unknown}", "{sparsity: unknown}", "sparsity is not among the table's columns; add it there"),
        ("rows:", "rows: [", "not valid YAML"),
        ("seeds:", "selection: bset\nseeds:", "selection: bset is neither last nor best"),
        ("[2.09, p]", "[2.09, p, first]", "first is neither last nor best"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_name(tmp_path: Path, instead_of: str, wrong: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        spec_of(tmp_path, TABLE.replace(instead_of, wrong, 1))
    assert said in str(refused.value) and "a_table.yaml" in str(refused.value)


def test_accuracies_are_percentages_and_flops_are_of_the_baseline() -> None:
    run = Measured(RESULT, baseline_epochs=100)
    assert read("top1", run) == 75.25
    assert read("sparsity", run) == 80.0
    assert read("dense_top1", run) == 70.0 and read("best_dense_top1", run) == 71.0
    assert read("zeros_in_dense_model", run) == 10.5
    assert read("train_flops", run) == pytest.approx(2.09)  # RigL 5x at 80% (google-research/rigl): 5 x 0.418
    assert read("train_flops", Measured(RESULT)) == pytest.approx(0.418)
    # A dense run of 100 epochs on images that cost half as much is half of one at the evaluation resolution.
    smaller = {**RESULT, "epochs": 100, "train_flops_total": 1_200_000, "train_flops_fraction": 1.0}
    assert read("train_flops", Measured(smaller, baseline_epochs=100)) == 0.5
    assert read("finetuned_top1", run) is None and read("agreement", run) is None
    assert read("best_top1", run) == 76.0 and read("best_finetuned_top1", run) is None


def test_a_partner_takes_the_place_of_the_runs_own_dense_model() -> None:
    partner = {"dense": {"val_top1": 0.769}, "epochs": 100}
    cost = {"train_samples": 1000, "dense_inference_flops": 8, "train_flops_total": 1_752_000}
    finetuned = {"dense": {"val_top1": 0.7605, "best_val_top1": 0.761}, "epochs": 100, **cost}
    run = Measured(RESULT, finetuned, partner, {"top1": 0.835, "cross_entropy": 1.29}, 100)
    assert read("dense_top1", run) == 76.9
    assert read("finetuned_top1", run) == pytest.approx(76.05)
    assert read("best_finetuned_top1", run) == pytest.approx(76.1)
    assert read("finetuned_train_flops", run) == 0.73
    assert (read("agreement", run), read("cross_entropy", run)) == (83.5, 1.29)


def test_numbers_of_another_model_or_set_are_not_subtracted() -> None:
    published, measured = Published(75.03, "p"), MeanOverSeeds(75.1, 0.12, 3)
    assert Cell(measured, published, is_comparable=True).difference == pytest.approx(0.07)
    assert Cell(measured, published, is_comparable=False).difference is None
    assert Cell(measured, Published(None, None), is_comparable=True).difference is None
    assert Cell(None, published, is_comparable=True).difference is None


def filled(spec: TableSpec) -> list[FilledRow]:
    dense, rigl, soft = spec.rows
    top1 = Cell(MeanOverSeeds(75.1, 0.12, 3), rigl.published["top1"], True)
    cost = Cell(MeanOverSeeds(2.1, None, 1), rigl.published["train_flops"], True)
    nothing = Cell(None, None, True)
    accuracy = Cell(MeanOverSeeds(99.8, None, 1), dense.published["top1"], False)
    return [
        FilledRow(dense, {"top1": accuracy, "train_flops": nothing}, 1, 3, "dm", None),
        FilledRow(rigl, {"top1": top1, "train_flops": cost}, 3, 3, "", None),
        FilledRow(soft, {"top1": nothing, "train_flops": nothing}, 0, 0, "", "its settings are not known"),
    ]  # fmt: skip


def test_a_table_in_words(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    table = text_table(spec, filled(spec))
    assert table.headings == ["method", "setting", "top-1 %", "published", "training FLOPs", "published", "seeds"]
    assert table.rows == [
        ["Dense", "", "99.80ᵈᵐ", "unknown", "–", "", "1/3"],
        ["RigL", "5x, 80%", "75.10 ± 0.12", "77.17 (-2.07) [1]", "2.10 (n=1)", "2.09 (+0.01) [1]", "3/3"],
        ["STR", "80%", "–", "", "–", "", "its settings are not known"],
    ]
    assert "ᵈ another data set, ᵐ another model" in table.notes[1]
    assert table.sources == ["a paper, Table 1"]


def test_what_is_ours_is_said_under_the_published_scale(tmp_path: Path) -> None:
    """A method by its name where all of its rows have it, and else the row."""
    spec = spec_of(tmp_path)
    assert text_table(spec, filled(spec)).notes[-2:] == [
        "Our choice for RigL, which no source states: the batch size.",
        "Our choice for RigL; STR, which no source states: the rates.",
    ]
    assert not any(note.startswith("Our choice") for note in text_table(spec, filled(spec), "small").notes)
    other = replace(spec.rows[1], setting="5x, 90%", ours=())
    rows = [*filled(spec), FilledRow(other, filled(spec)[1].cells, 0, 3, "", None)]
    assert text_table(spec, rows).notes[-1] == "Our choice for RigL 5x, 80%; STR, which no source states: the rates."


def test_a_partner_has_the_recipe_of_its_table_and_not_that_of_its_row(tmp_path: Path) -> None:
    row = "  - {method: GMP, run: [method=gmp], paper: [experiment=resnet50_gmp], dense_partner: [method=dense]}"
    (*_, pruned) = spec_of(tmp_path, TABLE + row).rows
    assert pruned.overrides["paper"] == ("model=resnet50", "experiment=resnet50_gmp", "method=gmp")
    assert pruned.dense_partner == {"paper": ("model=resnet50", "method=dense"), "small": ("method=dense",)}


def test_a_cell_of_fewer_seeds_than_its_row_says_so(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    _, rigl, _ = spec.rows
    cells = {
        "top1": Cell(MeanOverSeeds(75.1, 0.12, 3), None, True),
        "train_flops": Cell(MeanOverSeeds(2.1, None, 1), None, True),
    }
    row = FilledRow(rigl, cells, 3, 3, "o", None)
    table = text_table(spec, [row])
    assert table.rows == [["RigL", "5x, 80%", "75.10 ± 0.12ᵒ", "2.10ᵒ (n=1)", "3/3"]]
    assert "ᵒ other settings, given on the command line" in table.notes[1]
    header, line = (text.split(",") for text in full_csv(spec, [row]).replace('"5x, 80%"', "5x").splitlines())
    seeds = dict(zip(header, line, strict=True))
    assert (seeds["seeds"], seeds["top1_seeds"], seeds["train_flops_seeds"]) == ("3", "3", "1")


def test_a_number_that_nothing_records_yet_is_not_available_yet(tmp_path: Path) -> None:
    text = TABLE.replace("[top1, train_flops]", "[top1, train_flops, onnx_batch_1]")
    spec = spec_of(tmp_path, text)
    nothing = Cell(None, None, True)
    row = FilledRow(spec.rows[0], dict.fromkeys(spec.columns, nothing), 3, 3, "", None)
    assert text_table(spec, [row]).rows == [["Dense", "", "–", "–", "not available yet", "3/3"]]
    latency = {"latency_ms": {"onnxruntime": {"batch_1_cores_4": 14.773}}}
    assert read("onnx_batch_1", Measured({**RESULT, **latency})) == 14.773
    assert read("deepsparse_batch_1", Measured({**RESULT, **latency})) is None


def test_the_formats_hold_the_same_table(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    rows = filled(spec)
    table = text_table(spec, rows)
    assert "| RigL | 5x, 80% | 75.10 ± 0.12 | 77.17 (-2.07) [1] | 2.10 (n=1) | 2.09 (+0.01) [1] | 3/3 |" in markdown(
        table
    )
    page = latex("a_table", table)
    assert r"RigL & 5x, 80\% & 75.10 $\pm$ 0.12 & 77.17 (-2.07) [1] & 2.10 (n=1) & 2.09 (+0.01) [1] & 3/3 \\" in page
    assert r"Dense &  & 99.80$^d$$^m$ & unknown & -- &  & 1/3 \\" in page
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:a_table}"):
        assert page.count(rule) == 1
    lines = full_csv(spec, rows).splitlines()
    assert lines[0].startswith(
        "method,setting,seeds,seeds_asked,marks,note,top1,top1_deviation,top1_seeds,top1_published,"
    )
    assert lines[1].startswith("Dense,,1,3,dm,,99.8,,1,unknown,,,")
    assert lines[2].startswith('RigL,"5x, 80%",3,3,,,75.1,0.12,3,77.17,')


def test_a_picture_is_drawn_again_where_the_table_has_changed(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    rows = filled(spec)
    *_, picture = write_table(tmp_path, spec, rows, text_table(spec, rows))
    first = picture.read_bytes()
    assert first.startswith(b"\x89PNG")
    picture.write_bytes(b"what was drawn")
    write_table(tmp_path, spec, rows, text_table(spec, rows))
    assert picture.read_bytes() == b"what was drawn"
    write_table(tmp_path, spec, rows[1:], text_table(spec, rows[1:]))
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.unlink()
    write_table(tmp_path, spec, rows[1:], text_table(spec, rows[1:]))
    assert picture.is_file()
