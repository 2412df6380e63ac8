"""Images and labels in one .npz file of NumPy: x_train, y_train, x_val, y_val."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from acdc_cli.data.preparing.image_arrays import samples_from
from acdc_cli.data.source import Samples
from acdc_cli.errors import DataMissing

NAMES = {"train": ("x_train", "y_train"), "val": ("x_val", "y_val")}


def npz_files(path: Path) -> list[Path]:
    """Return the file. Raises DataMissing if there is none."""
    if not path.is_file():
        raise DataMissing(f"{path}: no such file; dataset.source names a .npz file with {_all_names()}")
    return [path]


def _all_names() -> str:
    return ", ".join(name for names in NAMES.values() for name in names)


def read_npz(path: Path, pad_to: int | None = None) -> dict[str, Samples]:
    """Read the samples of both splits. A pickle inside the file is refused, not run.

    Args:
        pad_to: see ``image_arrays.padded``.

    Raises:
        DataMissing: if the file cannot be read, or does not hold such arrays.
    """
    npz_files(path)
    if not zipfile.is_zipfile(path):
        raise DataMissing(f"{path}: not a .npz file, which is a zip archive; write it with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as content:
            missing = [name for names in NAMES.values() for name in names if name not in content.files]
            if missing:
                there = ", ".join(content.files) or "nothing"
                raise DataMissing(f"{path}: has no {', '.join(missing)}; it has {there}, and needs {_all_names()}")
            arrays = {split: (content[images], content[labels]) for split, (images, labels) in NAMES.items()}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataMissing(f"{path}: not a .npz file of plain arrays ({reason}); write it with numpy.savez") from None
    return samples_from(path, arrays, NAMES, pad_to)
