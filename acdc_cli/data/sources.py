"""The images as their publishers ship them: where each data set's samples come from, and how they are split."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from acdc_cli.data.image_files import SPLITS
from acdc_cli.data.patches import CROPS, PHOTOGRAPHS, make_patches
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import DataMissing

__all__ = ["SOURCES", "SPLITS", "Arrays", "Samples", "Source", "Tree"]


@dataclass(frozen=True)
class Samples:
    """Images (N, height, width, channels) uint8 and labels (N,) int64, in the set's own order."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Arrays:
    """Images of one size, read into memory.

    Attributes:
        read: (folder or None) -> {"train": Samples, "val": Samples}. Raises DataMissing.
        describe: (split) -> what dataset.json says of the split's samples: their list, or the files they fill.
    """

    read: Callable[[Path | None], dict[str, Samples]]
    describe: Callable[[str], Any]


@dataclass(frozen=True)
class Tree:
    """Image files of any size in a folder tree, {train,val}/CLASS/.

    Attributes:
        make: for an embedded set, (folder) -> writes the tree there. Raises DataMissing.
        write: unless the command line says otherwise.
        mean, std: per channel, of pixels in [0, 1]; None: measured.
    """

    make: Callable[[Path], None] | None
    write: WriteOptions
    mean: list[float] | None
    std: list[float] | None


@dataclass(frozen=True)
class Source:
    """A data set that can be prepared, and what a plan has to know about it without having it.

    Attributes:
        sample_shape: (channels, height, width); of a tree, at the usual resolution of evaluation.
        classes, train_samples: as published; a tree that was prepared has as many as it has folders and files.
        embedded: needs no folder; prepared by acdc-train itself on first use.
    """

    summary: str
    sample_shape: tuple[int, int, int]
    classes: int
    train_samples: int
    embedded: bool
    data: Arrays | Tree


def _digits_split() -> tuple[Any, dict[str, np.ndarray]]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, val = train_test_split(np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0)
    return digits, {"train": train, "val": val}


def _read_digits(folder: Path | None) -> dict[str, Samples]:
    digits, split = _digits_split()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # 17 grey levels, 0 to 16
    return {name: Samples(pixels[index], digits.target[index].astype(np.int64)) for name, index in split.items()}


def _describe_digits(split: str) -> list[int]:
    return [int(index) for index in _digits_split()[1][split]]


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays, strings and containers; a pickle that asks for anything else is refused, not run."""

    ALLOWED: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"): ("numpy", "ndarray"),
        ("numpy", "dtype"): ("numpy", "dtype"),
        ("_codecs", "encode"): ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(*self.ALLOWED[module, name])


def _read_archive_file(path: Path, label_key: bytes, classes: int) -> Samples:
    """One file of a CIFAR python archive: rows of 3 x 32 x 32 bytes, channel by channel."""
    try:
        content = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        images = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.asarray(content[label_key], dtype=np.int64)
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images but {len(labels)} labels")
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"labels from {labels.min()} to {labels.max()}, not 0 to {classes - 1}")
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataMissing(
            f"{path}: not a file of the CIFAR-{classes} python archive ({reason}); unpack the archive again and run "
            f"acdc-data prepare cifar{classes} --source {path.parent}"
        ) from None
    return Samples(np.ascontiguousarray(images), labels)


def _archive_source(classes: int, archive: str, files: dict[str, list[str]], label_key: bytes) -> Source:
    name = f"cifar{classes}"

    def read(folder: Path | None) -> dict[str, Samples]:
        if folder is None:
            raise DataMissing(f"{name}: needs its folder: acdc-data prepare {name} --source DIR/{archive}")
        root = folder / archive if (folder / archive).is_dir() else folder
        for path in (root / file for split in SPLITS for file in files[split]):
            if not path.is_file():
                raise DataMissing(
                    f"{path}: missing; unpack the published python archive {archive} there and run "
                    f"acdc-data prepare {name} --source {folder}"
                )
        parts = {
            split: [_read_archive_file(root / file, label_key, classes) for file in files[split]] for split in SPLITS
        }
        return {
            split: Samples(
                np.concatenate([part.images for part in part_list]), np.concatenate([part.labels for part in part_list])
            )
            for split, part_list in parts.items()
        }

    return Source(
        f"CIFAR-{classes}, python archive {archive}",
        (3, 32, 32),
        classes,
        50_000,
        False,
        Arrays(read, lambda split: files[split]),
    )


SOURCES = {
    "digits": Source(
        "1,797 handwritten digits of 8x8 pixels, inside scikit-learn",
        (1, 8, 8),
        10,
        1437,
        True,
        Arrays(_read_digits, _describe_digits),
    ),
    "patches": Source(
        f"crops of {len(PHOTOGRAPHS)} photographs inside scikit-learn and scikit-image: which one is it from?",
        (3, 64, 64),
        len(PHOTOGRAPHS),
        len(PHOTOGRAPHS) * CROPS["train"],
        True,
        Tree(lambda folder: make_patches(folder, CROPS), WriteOptions(None, 95, 0.0), None, None),
    ),
    "cifar10": _archive_source(
        10,
        "cifar-10-batches-py",
        {"train": [f"data_batch_{part}" for part in range(1, 6)], "val": ["test_batch"]},
        b"labels",
    ),
    "cifar100": _archive_source(100, "cifar-100-python", {"train": ["train"], "val": ["test"]}, b"fine_labels"),
    "imagenet": Source(
        "ImageNet-1K (ILSVRC 2012), or any tree DIR/train/CLASS/ and DIR/val/CLASS/ of images",
        (3, 224, 224),
        1000,
        1_281_167,
        False,
        # ffcv-imagenet's write_imagenet.sh 500 0.50 90, and the mean and deviation that everyone normalises with.
        Tree(None, WriteOptions(500, 90, 0.5), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ),
}
