"""From a loader's uint8 images to the model's input: augmentation and normalisation, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from acdc_cli.data.order import uniform

CROP_ROW, CROP_COLUMN, FLIP = range(3)  # the draws of a sample in an epoch


@dataclass(frozen=True)
class Augmentation:
    """Random crop after zero padding, and random left-right flip, keyed by (seed, epoch, sample)."""

    crop_padding: int
    flip: bool
    seed: int

    def __call__(self, images: Tensor, samples: np.ndarray, epoch: int) -> Tensor:
        """Augment a batch (N, height, width, channels) of the given sample indices (N,)."""
        if not self.crop_padding:
            return _flipped(images, uniform(self.seed, epoch, samples, FLIP) < 0.5) if self.flip else images
        count, height, width, _ = images.shape
        rows = np.arange(height)[None, :].repeat(count, axis=0)
        columns = np.arange(width)[None, :].repeat(count, axis=0)
        images = F.pad(images, (0, 0, *([self.crop_padding] * 4)))
        offsets = 2 * self.crop_padding + 1
        rows = rows + (uniform(self.seed, epoch, samples, CROP_ROW) * offsets).astype(np.int64)[:, None]
        columns = columns + (uniform(self.seed, epoch, samples, CROP_COLUMN) * offsets).astype(np.int64)[:, None]
        if self.flip:
            flipped = uniform(self.seed, epoch, samples, FLIP) < 0.5
            columns = np.where(flipped[:, None], columns[:, ::-1], columns)
        batch = torch.arange(count, device=images.device)[:, None, None]
        row = _on(images.device, rows)[:, :, None]
        column = _on(images.device, columns)[:, None, :]
        return images[batch, row, column]


def _flipped(images: Tensor, flipped: np.ndarray) -> Tensor:
    if images.device.type == "cpu":  # image by image they stay in the cache: several times faster than the whole batch
        return torch.stack([image.flip(1) if flip else image for image, flip in zip(images, flipped, strict=True)])
    return torch.where(_on(images.device, flipped)[:, None, None, None], images.flip(2), images)


def _on(device: torch.device, array: np.ndarray) -> Tensor:
    """Without making the host wait for the device."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@cache
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Mean and inverse deviation of pixels in [0, 255]; copied to the device once."""
    means = torch.tensor(mean, device=device, dtype=dtype)
    return means * 255, 1 / (torch.tensor(std, device=device, dtype=dtype) * 255)


@dataclass(frozen=True)
class Normalization:
    """(pixel / 255 - mean) / std per channel."""

    mean: Sequence[float]
    std: Sequence[float]
    channels_last: bool
    dtype: torch.dtype = torch.float32

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, height, width, channels) -> dtype (N, channels, height, width)."""
        mean, scale = _constants(tuple(self.mean), tuple(self.std), images.device, self.dtype)
        normal = ((images.to(self.dtype) - mean) * scale).permute(0, 3, 1, 2)
        return normal if self.channels_last else normal.contiguous()
