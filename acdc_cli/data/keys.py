"""The keys that data sets of one kind have in common. A data set's own file adds those that only it has."""

from __future__ import annotations

from dataclasses import dataclass, field

from acdc_cli.errors import BadInput
from acdc_cli.options import number

RAMP = ("ramp_start", "ramp_end", "resolution_multiple")


@dataclass(kw_only=True)
class ArrayKeys:
    """How images of one size are augmented.

    Attributes:
        crop_padding: pixels of zeros on each side before a random crop back to size; 0: no crops.
        flip: random left-right flip.
    """

    crop_padding: int = number(0, example=0)
    flip: bool = field()


@dataclass(kw_only=True)
class ImageFileKeys:
    """How image files of any size are cropped, resized and augmented.

    Attributes:
        flip: random left-right flip.
        resolution: of evaluation, in pixels; of training too, where the next two are null.
        train_resolution_start: of the first epochs, in pixels.
        train_resolution_end: of the last epochs, in pixels.
        ramp_start: fraction of the run up to which the training resolution is the first one.
        ramp_end: fraction of the run from which on it is the last one.
        resolution_multiple: the resolutions in between are multiples of it.
        resize_ratio: side of the centre crop of evaluation over the image's shorter side.
        crop_scale_min: smallest share of the image's area that a random resized crop takes.
    """

    flip: bool = field()
    resolution: int = number(1, example=224)
    train_resolution_start: int | None = number(1, default=None)
    train_resolution_end: int | None = number(1, default=None)
    ramp_start: float | None = number(0, 1, default=None)
    ramp_end: float | None = number(0, 1, default=None)
    resolution_multiple: int | None = number(1, default=None)
    resize_ratio: float = number(0, 1, above=True, example=0.875)
    crop_scale_min: float = number(0, 1, above=True, example=0.08)

    def ramp(self) -> tuple[int, int, float, float, int] | None:
        """Return the five keys of the training resolution in the order of the class; None where they are null."""
        start, end, multiple = self.train_resolution_start, self.train_resolution_end, self.resolution_multiple
        if start is None or end is None or self.ramp_start is None or self.ramp_end is None or multiple is None:
            return None
        return start, end, self.ramp_start, self.ramp_end, multiple

    def check(self) -> None:
        """Raise BadInput where the keys of the training resolution contradict each other."""
        start, end = self.train_resolution_start, self.train_resolution_end
        if (start is None) != (end is None):
            missing, there = ("start", end) if start is None else ("end", start)
            raise BadInput(
                f"dataset.train_resolution_{missing}=null: both ends of the ramp or none; nearest: "
                f"dataset.train_resolution_{missing}={there}"
            )
        if start is None:
            for key in RAMP[:2]:
                if (value := getattr(self, key)) is not None:
                    raise BadInput(
                        f"dataset.{key}={value}: there is no ramp without both its ends; "
                        "add dataset.train_resolution_start and dataset.train_resolution_end, such as 160 and 192"
                    )
            return
        for key, example in zip(RAMP, (0.74, 0.86, 32), strict=True):
            if getattr(self, key) is None:
                raise BadInput(f"dataset.{key}=null: a training resolution needs it, such as dataset.{key}={example}")
        if self.ramp_start > self.ramp_end:  # type: ignore[operator]
            raise BadInput(
                f"dataset.ramp_start={self.ramp_start}: after dataset.ramp_end={self.ramp_end}; nearest: "
                f"dataset.ramp_start={self.ramp_end}"
            )
