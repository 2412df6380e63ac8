"""The idx format in which MNIST and its kin are published: http://yann.lecun.com/exdb/mnist.

A file is two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of dimensions, a big-endian
32-bit number for the length of each of them, and the values.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from acdc_cli.data.preparing.image_arrays import samples_from
from acdc_cli.data.source import SPLITS, Samples
from acdc_cli.errors import DataMissing

UNSIGNED_BYTES = 8
NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "val": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def idx_files(folder: Path) -> list[Path]:
    """Return the four files of a folder: the published names, with - or . before idx, gzipped or not.

    Raises:
        DataMissing: naming one that is not there.
    """
    return [_found(folder, name) for split in SPLITS for name in NAMES[split]]


def _found(folder: Path, name: str) -> Path:
    spellings = [name, name.replace("-idx", ".idx")]
    for candidate in (folder / f"{spelling}{end}" for spelling in spellings for end in ("", ".gz")):
        if candidate.is_file():
            return candidate
    what = "missing" if folder.is_dir() else "no such folder"
    raise DataMissing(
        f"{folder / name if folder.is_dir() else folder}: {what}; dataset.source names a folder with "
        f"{', '.join(name for split in SPLITS for name in NAMES[split])}, each as it is or with .gz"
    )


def read_idx(folder: Path, pad_to: int | None = None) -> dict[str, Samples]:
    """Read the samples of both splits; t10k is the validation set.

    Args:
        pad_to: see ``image_arrays.padded``.

    Raises:
        DataMissing: if a file is missing, damaged, or of another kind.
    """
    files = idx_files(folder)
    images, labels = [read_idx_file(path, 3) for path in files[::2]], [read_idx_file(path, 1) for path in files[1::2]]
    arrays = dict(zip(SPLITS, zip(images, labels, strict=True), strict=True))
    return samples_from(folder, arrays, NAMES, pad_to)


def read_idx_file(path: Path, dimensions: int) -> np.ndarray:
    """Read one file of unsigned bytes. Raises DataMissing if it is damaged, or of another kind."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        header = 4 + 4 * dimensions
        if len(content) < header or content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or content[3] != dimensions:
            raise ValueError(f"it does not begin as an idx file of unsigned bytes in {dimensions} dimensions does")
        shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(np.int64)
        if len(content) - header != shape.prod():
            raise ValueError(f"{len(content) - header} bytes follow its header, which says {'x'.join(map(str, shape))}")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataMissing(f"{path}: not an idx file ({' '.join(str(error).split())}); get it again") from None
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
