"""Mean and deviation of the pixels of a data set, from how often each of the 256 levels occurs."""

from __future__ import annotations

import numpy as np

LEVELS = 256
IMAGES_A_TIME = 4096


def level_counts(images: np.ndarray) -> np.ndarray:
    """Count every level by channel: uint8 (N, height, width, channels) -> int64 (channels, 256)."""
    counts = np.zeros((images.shape[-1], LEVELS), np.int64)
    for start in range(0, len(images), IMAGES_A_TIME):
        for channel in range(images.shape[-1]):
            part = images[start : start + IMAGES_A_TIME, ..., channel]
            counts[channel] += np.bincount(part.ravel(), minlength=LEVELS)
    return counts


def moments(counts: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean and the deviation of each channel, of pixels in [0, 1], from its counts (channels, 256)."""
    levels = np.arange(LEVELS) / (LEVELS - 1)
    mean = counts @ levels / counts.sum(axis=1)
    square = counts @ levels**2 / counts.sum(axis=1)
    return mean.tolist(), np.sqrt(np.maximum(square - mean**2, 0)).tolist()
