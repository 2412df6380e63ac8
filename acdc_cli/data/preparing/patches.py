"""Crops of the photographs that come with scikit-learn and scikit-image, as JPEG files; the class is the photograph.

Training crops lie on one side of a photograph and validation crops on the other, so that a network has to know what a
photograph looks like and cannot remember a place in it. No draw depends on a library's generator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acdc_cli.data.order import uniform
from acdc_cli.errors import DataMissing, reason

TRAIN_SHARE = 0.65  # of the longer side
SHORTEST, LONGEST = 48, 128  # sides of a crop, pixels
JPEG_QUALITY = 92
SPLIT_SEEDS = {"train": 0, "val": 1}
ROW, COLUMN, HEIGHT, WIDTH = range(4)  # draws of a crop


def _from_scikit_learn(name: str) -> np.ndarray:
    from sklearn.datasets import load_sample_image

    return load_sample_image(name)


def _from_scikit_image(name: str) -> np.ndarray:
    try:
        from skimage import data
    except ImportError:
        raise DataMissing(
            "patches: eight of its ten photographs are inside scikit-image, which is not installed; "
            f"run: {sys.executable} -m pip install scikit-image"
        ) from None
    try:
        image = getattr(data, name)()
    except Exception as error:  # it would look for a photograph it no longer ships on the net
        raise DataMissing(
            f"patches: scikit-image has no photograph {name} in it ({reason(error)}); "
            f"run: {sys.executable} -m pip install 'scikit-image==0.26.*'"
        ) from None
    return image[0] if isinstance(image, tuple) else image  # of a stereo pair the left one


# class -> (who has it, under which name); the classes' order is that of their names.
PHOTOGRAPHS: dict[str, tuple[Callable[[str], np.ndarray], str]] = {
    "astronaut": (_from_scikit_image, "astronaut"),
    "cat": (_from_scikit_image, "chelsea"),
    "coffee": (_from_scikit_image, "coffee"),
    "flower": (_from_scikit_learn, "flower.jpg"),
    "galaxies": (_from_scikit_image, "hubble_deep_field"),
    "motorcycle": (_from_scikit_image, "stereo_motorcycle"),
    "retina": (_from_scikit_image, "retina"),
    "rocket": (_from_scikit_image, "rocket"),
    "temple": (_from_scikit_learn, "china.jpg"),
    "tissue": (_from_scikit_image, "immunohistochemistry"),
}


def side(photograph: np.ndarray, split: str) -> np.ndarray:
    """The part of a photograph (height, width, 3) that a split's crops come from."""
    axis = int(np.argmax(photograph.shape[:2]))
    border = round(TRAIN_SHARE * photograph.shape[axis])
    part = slice(None, border) if split == "train" else slice(border, None)
    return photograph[part] if axis == 0 else photograph[:, part]


def crop_boxes(label: int, split: str, count: int, height: int, width: int) -> np.ndarray:
    """(count, 4) of (top, left, height, width) inside an area of that size, for the crops of a class."""
    draws = [uniform(SPLIT_SEEDS[split], label, np.arange(count), draw) for draw in (ROW, COLUMN, HEIGHT, WIDTH)]
    crop_height, crop_width = (
        (SHORTEST + draws[draw] * (min(LONGEST, limit) - SHORTEST + 1)).astype(int)
        for draw, limit in ((HEIGHT, height), (WIDTH, width))
    )
    top = (draws[ROW] * (height - crop_height + 1)).astype(int)
    left = (draws[COLUMN] * (width - crop_width + 1)).astype(int)
    return np.stack([top, left, crop_height, crop_width], axis=1)


def make_patches(folder: Path, crops: dict[str, int]) -> None:
    """Write FOLDER/{train,val}/CLASS/NNNN.jpg.

    Args:
        crops: of each photograph, by split.

    Raises:
        DataMissing: if a photograph is not there, naming what to install.
        OSError: if the folder cannot be written.
    """
    from PIL import Image

    photographs = {name: read(key) for name, (read, key) in sorted(PHOTOGRAPHS.items())}
    for split, count in crops.items():
        for label, (name, photograph) in enumerate(photographs.items()):
            area = side(photograph, split)
            target = folder / split / name
            target.mkdir(parents=True, exist_ok=True)
            for number, (top, left, height, width) in enumerate(crop_boxes(label, split, count, *area.shape[:2])):
                crop = np.ascontiguousarray(area[top : top + height, left : left + width])
                Image.fromarray(crop).save(target / f"{number:04d}.jpg", quality=JPEG_QUALITY)
