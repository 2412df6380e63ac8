"""Runs on image files: progressive resizing on record, both loaders equally good, a quick start."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.image_tree import write_image_tree
from helpers.support import environment
from helpers.training import train
from torch import nn

from acdc_cli.config.compose import compose_config
from acdc_cli.config.text import from_yaml
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import AcdcError
from acdc_cli.measure.flops import layer_sizes
from acdc_cli.models.build import build_model
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.records.folder import RunFolder
from acdc_cli.training.execute import execute
from acdc_cli.training.reevaluate import reevaluate

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_ffcv")]

CLASSES = 4  # of the fixture ``images``
SMALL = [
    "dataset=imagenet",
    "model=resnet8",
    "batch_size=32",
    "dataset.resize_ratio=1.0",
    "dataset.crop_scale_min=0.35",
]
PROGRESSIVE = [
    *SMALL,
    "dataset.resolution=32",
    "dataset.train_resolution_start=16",
    "dataset.train_resolution_end=32",
    "dataset.ramp_start=0.25",
    "dataset.ramp_end=0.75",
    "dataset.resolution_multiple=8",
    "epochs=4",
]


def dense_flops(run: RunFolder, pixels: int) -> int:
    model: nn.Module = build_model(from_yaml(run.config.read_text()).model, ImageInputs(3, 32, 32, CLASSES))
    sizes = layer_sizes(model, (3, pixels, pixels)).values()
    return sum(2 * size.weights * size.output_positions for size in sizes)


@pytest.mark.parametrize("loader", ["ffcv", pytest.param("torch", marks=pytest.mark.exhaustive)])
def test_progressive_resizing_is_on_record_and_charged(loader: str, images: Path, tmp_path: Path) -> None:
    """D S D S at 16, 16, 24, 32 pixels: a dense first epoch is 3F there; inference is at 32 throughout."""
    run = train(tmp_path, images, *PROGRESSIVE, f"loader={loader}")
    rows, result = run.read_metrics(), run.read_result()
    assert [row["resolution"] for row in rows] == [16, 16, 24, 32]
    assert [row["phase"] for row in rows] == ["dense", "sparse", "dense", "sparse"]
    assert rows[0]["train_flops"] == 3 * dense_flops(run, 16)
    assert rows[0]["inference_flops"] == result["dense_inference_flops"] == dense_flops(run, 32)
    assert rows[-1]["inference_flops"] == result["sparse"]["inference_flops"]
    assert rows[-1]["train_flops"] == 3 * rows[-1]["inference_flops"]  # trained and evaluated at 32
    whole = 3 * sum(dense_flops(run, pixels) for pixels in (16, 16, 24, 32)) * CLASSES * 60
    assert result["train_flops_total"] == sum(row["train_flops"] for row in rows) * CLASSES * 60
    assert result["train_flops_fraction"] == pytest.approx(result["train_flops_total"] / whole)
    again = reevaluate(run.path, "sparse", None, None)
    assert (again["val_top1"], again["val_loss"]) == (result["sparse"]["val_top1"], result["sparse"]["val_loss"])


@pytest.mark.exhaustive
def test_both_loaders_train_equally_well(images: Path, tmp_path: Path) -> None:
    """Three seeds each: their means are within two standard errors of each other.

    A seed's deviation is the larger one of that observed and that of drawing so many validation images.
    """
    typed = [*SMALL, "dataset.resolution=32", "epochs=7", "sparsity=0.8"]
    found = {
        loader: [
            train(tmp_path, images, *typed, f"loader={loader}", f"seed={seed}").read_result()["sparse"]["val_top1"]
            for seed in range(3)
        ]
        for loader in ("ffcv", "torch")
    }
    means = [statistics.mean(accuracies) for accuracies in found.values()]
    assert min(means) > 0.5, found  # chance is 0.25
    drawn = math.sqrt(means[0] * (1 - means[0]) / (30 * CLASSES))
    deviation = max(drawn, *(statistics.stdev(accuracies) for accuracies in found.values()))
    assert abs(means[0] - means[1]) <= 2 * deviation * math.sqrt(2 / 3), found


def test_a_foreign_beton_ends_training_with_exit_code_3(images: Path, program: Callable, tmp_path: Path) -> None:
    """As large as the right one, so that only its content tells."""
    path = images / "imagenet" / "val.beton"
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    try:
        typed = [*PROGRESSIVE, "loader=ffcv", "device=cpu", "threads=1", "tracker=none", f"data_dir={images}"]
        ended = program(*typed, f"runs_dir={tmp_path / 'runs'}")
    finally:
        path.write_bytes(content)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (3, "", 1), ended.stderr
    assert str(path) in ended.stderr and "acdc-data prepare imagenet" in ended.stderr


QUICK = [*SMALL, "dataset.resolution=16", "epochs=2", "loader=torch", "tracker=none", "threads=1"]


def test_other_images_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    """Data are no part of a run's id: a finished run is shown with a line on it, an unfinished one does not go on."""
    trees = [write_image_tree(tmp_path / name, train=8, val=2, classes=n) for name, n in (("a", 2), ("b", 3))]
    prepare("imagenet", trees[0], tmp_path / "data" / "imagenet", workers=1)
    config = compose_config([*QUICK, f"data_dir={tmp_path / 'data'}", f"runs_dir={tmp_path / 'runs'}"])
    said: list[str] = []
    folder = execute(config, said.append)
    execute(config, said.append)
    assert [line for line in said if "not the data" in line] == []
    prepare("imagenet", trees[1], tmp_path / "data" / "imagenet", workers=1)
    execute(config, said.append)
    assert "not the data that this finished run had; run.overwrite=true" in said[-1]
    folder.result.unlink()
    folder.write_status("interrupted", 2)
    with pytest.raises(AcdcError, match="not the data that this run began with"):
        execute(config, said.append)


