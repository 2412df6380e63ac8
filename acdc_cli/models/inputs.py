"""What a model is built for: the shape of the images, and how many classes they have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageInputs:
    """What an image classifier is built for.

    Attributes:
        channels: of an image.
        height: of an image, in pixels, at the resolution of evaluation.
        width: of an image, in pixels.
        classes: the model gives so many logits.
    """

    channels: int
    height: int
    width: int
    classes: int
