"""Where images are cropped: pure functions of (seed, epoch, sample) and an image's size, the same for every loader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acdc_cli.data.order import uniform
from acdc_cli.data.view import View

ATTEMPTS = 10  # as torchvision and FFCV: then the largest central crop of an allowed shape
ASPECT_RATIO_MIN, ASPECT_RATIO_MAX = 3 / 4, 4 / 3  # width / height, as torchvision and FFCV
FIRST_DRAW = 16  # of a sample in an epoch; the draws below it are loading/input_step.py's
AREA, SHAPE, ROW, COLUMN = range(4)  # the draws of an attempt


@dataclass(frozen=True)
class Crops:
    """Random resized crops for training, centre crops for validation.

    Attributes:
        seed: of the random crops.
        scale_min: the least share of an image's area that a random crop covers.
        resize_ratio: side of the centre crop over the image's shorter side (224 of 256 pixels: 0.875).
    """

    seed: int
    scale_min: float
    resize_ratio: float

    def rectangles(self, view: View, samples: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Rows of (top, left, height, width), int64 (N, 4), for samples (N,) of these sizes in pixels."""
        heights, widths = np.asarray(heights, np.int64), np.asarray(widths, np.int64)
        if view.epoch is None:
            return centre_crops(heights, widths, self.resize_ratio)
        return random_resized_crops(self.seed, view.epoch, samples, heights, widths, self.scale_min)


def centre_crops(heights: np.ndarray, widths: np.ndarray, resize_ratio: float) -> np.ndarray:
    """The central square whose side is ``resize_ratio`` of the shorter side, rounded down (ffcv-imagenet)."""
    side = np.maximum((resize_ratio * np.minimum(heights, widths)).astype(np.int64), 1)
    return np.stack([(heights - side) // 2, (widths - side) // 2, side, side], axis=1)


def random_resized_crops(
    seed: int, epoch: int, samples: np.ndarray, heights: np.ndarray, widths: np.ndarray, scale_min: float
) -> np.ndarray:
    """A share of the area uniform in [scale_min, 1], a shape log-uniform in [3/4, 4/3], a place uniform in the image.

    Drawn again up to ten times while it does not fit, then the largest central crop whose shape is allowed
    (Szegedy et al. 2015; torchvision's ``RandomResizedCrop``, FFCV's ``get_random_crop``).
    """
    crops = _largest_central(heights, widths)
    left = np.arange(len(crops))  # without a crop so far
    for attempt in range(ATTEMPTS):
        draws = [uniform(seed, epoch, samples[left], FIRST_DRAW + 4 * attempt + draw) for draw in range(4)]
        area = heights[left] * widths[left] * (scale_min + (1 - scale_min) * draws[AREA])
        low, high = np.log(ASPECT_RATIO_MIN), np.log(ASPECT_RATIO_MAX)
        ratio = np.exp(low + (high - low) * draws[SHAPE])
        height, width = (np.rint(np.sqrt(side)).astype(np.int64) for side in (area / ratio, area * ratio))
        fits = (height > 0) & (height <= heights[left]) & (width > 0) & (width <= widths[left])
        top = (draws[ROW] * (heights[left] - height + 1)).astype(np.int64)
        start = (draws[COLUMN] * (widths[left] - width + 1)).astype(np.int64)
        crops[left[fits]] = np.stack([top, start, height, width], axis=1)[fits]
        left = left[~fits]
        if not len(left):
            break
    return crops


def _largest_central(heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    height = np.minimum(heights, np.rint(widths / ASPECT_RATIO_MIN).astype(np.int64))
    width = np.minimum(widths, np.rint(heights * ASPECT_RATIO_MAX).astype(np.int64))
    return np.stack([(heights - height) // 2, (widths - width) // 2, height, width], axis=1)


def written_size(height: int, width: int, max_resolution: int | None) -> tuple[int, int]:
    """(height, width) of an image that FFCV's writer has shrunk so that no side is longer than ``max_resolution``."""
    if max_resolution is None or max(height, width) <= max_resolution:
        return height, width
    ratio = max_resolution / max(height, width)
    return int(ratio * height), int(ratio * width)
