"""Every key of a record is in its type once, and a task adds metrics alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import pytest
from helpers.training import train

from acdc_cli.records.epoch_row import EpochRow, metric_of
from acdc_cli.records.files import check_shape
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.run_result import ModelResult, RunResult, final_model, model_metric
from acdc_cli.records.shapes import ROW, Status, shape_of

METRICS = {"train_top1", "val_top1", "val_top5"}
MODEL_METRICS = {"val_top1", "val_top5", "best_val_top1"}


@pytest.fixture(scope="module")
def run(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("runs"), data_dir, "epochs=2")


def test_a_run_writes_the_keys_of_the_types_and_its_tasks_metrics(run: RunFolder) -> None:
    rows, result = run.read_metrics(), run.read_result()
    assert all(row.keys() == get_type_hints(EpochRow).keys() | METRICS for row in rows)
    assert result.keys() == get_type_hints(RunResult).keys()
    for model in (result["sparse"], result["dense"]):
        assert model is not None and model.keys() == get_type_hints(ModelResult).keys() | MODEL_METRICS
    assert run.read_status().keys() == get_type_hints(Status).keys()


def test_metrics_of_a_task_are_read_by_their_keys(run: RunFolder) -> None:
    last, result = run.read_metrics()[-1], run.read_result()
    assert metric_of(last, "val_top1") == model_metric(final_model(result), "val_top1")
    assert metric_of(last, "val_perplexity") is None
    with pytest.raises(KeyError):
        model_metric(final_model(result), "val_perplexity")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"epoch": "1"}, "epoch is text"),
        ({"epoch": None}, "epoch is null"),
        ({"phase": "warm"}, "phase is none of dense, sparse"),
        ({"lr": True}, "lr is true or false"),
        ({"layer_sparsity": {"conv": None}}, "layer_sparsity.conv is null"),
        ({"mask_change": "0"}, "mask_change is text"),
    ],
)
def test_a_value_of_another_type_is_named(run: RunFolder, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_shape({**run.read_metrics()[0], **change}, ROW)


def test_what_older_versions_did_not_write_may_be_missing() -> None:
    assert {key for key in ROW if key.endswith("?")} == {
        *("resolution?", "stayed_zero?", "dead_channels?", "starved_layers?"),
    }
    assert "checksums?" in shape_of(RunResult) and "run_id" in shape_of(RunResult)