def test_the_same_images_stored_otherwise_are_other_data(tmp_path: Path) -> None:
    """Another size or quality makes other pixels, from either loader."""
    tree, out = write_image_tree(tmp_path / "tree", train=8, val=2, classes=2), tmp_path / "imagenet"
    first = prepare("imagenet", tree, out, None, 1)
    again = prepare("imagenet", tree, out, None, 2)
    smaller = prepare("imagenet", tree, out, WriteOptions(24, 90, 0.5), 1)
    assert first.info["content_hash"] == smaller.info["content_hash"]
    assert first.identity == again.identity != smaller.identity


def test_a_resolution_above_that_of_the_files_is_said(tmp_path: Path) -> None:
    tree = write_image_tree(tmp_path / "tree", train=8, val=2, classes=2)
    prepare("imagenet", tree, tmp_path / "data" / "imagenet", WriteOptions(24, 90, 0.5), 1)
    said: list[str] = []
    folders = [f"data_dir={tmp_path / 'data'}", f"runs_dir={tmp_path / 'runs'}"]
    execute(compose_config([*QUICK, "dataset.resolution=32", *folders]), said.append)
    assert [line for line in said if "dataset.resolution=32: the images are stored with sides of at most 24" in line]


FIRST_BATCHES = """
import sys
from pathlib import Path
import numpy as np
import torch
from acdc_cli.data.loading.batches import in_batches
from acdc_cli.data.loading.crops import Crops
from acdc_cli.data.dataset import read_dataset
from acdc_cli.data.loading.loaders import open_loaders
from acdc_cli.data.view import View
loaders = open_loaders("ffcv", read_dataset(Path(sys.argv[1])), 2, torch.device("cpu"), Crops(0, 0.08, 0.875))
for split, epoch in (("train", 0), ("val", None)):
    next(loaders[split].batches(in_batches(np.arange(loaders[split].count), 32), View(32, epoch)))
"""


@pytest.mark.exhaustive
def test_a_second_start_compiles_nothing(images: Path, tmp_path: Path) -> None:
    """From opening both splits to their first batches, in a process of its own, with what the first one compiled."""
    cache = tmp_path / "numba"

    def compiled() -> dict[Path, int]:
        command = [sys.executable, "-c", FIRST_BATCHES, str(images / "imagenet")]
        subprocess.run(command, env=environment(NUMBA_CACHE_DIR=str(cache)), capture_output=True, check=True)
        return {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}

    first = compiled()
    assert any(path.suffix == ".nbc" for path in first)
    assert compiled() == first
