"""Two ranks, and one process with the same steps: in float64, without batch norm, they train one and the same model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.training import model_state
from torchrun_job import finished, only_run

from acdc_cli.commands.train import run_command_line
from acdc_cli.records.folder import RunFolder
from acdc_cli.training.reevaluate import reevaluate

pytestmark = pytest.mark.exhaustive

# 45 samples: two steps of 16, and one of 13 that two ranks (and two passes) cannot halve.
# A global target would empty a layer of this network.
TYPED = [
    "dataset=imagenet",
    "dataset.resolution=32",
    "loader=torch",
    "model=timm",
    "model.name=test_nfnet",
    "precision=fp64",
    "sparsity=uniform",
    "sparsity.target=0.8",
    "schedule.phases=[[dense,0,1],[sparse,1,2],[dense,2,3],[sparse,3,4]]",
    "batch_size=16",
    "optimizer.lr=0.01",
    "lr_schedule.warmup_epochs=0",
    "keep_best=true",
]
LIMIT = 1e-9


@dataclass
class Runs:
    two_ranks: RunFolder
    one_process: RunFolder
    two_passes: RunFolder


@pytest.fixture(scope="module")
def runs(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folders = [tmp_path_factory.mktemp(name) for name in ("two_ranks", "one_process", "two_passes")]
    typed = [*TYPED, f"data_dir={photographs}"]
    ended = finished(*typed, f"runs_dir={folders[0]}")
    assert ended.code == 0, ended.errors
    for folder, more in zip(folders[1:], ([], ["accumulation=2"]), strict=True):
        alone = ["device=cpu", "threads=1", "tracker=none", f"runs_dir={folder}"]
        assert run_command_line([*typed, *alone, *more]) == 0
    return Runs(*map(only_run, folders))


@pytest.mark.parametrize("other", ["one_process", "two_passes"])
def test_equal_masks_and_weights(other: str, runs: Runs) -> None:
    for kind in ("sparse", "dense", "sparse_best", "dense_best"):
        ours, theirs = model_state(runs.two_ranks, kind), model_state(getattr(runs, other), kind)
        assert ours.keys() == theirs.keys()
        assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < LIMIT
    masks, expected = model_state(runs.two_ranks, "masks"), model_state(getattr(runs, other), "masks")
    assert masks.keys() == expected.keys() and all(masks[name].equal(expected[name]) for name in masks)
    assert sorted(path.name for path in runs.two_ranks.masks.iterdir()) == [
        "epoch_001.safetensors",
        "epoch_003.safetensors",
    ]


def test_the_weights_have_moved_far_more_than_the_limit(runs: Runs) -> None:
    """In the last epoch, and in every layer: else equal weights would mean nothing."""
    sparse, dense = model_state(runs.two_ranks, "sparse"), model_state(runs.two_ranks, "dense")
    kept = model_state(runs.two_ranks, "masks").keys()
    for name in kept:
        moved = (sparse[name] - dense[name])[sparse[name] != 0]
        assert float(moved.abs().max()) > 10 * LIMIT, name


def test_equal_records(runs: Runs) -> None:
    """Every sample counts once in training loss and accuracy. The loss is summed in float32."""
    for row, expected in zip(runs.two_ranks.read_metrics(), runs.one_process.read_metrics(), strict=True):
        assert row.keys() == expected.keys()
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
        assert row["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-7)
        for key in ("train_top1", "val_top1", "lr", "sparsity", "mask_change", "train_flops_total"):
            assert row[key] == expected[key], key


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_evaluation_on_two_ranks_counts_every_sample_once(kind: str, runs: Runs) -> None:
    """The model file that the two ranks have evaluated, and one process: 21 samples, 11 + 10."""
    ours: dict[str, Any] = runs.two_ranks.read_result()[kind]
    alone = reevaluate(runs.two_ranks.path, kind, None, None)
    assert ours["val_top1"] == alone["val_top1"]
    assert (ours["val_top1"] * 21) == pytest.approx(round(ours["val_top1"] * 21))
    assert ours["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-6)
    assert runs.two_ranks.read_result()["agreement"] == pytest.approx(runs.one_process.read_result()["agreement"])
