"""Arrays of images and labels from outside: what is accepted, and how it becomes samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acdc_cli.data.source import SPLITS, Samples
from acdc_cli.errors import BadInput, DataMissing

FORM = "uint8 images, N x height x width, or N x height x width x channels"


def samples_from(
    path: Path, arrays: dict[str, tuple[np.ndarray, np.ndarray]], names: dict[str, tuple[str, str]], pad_to: int | None
) -> dict[str, Samples]:
    """Check arrays of both splits and return them as samples.

    Args:
        path: of the file or folder that they are from, for messages.
        arrays: split -> (images, labels).
        names: split -> what the two are called there, for messages.
        pad_to: see ``padded``.

    Raises:
        DataMissing: on arrays of another kind or shape, saying what is wrong in one line.
        BadInput: if ``pad_to`` is smaller than the images.
    """
    samples = {split: _checked(path, *arrays[split], *names[split]) for split in SPLITS}
    train, val = (samples[split].images.shape[1:] for split in SPLITS)
    if train != val:
        shapes = " and ".join("x".join(map(str, shape)) for shape in (train, val))
        raise DataMissing(
            f"{path}: {names['train'][0]} and {names['val'][0]} have images of {shapes}; one shape is needed"
        )
    if max(int(samples[split].labels.max()) for split in SPLITS) < 1:
        raise DataMissing(f"{path}: all labels are 0; there have to be at least two classes")
    padded_samples = {split: Samples(padded(one.images, pad_to), one.labels) for split, one in samples.items()}
    height, width = padded_samples["train"].images.shape[1:3]
    if height != width:
        longer = max(height, width)
        raise DataMissing(f"{path}: images of {height}x{width} pixels are not square; add dataset.pad_to={longer}")
    return padded_samples


def _checked(path: Path, images: np.ndarray, labels: np.ndarray, images_name: str, labels_name: str) -> Samples:
    shape = "x".join(map(str, images.shape))
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataMissing(f"{path}: {images_name} is {images.dtype} of shape {shape}; needed are {FORM}")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        raise DataMissing(f"{path}: {images_name} has shape {shape}: the channels go last; needed are {FORM}")
    if not images.size:
        raise DataMissing(f"{path}: {images_name} has shape {shape}: there are no pixels in it")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        of_labels = "x".join(map(str, labels.shape))
        raise DataMissing(
            f"{path}: {labels_name} is {labels.dtype} of shape {of_labels}; needed is one whole number an image"
        )
    if len(labels) != len(images):
        raise DataMissing(f"{path}: {len(images)} images in {images_name}, but {len(labels)} labels in {labels_name}")
    if labels.min() < 0:
        raise DataMissing(f"{path}: {labels_name} has the label {labels.min()}; labels are whole numbers from 0")
    images = images if images.ndim == 4 else images[..., None]
    return Samples(np.require(images, requirements=["C", "W"]), labels.astype(np.int64))  # torch wants them writable


def padded(images: np.ndarray, pad_to: int | None) -> np.ndarray:
    """Return images (N, height, width, channels) with zeros around them.

    Args:
        pad_to: height and width afterwards; an odd row or column goes below or to the right. None: no padding.

    Raises:
        BadInput: if the images are larger than that.
    """
    if pad_to is None:
        return images
    height, width = images.shape[1:3]
    if pad_to < max(height, width):
        raise BadInput(
            f"dataset.pad_to={pad_to}: smaller than the images, {height}x{width} pixels; nearest: "
            f"dataset.pad_to={max(height, width)}"
        )
    around = [(missing // 2, missing - missing // 2) for missing in (pad_to - height, pad_to - width)]
    return np.pad(images, [(0, 0), *around, (0, 0)])
