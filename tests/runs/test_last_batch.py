"""A last batch of one sample: refused where batch norm would have one value a channel, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.training import train

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.data.dataset import Dataset
from acdc_cli.errors import BadInput


def require_last_batch(config: Config, dataset: Dataset, ranks: int = 1) -> None:
    config.task.options.check_batches(config, dataset, ranks)


def images(count: int) -> Dataset:
    info = {"name": "patches", "kind": "files", "classes": 10, "channels": 3, "size": None, "train": {"count": count}}
    return Dataset(Path("nowhere"), info)


@pytest.mark.parametrize(
    ("count", "typed", "nearest"),
    [
        (97, "batch_size=16 dataset.resolution=32", 17),  # ResNet50 divides by 32: one position is left
        (97, "batch_size=16 dataset.resolution=64", None),  # four are
        (96, "batch_size=16 dataset.resolution=32", None),
        (96, "batch_size=1 dataset.resolution=32", 2),
        (7, "batch_size=2 dataset.resolution=32", 4),  # 3 leaves one as well
        (98, "batch_size=16 accumulation=2 dataset.resolution=32", 18),  # two are left for two passes; 98 = 5 * 18 + 8
        (
            97,
            "batch_size=16 dataset.resolution=64 dataset.train_resolution_start=32 dataset.train_resolution_end=64 "
            "dataset.ramp_start=0 dataset.ramp_end=1",
            17,  # at the beginning of the ramp
        ),
    ],
)
def test_one_sample_that_is_left_over(count: int, typed: str, nearest: int | None) -> None:
    config = compose_config(["model=resnet50", "dataset=patches", "epochs=2", *typed.split()])
    if nearest is None:
        require_last_batch(config, images(count))
        return
    with pytest.raises(
        BadInput, match=rf"batch_size={config.batch_size}: {count} training .* nearest: batch_size={nearest}$"
    ):
        require_last_batch(config, images(count))


def test_ranks_share_a_batch() -> None:
    """100 samples in batches of 32 leave 4: one for each of 4 ranks, two for each of 2. Of 6, no size helps 4 ranks."""
    config = compose_config(["model=resnet50", "dataset=patches", "dataset.resolution=32", "batch_size=32"])
    require_last_batch(config, images(100), ranks=2)
    with pytest.raises(BadInput, match="nearest: batch_size=36"):  # 100 = 2 * 36 + 28
        require_last_batch(config, images(100), ranks=4)
    with pytest.raises(BadInput, match="nearest: fewer ranks or passes"):
        require_last_batch(config, images(6), ranks=4)


def test_it_leaves_no_folder(tmp_path: Path, data_dir: Path) -> None:
    """1437 digits are 359 batches of 4 and one; ResNet50 leaves one position of 8 x 8 pixels."""
    with pytest.raises(BadInput, match="batch_size=4"):
        train(tmp_path / "runs", data_dir, "model=resnet50", "dataset=digits", "batch_size=4", "precision=fp32")
    assert not (tmp_path / "runs").exists()
