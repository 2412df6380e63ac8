"""How a loader is asked for images of any size: at which resolution, and cropped for training or for validation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """What an epoch's batches of image files look like. Sets of arrays have one size and ignore it.

    Attributes:
        resolution: height and width of the batches, in pixels.
        epoch: 0-based, for random crops of (seed, epoch, sample); None for validation's centre crops.
    """

    resolution: int
    epoch: int | None
