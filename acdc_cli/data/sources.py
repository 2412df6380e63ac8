"""The images as their publishers ship them: where each data set's samples come from, and how they are split."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from acdc_cli.errors import DataMissing

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Samples:
    """Images (N, height, width, channels) uint8 and labels (N,) int64, in the set's own order."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class ImageSet:
    """What a model has to know about a data set, and a plan without having it.

    Attributes:
        sample_shape: (channels, height, width).
    """

    summary: str
    sample_shape: tuple[int, int, int]
    classes: int


@dataclass(frozen=True)
class Source(ImageSet):
    """A data set that can be prepared.

    Attributes:
        embedded: needs no folder; prepared by acdc-train itself on first use.
        read: (folder or None) -> {"train": Samples, "val": Samples}. Raises DataMissing.
        describe: (split) -> what dataset.json says of the split's samples: their list, or the files they fill.
    """

    embedded: bool
    read: Callable[[Path | None], dict[str, Samples]]
    describe: Callable[[str], Any]


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
        f"CIFAR-{classes}, python archive {archive}", (3, 32, 32), classes, False, read, lambda split: files[split]
    )


SOURCES = {
    "digits": Source(
        "1,797 handwritten digits of 8x8 pixels, inside scikit-learn",
        (1, 8, 8),
        10,
        True,
        _read_digits,
        _describe_digits,
    ),
    "cifar10": _archive_source(
        10,
        "cifar-10-batches-py",
        {"train": [f"data_batch_{part}" for part in range(1, 6)], "val": ["test_batch"]},
        b"labels",
    ),
    "cifar100": _archive_source(100, "cifar-100-python", {"train": ["train"], "val": ["test"]}, b"fine_labels"),
}
# Planned for now and prepared later: there are no loaders for them yet.
PLANNED_ONLY = {"imagenet": ImageSet("ImageNet-1K (ILSVRC 2012), at 224 pixels", (3, 224, 224), 1000)}
IMAGE_SETS: dict[str, ImageSet] = {**SOURCES, **PLANNED_ONLY}


def require_preparable(name: str) -> None:
    """Raise DataMissing for a data set that this version can plan with and cannot read."""
    if name in PLANNED_ONLY:
        raise DataMissing(
            f"dataset={name}: this version can plan runs on it (plan=true) and neither prepare nor read it yet; "
            f"it can train on {', '.join(SOURCES)}"
        )
