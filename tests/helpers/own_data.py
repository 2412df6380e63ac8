"""Small data sets of one's own: idx files written byte by byte, .npz files, and class folders."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image

Arrays = dict[str, np.ndarray]
IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_val": "t10k-images-idx3-ubyte",
    "y_val": "t10k-labels-idx1-ubyte",
}


def small_arrays(height: int = 28, width: int = 28, seed: int = 0) -> Arrays:
    """60 and 20 random images of 10 classes, each class in both splits."""
    random = np.random.default_rng(seed)
    arrays: Arrays = {}
    for split, count in (("train", 60), ("val", 20)):
        arrays[f"x_{split}"] = random.integers(0, 256, (count, height, width), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 10
    return arrays


def idx_bytes(array: np.ndarray) -> bytes:
    """http://yann.lecun.com/exdb/mnist: 0, 0, 8 for unsigned bytes, the number of dimensions, lengths, values."""
    lengths = b"".join(struct.pack(">I", length) for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, arrays: Arrays, dot: bool = False, gzipped: bool = False) -> Path:
    """The four files, with a dot before idx, gzipped, or neither."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, name in IDX_NAMES.items():
        content = idx_bytes(arrays[key])
        name = name.replace("-idx", ".idx") if dot else name
        (folder / f"{name}{'.gz' if gzipped else ''}").write_bytes(gzip.compress(content) if gzipped else content)
    return folder


def write_npz(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


def write_class_folders(folder: Path, classes: int = 3, images: int = 10, seed: int = 0) -> Path:
    """FOLDER/CLASS/N.png, 20x24 pixels; the last image of each class one folder deeper."""
    random = np.random.default_rng(seed)
    for label in range(classes):
        for number in range(images):
            below = "more" if number == images - 1 else "."
            path = folder / f"class {label}" / below / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return folder
