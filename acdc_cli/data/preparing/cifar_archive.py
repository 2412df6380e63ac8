"""The CIFAR python archives: pickles of Python 2, read without running what they ask for."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from acdc_cli.data.source import SPLITS, Samples
from acdc_cli.errors import DataMissing


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


def read_archive(
    folder: Path | None, archive: str, files: dict[str, list[str]], label_key: bytes, classes: int
) -> dict[str, Samples]:
    """Read a CIFAR python archive.

    Args:
        folder: the unpacked archive, or the folder that it was unpacked in.
        archive: name of the unpacked folder.
        files: of each split.
        label_key: the labels' key in each file.
        classes: labels have to be below it; the data set is called cifar10 or cifar100 by it.

    Raises:
        DataMissing: if a file is missing, or is not one of the archive.
    """
    name = f"cifar{classes}"
    if folder is None:
        raise DataMissing(f"{name}: needs its folder: acdc-data prepare {name} --source DIR/{archive}")
    root = folder / archive if (folder / archive).is_dir() else folder
    for path in (root / file for split in SPLITS for file in files[split]):
        if not path.is_file():
            raise DataMissing(
                f"{path}: missing; unpack the published python archive {archive} there and run "
                f"acdc-data prepare {name} --source {folder}"
            )
    parts = {split: [_read_file(root / file, label_key, classes) for file in files[split]] for split in SPLITS}
    return {split: _joined(part_list) for split, part_list in parts.items()}


def _joined(parts: list[Samples]) -> Samples:
    images, labels = [part.images for part in parts], [part.labels for part in parts]
    return Samples(np.concatenate(images), np.concatenate(labels))


def _read_file(path: Path, label_key: bytes, classes: int) -> Samples:
    """Read one file of the archive: rows of 3 x 32 x 32 bytes, channel by channel."""
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
