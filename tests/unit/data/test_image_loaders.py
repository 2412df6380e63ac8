"""Image files through both loaders: the same images, whoever reads them, and no hang on files that are not right."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acdc_cli.data.dataset import Dataset
from acdc_cli.data.loading.batches import in_batches
from acdc_cli.data.loading.crops import Crops
from acdc_cli.data.loading.loaders import open_loaders
from acdc_cli.data.loading.torch_files import resized_crop
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.data.view import View
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import DataMissing

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_ffcv")]

CROPS = Crops(seed=5, scale_min=0.08, resize_ratio=0.875)
TRAIN, VAL = View(40, 2), View(48, None)
# How the .beton is written -> the largest mean and the largest single difference to Pillow's pixels, of 255. Pixels are
# the same; JPEG is encoded once more, and FFCV's decoder does not smooth its halved colour channels, as Pillow does;
# smaller images are reduced by another filter.
WRITTEN = {
    "pixels": (WriteOptions(None, 90, 1.0), 0, 0),
    "quality 100": (WriteOptions(None, 100, 0.0), 1.5, 30),
    "as ImageNet": (WriteOptions(500, 90, 0.5), 1.0, 35),
    "reduced": (WriteOptions(72, 95, 0.0), 2.2, 50),
}


@pytest.fixture(scope="module")
def datasets(image_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("written")
    return {name: prepare("imagenet", image_tree, folder / name, how, 1) for name, (how, _, _) in WRITTEN.items()}


def opened(dataset: Dataset, kind: str, workers: int = 1, **more: Any) -> dict[str, Any]:
    return open_loaders(kind, dataset, workers, torch.device("cpu"), CROPS, **more)


def read(
    loader: Any, view: View, order: np.ndarray | None = None, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    order = np.arange(loader.count) if order is None else order
    batches = [
        (images.clone(), labels.clone(), samples)
        for images, labels, samples in loader.batches(in_batches(order, batch_size), view)
    ]
    np.testing.assert_array_equal(np.concatenate([samples for _, _, samples in batches]), order)
    images, labels = (torch.cat(column).numpy() for column in list(zip(*batches, strict=True))[:2])
    return images, labels


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(("split", "view"), [("train", TRAIN), ("val", VAL)])
def test_both_loaders_give_the_same_images(written: str, split: str, view: View, datasets: dict[str, Dataset]) -> None:
    """The stated differences; the shape, the labels and their order are the same to the last bit."""
    (fast, labels), (plain, plain_labels) = (
        read(opened(datasets[written], kind)[split], view) for kind in ("ffcv", "torch")
    )
    assert fast.shape == plain.shape == (len(labels), view.resolution, view.resolution, 3)
    np.testing.assert_array_equal(labels, plain_labels)
    difference = np.abs(fast.astype(int) - plain)
    _, mean, largest = WRITTEN[written]
    assert difference.mean() <= mean, difference.max()
    assert difference.max() <= largest, difference.mean()
    # Another image differs by far more than any of these.
    assert np.abs(fast[1:].astype(int) - plain[:-1]).mean() > 20


@pytest.mark.parametrize("kind", ["ffcv", "torch"])
def test_images_do_not_depend_on_workers_batches_or_order(kind: str, datasets: dict[str, Dataset]) -> None:
    """Nor on the epochs before: each loader here is a fresh one that begins with epoch 2."""
    dataset = datasets["as ImageNet"]
    expected, labels = read(opened(dataset, kind, workers=1)["train"], TRAIN)
    for workers, batch_size in ((2, 7), (0, 120), (2, 1000)):
        loader = opened(dataset, kind, workers)["train"]
        order = np.random.default_rng(workers).permutation(loader.count)
        images, found = read(loader, TRAIN, order, batch_size)
        np.testing.assert_array_equal(images, expected[order])
        np.testing.assert_array_equal(found, labels[order])
    assert (read(loader, View(40, 3))[0] != expected).any(axis=(1, 2, 3)).mean() > 0.95


def test_validation_images_are_the_same_every_time(datasets: dict[str, Dataset]) -> None:
    loader = opened(datasets["as ImageNet"], "ffcv")["val"]
    first, _ = read(loader, VAL)
    read(loader, View(56, None))
    np.testing.assert_array_equal(read(loader, VAL)[0], first)


def test_the_images_are_those_of_stock_ffcv_but_for_the_filter(datasets: dict[str, Dataset]) -> None:
    """Its centre crop and INTER_AREA against ours: less than a grey level of 255 on average where images shrink."""
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import CenterCropRGBImageDecoder
    from ffcv.loader import Loader
    from ffcv.transforms import ToTensor

    dataset = datasets["pixels"]
    decoder = CenterCropRGBImageDecoder((32, 32), CROPS.resize_ratio)
    pipelines = {"image": [decoder, ToTensor()], "label": [IntDecoder(), ToTensor()]}
    stock = Loader(str(dataset.beton("val")), 40, 1, drop_last=False, pipelines=pipelines)
    images, labels = (column.clone().numpy() for column in next(iter(stock)))
    ours, found = read(opened(dataset, "ffcv")["val"], View(32, None))
    np.testing.assert_array_equal(found, labels.ravel())
    assert np.abs(ours.astype(int) - images).mean() < 1.0


@pytest.mark.parametrize(
    "size", [(200, 300), (300, 200), (64, 64), (63, 65), (1, 1), (2, 500), (500, 2), (64, 200), (30, 200)], ids=str
)
def test_resizing_is_pillows_to_the_last_bit(size: tuple[int, int]) -> None:
    from acdc_cli.data.beton.decode import resize

    height, width = size
    pixels = np.random.default_rng(0).integers(0, 256, (height + 3, width + 5, 3), np.uint8)
    found = np.zeros((64, 3 * 64), np.uint8)
    resize(pixels.reshape(height + 3, -1)[2 : 2 + height, 3 * 4 : 3 * (4 + width)], found)
    expected = resized_crop(Image.fromarray(pixels), (2, 4, height, width), 64)
    np.testing.assert_array_equal(found.reshape(64, 64, 3), expected)


def test_no_epoch_and_no_resolution_compiles_again(datasets: dict[str, Dataset]) -> None:
    from acdc_cli.data.beton.decode import decode_crops, resize

    loader = opened(datasets["as ImageNet"], "ffcv")["train"]
    read(loader, TRAIN)
    compiled = [len(function.signatures) for function in (decode_crops, resize)]
    for epoch, resolution in enumerate((32, 40, 48, 64)):
        assert read(loader, View(resolution, epoch))[0].shape[1:] == (resolution, resolution, 3)
    assert [len(function.signatures) for function in (decode_crops, resize)] == compiled


# What is not as it should be.


@pytest.fixture
def folder(datasets: dict[str, Dataset], tmp_path: Path) -> Path:
    """A folder to damage."""
    return Path(shutil.copytree(datasets["quality 100"].folder, tmp_path / "imagenet"))


def truncated(beton: Path) -> None:
    os.truncate(beton, beton.stat().st_size - 100)


def halved(beton: Path) -> None:
    os.truncate(beton, beton.stat().st_size // 2)


def emptied(beton: Path) -> None:
    os.truncate(beton, 0)


def removed(beton: Path) -> None:
    beton.unlink()


def a_text(beton: Path) -> None:
    beton.write_text("not a .beton\n" * 1000)


def of_another_split(beton: Path) -> None:
    shutil.copy(beton.with_name("train.beton"), beton)


def another_version(beton: Path) -> None:
    change(beton, 0, 3)


def another_number_of_fields(beton: Path) -> None:
    change(beton, 2, 3)


def a_field_of_another_name(beton: Path) -> None:
    content = beton.read_bytes()
    beton.write_bytes(content.replace(b"label", b"lable", 1))


def a_sample_outside_the_file(beton: Path) -> None:
    change(beton, beton.stat().st_size - 1, 0x7F)  # the last byte of the last sample's size


def change(path: Path, position: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(content)


DAMAGES = [
    truncated,
    halved,
    emptied,
    removed,
    a_text,
    of_another_split,
    another_version,
    another_number_of_fields,
    a_field_of_another_name,
    a_sample_outside_the_file,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_beton_that_is_cut_short_or_another_ones_is_missing_data(
    damage: Callable, folder: Path, datasets: dict[str, Dataset]
) -> None:
    damage(folder / "val.beton")
    with pytest.raises(DataMissing) as missing:
        opened(Dataset(folder, datasets["quality 100"].info), "ffcv")
    assert str(missing.value).startswith(f"{folder / 'val.beton'}: ") and "acdc-data prepare" in str(missing.value)
    assert "\n" not in str(missing.value)


def test_labels_of_more_classes_than_the_set_has_are_refused(folder: Path, datasets: dict[str, Dataset]) -> None:
    with pytest.raises(DataMissing, match="labels from 0 to 9 with 4 classes"):
        opened(Dataset(folder, datasets["quality 100"].info | {"classes": 4}), "ffcv")


def test_a_sample_that_cannot_be_decoded_is_named_and_leaves_no_thread(
    folder: Path, datasets: dict[str, Dataset]
) -> None:
    from acdc_cli.data.beton.index import read_index

    index = read_index(folder / "val.beton")
    start = int(index.starts[17])
    content = bytearray((folder / "val.beton").read_bytes())
    content[start : start + 200] = bytes(200)
    (folder / "val.beton").write_bytes(content)
    loader = opened(Dataset(folder, datasets["quality 100"].info), "ffcv", workers=2)["val"]
    with pytest.raises(DataMissing, match=r"val\.beton: sample 17 .*acdc-data prepare"):
        read(loader, VAL)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("ffcv")] == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named_in_one_line(workers: int, image_tree: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(image_tree, tmp_path / "tree"))
    dataset = prepare("imagenet", tree, tmp_path / "set", WriteOptions(None, 90, 0.0), 1)
    loader = opened(dataset, "torch", workers)["val"]
    path = tree / dataset.read_files()["val"].paths[11]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataMissing) as missing:
        read(loader, VAL)
    assert str(path) in str(missing.value) and "\n" not in str(missing.value)


# os_cache.


def resident(path: Path) -> float:
    """The share of a file's pages that are in memory, by mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    pages = -(-len(mapped) // mmap.PAGESIZE)
    found = (ctypes.c_ubyte * pages)()
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), found) == 0
    return sum(page & 1 for page in found) / pages


def test_without_os_cache_the_same_images_and_no_memory_kept(folder: Path, datasets: dict[str, Dataset]) -> None:
    dataset = Dataset(folder, datasets["quality 100"].info)
    beton = folder / "train.beton"
    with beton.open("rb") as file:
        os.fsync(file.fileno())  # only what is on the disk can be dropped
    expected, _ = read(opened(dataset, "ffcv")["train"], TRAIN)
    kept = resident(beton)
    found, _ = read(opened(dataset, "ffcv", os_cache=False)["train"], TRAIN)
    np.testing.assert_array_equal(found, expected)
    if kept == 1.0 and resident(beton) == 1.0:
        pytest.skip("this file system keeps its files in memory")
    assert resident(beton) < kept
