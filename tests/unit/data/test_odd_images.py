"""Images of every kind and files that are none: the same pixels from both loaders, or left out with the reason."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.image_tree import FOLDERS
from PIL import Image

from acdc_cli.data.dataset import read_dataset
from acdc_cli.data.image_files import read_rgb
from acdc_cli.data.loading.batches import in_batches
from acdc_cli.data.loading.crops import Crops
from acdc_cli.data.loading.loaders import open_loaders
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.data.view import View
from acdc_cli.data.write_options import WriteOptions

RAW = WriteOptions(None, 90, 1.0)
FIRST = sorted(FOLDERS)[0]
GREY = np.array([[0, 255], [128, 64]], np.uint8)


@pytest.fixture
def tree(image_tree: Path, tmp_path: Path) -> Path:
    """A copy to add files to."""
    return Path(shutil.copytree(image_tree, tmp_path / "tree"))


def photograph(tree: Path) -> Image.Image:
    return Image.open(sorted((tree / "train" / FIRST).iterdir())[0]).convert("RGB")


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_of_16_bits_the_upper_8_stay(name: str, tmp_path: Path) -> None:
    """0, 255, 128, 64 as 16-bit values: 0, 65535, 0x80ff, 0x4000. Cut off at 255 they would be 0, 255, 255, 255."""
    Image.fromarray(np.array([[0, 65535], [0x80FF, 0x4000]], np.uint16)).save(tmp_path / name)
    expected = np.repeat(GREY[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_rgb(tmp_path / name), expected)


@pytest.mark.parametrize("values", [np.float32([[0, 1]]), np.int32([[0, 70000]])], ids=["float", "int"])
def test_of_32_bits_nobody_knows_the_white(values: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match="32-bit grey"):
        read_rgb(tmp_path / "deep.tif")


def add_odd_images(folder: Path, image: Image.Image) -> None:
    for mode, name in (("RGBA", "rgba.png"), ("LA", "la.png"), ("L", "grey.jpg"), ("CMYK", "cmyk.jpg"), ("1", "1.png")):
        image.convert(mode).save(folder / name)
    image.convert("P").save(folder / "transparent.png", transparency=0)
    image.convert("RGBA").save(folder / "alpha.webp", lossless=True)
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    rotated = Image.Exif()
    rotated[0x112] = 6  # Orientation: a quarter turn
    image.save(folder / "rotated.jpg", exif=rotated)
    image.save(folder / "Größe 猫\u202f.jpg")
    (folder / "link.jpg").symlink_to(folder / "grey.jpg")


@pytest.mark.usefixtures("needs_ffcv")
def test_odd_images_are_the_same_from_both_loaders(tree: Path, tmp_path: Path) -> None:
    """Kept as pixels, so that nothing is lost; each at its own size, whole."""
    folder, image = tree / "train" / FIRST, photograph(tree)
    add_odd_images(folder, image)
    dataset = prepare("imagenet", tree, tmp_path / "out", RAW, 2)
    assert dataset.info["train"]["skipped"] == {}
    order = np.arange(dataset.count("train"))
    ffcv, pillow = (
        np.concatenate(
            [images.numpy().copy() for images, _, _ in loaders["train"].batches(in_batches(order, 16), View(24, 3))],
            dtype=np.int16,
        )
        for loaders in (
            open_loaders(kind, dataset, 1, torch.device("cpu"), Crops(0, 0.08, 1.0)) for kind in ("ffcv", "torch")
        )
    )
    np.testing.assert_array_equal(ffcv, pillow)
    paths = [Path(path).name for path in dataset.read_files()["train"].paths]
    assert {"rgba.png", "deep.png", "rotated.jpg", "Größe 猫\u202f.jpg", "link.jpg"} <= set(paths)
    assert read_rgb(folder / "rotated.jpg").shape == np.asarray(image).shape  # as torchvision's ImageFolder has it
    deep = read_rgb(folder / "deep.png")
    np.testing.assert_array_equal(deep[..., 0], np.asarray(image.convert("L")))


def add_what_is_none(folder: Path, image: Image.Image) -> dict[str, str]:
    """File name -> a part of why it is left out."""
    (folder / "zero.jpg").touch()
    (folder / "text.jpg").write_text("<html>404</html>")
    (folder / "nowhere.jpg").symlink_to("/nowhere/at/all.jpg")
    os.mkfifo(folder / "pipe.jpg")
    Image.fromarray(np.float32([[0, 1]])).save(folder / "deep.tif")
    image.save(folder / "tab\there.jpg")
    image.save(os.fsencode(folder) + b"/latin\xe4.jpg")
    Image.new("RGB", (2000, 3)).save(folder / "thin.png")
    return {
        "zero.jpg": "empty, 0 bytes",
        "text.jpg": "not an image of a kind that Pillow knows",
        "nowhere.jpg": "No such file or directory",
        "pipe.jpg": "not a file",
        "deep.tif": "32-bit grey",
        "tab\there.jpg": "its name has a tab",
        os.fsdecode(b"latin\xe4.jpg"): "not UTF-8",
        "thin.png": "2000x3 pixels would become 500x0",
    }


def test_what_is_no_image_is_left_out_with_a_reason_that_stays_the_same(tree: Path, tmp_path: Path) -> None:
    """2000x3 pixels at imagenet's --max-resolution 500 leave no row, on which the writer's resize would stop."""
    expected = add_what_is_none(tree / "train" / FIRST, photograph(tree))
    found = [
        prepare("imagenet", tree, tmp_path / f"out{workers}", None, workers).info["train"]["skipped"]
        for workers in (1, 2)
    ]
    assert found[0] == found[1]
    assert found[0].keys() == {f"train/{FIRST}/{name}" for name in expected}
    for name, why in expected.items():
        reason = found[0][f"train/{FIRST}/{name}"]
        assert why in reason and "0x7" not in reason
    assert json.loads((tmp_path / "out1" / "dataset.json").read_text())["train"]["skipped"] == found[0]
    kept = read_dataset(tmp_path / "out1").read_files()["train"].paths
    assert len(kept) == len(FOLDERS) * 12


def test_names_are_printed_whatever_is_in_them(
    tree: Path, tmp_path: Path, acdc_data: Callable, capsys: pytest.CaptureFixture
) -> None:
    """A terminal in UTF-8 takes no half character."""
    for name in (b"latin\xe4.jpg", b"tab\there.jpg"):
        (tree / "train" / FIRST / os.fsdecode(name)).touch()
    assert acdc_data("prepare", "imagenet", "--source", tree, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    printed.encode()
    assert "latin\\udce4.jpg" in printed and "tab\\there.jpg" in printed


def test_a_thin_image_stays_where_sides_are_kept(tree: Path, tmp_path: Path) -> None:
    Image.new("RGB", (2000, 3)).save(tree / "train" / FIRST / "thin.png")
    assert prepare("imagenet", tree, tmp_path / "out", RAW).info["train"]["skipped"] == {}
