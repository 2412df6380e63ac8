"""The embedded photographs: which crop comes from where."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acdc_cli.data.preparing.find import open_dataset
from acdc_cli.data.preparing.patches import LONGEST, PHOTOGRAPHS, SHORTEST, crop_boxes, make_patches, side
from acdc_cli.data.sets.patches import CROPS
from acdc_cli.errors import DataMissing


@pytest.mark.parametrize("name", sorted(PHOTOGRAPHS))
def test_training_and_validation_share_no_pixel(name: str) -> None:
    """Every pixel of a photograph is on exactly one side."""
    read, key = PHOTOGRAPHS[name]
    photograph = read(key)
    assert photograph.dtype == np.uint8 and photograph.shape[2] == 3
    numbered = np.arange(photograph.shape[0] * photograph.shape[1]).reshape(*photograph.shape[:2], 1)
    train, val = (side(numbered, split).ravel() for split in ("train", "val"))
    assert np.intersect1d(train, val).size == 0 and len(train) + len(val) == numbered.size
    assert min(side(photograph, "val").shape[:2]) > LONGEST  # room for any crop


def test_crops_are_inside_and_of_every_size_and_place() -> None:
    boxes = crop_boxes(3, "train", 1000, 300, 157)
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 300).all() and (left + width <= 157).all()
    for sides in (height, width):
        assert (sides.min(), sides.max()) == (SHORTEST, LONGEST)
        assert sides.mean() == pytest.approx((SHORTEST + LONGEST) / 2, rel=0.05)
    assert top.min() == 0 and left.min() == 0 and (left + width).max() == 157


def test_crops_do_not_depend_on_how_many_there_are_and_differ_by_class_and_split() -> None:
    few, many = (crop_boxes(0, "train", count, 400, 400) for count in (10, 300))
    np.testing.assert_array_equal(few, many[:10])
    for label, split in ((1, "train"), (0, "val")):
        assert (crop_boxes(label, split, 300, 400, 400) == many).all(axis=1).mean() < 0.01


def test_a_crop_is_that_part_of_its_photograph(tmp_path: Path) -> None:
    make_patches(tmp_path, {"train": 2, "val": 2})
    for label, name in enumerate(sorted(PHOTOGRAPHS)):
        read, key = PHOTOGRAPHS[name]
        for split in ("train", "val"):
            area = side(read(key), split)
            for number, (top, left, height, width) in enumerate(crop_boxes(label, split, 2, *area.shape[:2])):
                with Image.open(tmp_path / split / name / f"{number:04d}.jpg") as image:
                    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (width, height))
                    crop = area[top : top + height, left : left + width].astype(int)
                    assert np.abs(np.asarray(image).astype(int) - crop).mean() < 8


def test_two_preparations_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_patches(tmp_path / name, {"train": 1, "val": 1})
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")} for name in ("one", "two"))
    assert one == two


def test_without_scikit_image_the_line_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(DataMissing, match="-m pip install scikit-image"):
        open_dataset("patches", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_photograph_that_is_no_longer_shipped_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there() -> None:
        raise ModuleNotFoundError("The requested file is part of ... but requires pooch\nTo install pooch, ...")

    monkeypatch.setattr("skimage.data.rocket", not_there)
    with pytest.raises(DataMissing, match="no photograph rocket"):
        make_patches(tmp_path, {"train": 1, "val": 1})


@pytest.mark.exhaustive
def test_the_set_is_prepared_on_first_use_and_mended(tmp_path: Path, acdc_data: Callable) -> None:
    dataset = open_dataset("patches", tmp_path)
    assert (dataset.kind, dataset.classes, dataset.info["size"], dataset.info["source"]) == ("files", 10, None, None)
    assert [dataset.count(split) for split in ("train", "val")] == [10 * CROPS["train"], 10 * CROPS["val"]]
    assert dataset.info["class_names"] == sorted(PHOTOGRAPHS)
    files = dataset.read_files()["train"]
    images = [np.asarray(Image.open(files.root / path)).reshape(-1, 3) / 255 for path in files.paths]
    pixels = np.concatenate(images)
    np.testing.assert_allclose(dataset.info["mean"], pixels.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(dataset.info["std"], pixels.std(axis=0), atol=1e-6)
    assert acdc_data("check", tmp_path / "patches", "--source") == 0
    (files.root / files.paths[5]).unlink()
    before = dataset.info["content_hash"]
    assert open_dataset("patches", tmp_path).info["content_hash"] == before
    assert (files.root / files.paths[5]).is_file()
