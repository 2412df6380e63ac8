"""Miniatures of the published data sets, prepared as the published ones are: a few random images in the same format."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.data.sets import cifar10, cifar100
from helpers.own_data import small_arrays, write_class_folders, write_idx, write_npz


def _archive(folder: Path, files: dict[str, list[str]], label_key: str, classes: int) -> Path:
    """Write the files of a CIFAR python archive, 12 images together for training and 4 for validation."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for split, count in (("train", 12), ("val", 4)):
        for name, numbers in zip(files[split], np.array_split(np.arange(count), len(files[split])), strict=True):
            content = {
                label_key: [int(number) % classes for number in numbers],
                "data": random.integers(0, 256, (len(numbers), 3 * 32 * 32), dtype=np.uint8),
            }
            (folder / name).write_bytes(pickle.dumps({key.encode(): value for key, value in content.items()}))
    return folder


def image_folders(folder: Path) -> Path:
    """Write FOLDER/{train,val}/CLASS/N.JPEG: 12 and 4 images of 80x72 pixels, of two classes."""
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for label in ("n01440764", "n01443537"):
            for number in range(count):
                path = folder / split / label / f"{label}_{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 256, (72, 80, 3), dtype=np.uint8)).save(path)
    return folder


SOURCES: dict[str, Callable[[Path], Path]] = {
    "cifar10": lambda folder: _archive(folder, cifar10.FILES, "labels", 10),
    "cifar100": lambda folder: _archive(folder, cifar100.FILES, "fine_labels", 100),
    "imagenet": image_folders,
    "fashion_mnist": lambda folder: write_idx(folder, small_arrays()),
    "idx": lambda folder: write_idx(folder, small_arrays()),
    "arrays": lambda folder: write_npz(folder.with_suffix(".npz"), small_arrays()),
    "folder": write_class_folders,
}


def prepare_miniature(name: str, sources: Path, data_dir: Path) -> list[str]:
    """Prepare a miniature of a data set in ``data_dir``, once; an embedded set is taken as it is.

    Returns:
        What is typed besides ``dataset=NAME``: where data of the user's own are.
    """
    source = sources / name if name in SOURCES else None
    is_own = name in ("fashion_mnist", "idx", "arrays", "folder")
    if source is not None:
        source = source.with_suffix(".npz") if name == "arrays" else source
        if not source.exists():
            SOURCES[name](sources / name)
    if is_own:
        return [f"dataset.source={source}"]
    if not (data_dir / name).exists():
        prepare(name, source, data_dir / name, workers=1)
    return []
