"""acdc-report of a folder of runs: a row is all seeds of a config; its numbers are computed here from the records."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.support import Command
from helpers.training import train

from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.report.comparison import Row, compare
from acdc_cli.report.table import comparison_cells

QUICK = ["epochs=2", "batch_size=256", "model.width=32"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """Dense, and random masks twice over: ERK, and uniform with dense ends; two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in ("seed=0", "seed=1"):
        train(folder, data_dir, *QUICK, seed, "method=dense")
        train(folder, data_dir, *QUICK, seed, "method=static", "sparsity=0.9")
        train(folder, data_dir, *QUICK, seed, "method=static", "sparsity=uniform_first_last_dense")
    return folder


def found(rows: list[Row], method: str, setting: str = "") -> Row:
    (row,) = [row for row in rows if row.method == method and setting in row.setting]
    return row


def results(runs: Path, method: str) -> list[dict]:
    return [result for run in run_folders(runs) if (result := run.read_result())["method"] == method]


def test_a_row_is_all_seeds_of_one_config(runs: Path) -> None:
    rows, left_out = compare(run_folders(runs))
    assert left_out == {} and (rows[0].method, rows[0].target, rows[0].seeds) == ("dense", None, 2)
    assert sorted((row.method, row.target, row.seeds) for row in rows[1:]) == [("static", 0.9, 2)] * 2
    first, second = (result["dense"]["val_top1"] for result in results(runs, "dense"))
    dense = found(rows, "dense").dense_metric
    assert dense is not None and dense.mean == pytest.approx((first + second) / 2)
    assert dense.deviation == pytest.approx(abs(first - second) / 2**0.5)  # of two: n - 1 = 1
    assert found(rows, "dense").sparse_metric is None


def test_rows_of_one_method_say_what_sets_them_apart(runs: Path) -> None:
    rows, _ = compare(run_folders(runs))
    assert found(rows, "dense").setting == ""
    settings = {row.setting for row in rows if row.method == "static"}
    assert settings == {
        "sparsity.distribution=erk",
        "sparsity.distribution=uniform",  # that its ends are dense as well tells them apart no better
    }
    uniform = found(rows, "static", "uniform")
    # 288 + 1280 of 296,480 weights stay dense.
    assert uniform.sparsity_of_pruned_layers == pytest.approx(0.9, abs=1e-5)
    assert uniform.sparsity == pytest.approx(0.9 * (296_480 - 1568) / 296_480, abs=1e-5)


def test_step_time_and_memory_are_over_those_of_the_dense_runs(runs: Path) -> None:
    rows, _ = compare(run_folders(runs))
    seconds = {"dense": [], "static": []}
    for run in run_folders(runs):
        config = run.config.read_text()
        if "method" in config and "distribution: uniform" not in config:
            per_sample = [1 / row["samples_per_second"] for row in run.read_metrics()]
            seconds[run.read_result()["method"]].append(np.median(per_sample))
    expected = np.median(seconds["static"]) / np.median(seconds["dense"])
    assert found(rows, "static", "erk").step_time == pytest.approx(expected)
    assert found(rows, "dense").step_time == found(rows, "dense").memory == 1
    alone, _ = compare([run for run in run_folders(runs) if run.read_result()["method"] == "static"])
    assert {row.step_time for row in alone} == {row.memory for row in alone} == {None}


def test_wall_time_counts_the_run_that_it_goes_on_from(runs: Path, tmp_path: Path) -> None:
    copy = RunFolder(shutil.copytree(next(runs.rglob("*static*erk*seed0*")), tmp_path / "copy"))
    result = copy.read_result()
    copy.write_json(copy.result, result | {"seconds": 10.0, "seconds_before": 5.0})
    ((row,), _) = compare([copy])
    assert row.seconds == 15


def test_one_seed_has_no_deviation(runs: Path) -> None:
    ((row,), _) = compare([RunFolder(next(runs.rglob("*dense-seed0*")))])
    assert row.seeds == 1 and row.dense_metric is not None and row.dense_metric.deviation is None
    assert "±" not in " ".join(comparison_cells([row])[0])


def test_the_command_prints_it_and_names_what_is_not_in_it(runs: Path, tmp_path: Path, report: Command) -> None:
    shutil.copytree(runs, tmp_path / "runs", dirs_exist_ok=True)
    unfinished = RunFolder(next((tmp_path / "runs").rglob("*static*erk*seed1*")))
    unfinished.write_status("interrupted", 1)
    printed = report("runs", "--format", "csv")
    assert printed.returncode == 0
    lines = {(line["method"], line["setting"]): line for line in csv.DictReader(io.StringIO(printed.stdout))}
    assert {line["seeds"] for line in lines.values()} == {"1", "2"}
    assert lines["dense", ""]["sparse_top1"] == lines["dense", ""]["target"] == ""
    assert f"{unfinished.path.name}: interrupted" in printed.stderr
    one_a_run = report("runs", "--runs", "--format", "markdown").stdout.splitlines()
    assert len(one_a_run) == 2 + 6


def test_the_figure_is_drawn_or_refused_in_one_line(runs: Path, tmp_path: Path, report: Command) -> None:
    drawn = report(str(runs), "--figure", "figure.png")
    assert drawn.returncode == 0 and (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    refused = report(str(runs), "--figure", "figure.jpeg")
    assert refused.returncode == 2 and "figure.png" in refused.stderr and refused.stderr.count("\n") == 1
