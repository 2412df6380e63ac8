"""From the data set's keys to the resolution of every epoch: progressive resizing as ffcv-imagenet does it."""

from __future__ import annotations

from acdc_cli.config import Config, DatasetConfig, known
from acdc_cli.data.view import View
from acdc_cli.errors import BadInput

RAMP = ("ramp_start", "ramp_end", "resolution_multiple")
DIGITS_KEPT = 9  # of an interpolated resolution: 65/88 of 88 epochs is 65 epochs


def training_resolution(
    epoch: int, epochs: int, start: int, end: int, ramp_start: float, ramp_end: float, multiple: int
) -> int:
    """The training resolution of an epoch: ``start``, then a linear ramp rounded to a multiple, then ``end``.

    Args:
        epoch: 0-based, of ``epochs``.
        start, end: pixels, themselves not rounded; the end may be the smaller one.
        ramp_start, ramp_end: fractions of the run; up to the first it is ``start``, from the second on ``end``.
        multiple: what the resolutions of the ramp are multiples of, as far as start and end leave room.

    Source: ``get_resolution`` of libffcv/ffcv-imagenet (a half is rounded to the even multiple).
    """
    first, last = ramp_start * epochs, ramp_end * epochs
    if epoch <= round(first, DIGITS_KEPT):
        return start
    if epoch >= round(last, DIGITS_KEPT):
        return end
    between = round(start + (end - start) * (epoch - first) / (last - first), DIGITS_KEPT)
    return min(max(round(between / multiple) * multiple, min(start, end)), max(start, end))


def view_of(config: Config, epoch: int | None, own_size: int) -> View:
    """How an epoch (0-based; None: validation) sees its images.

    Args:
        own_size: pixels of a set of arrays, or the usual resolution of image files.
    """
    dataset = config.dataset
    evaluation = dataset.resolution or own_size
    if epoch is None or dataset.train_resolution_start is None:
        return View(evaluation, epoch)
    resolution = training_resolution(
        epoch,
        known(config.epochs),
        dataset.train_resolution_start,
        known(dataset.train_resolution_end),
        known(dataset.ramp_start),
        known(dataset.ramp_end),
        known(dataset.resolution_multiple),
    )
    return View(resolution, epoch)


def check_resolutions(dataset: DatasetConfig, is_files: bool) -> None:
    """Raise BadInput where keys of the resolution contradict each other or the kind of the data set."""
    keys = ("resolution", "resize_ratio", "crop_scale_min", "train_resolution_start", "train_resolution_end", *RAMP)
    given = {key: getattr(dataset, key) for key in keys}
    if not is_files:
        for key, value in given.items():
            if value is not None:
                raise BadInput(
                    f"dataset.{key}={value}: dataset={dataset.name} has images of one size; use dataset.{key}=null, "
                    "or dataset=patches"
                )
        return
    for key in ("resolution", "resize_ratio", "crop_scale_min"):
        if given[key] is None:
            example = {"resolution": 224, "resize_ratio": 0.875, "crop_scale_min": 0.08}[key]
            raise BadInput(f"dataset.{key}=null: dataset={dataset.name} needs it, such as dataset.{key}={example}")
    start, end = dataset.train_resolution_start, dataset.train_resolution_end
    if (start is None) != (end is None):
        missing, there = ("start", end) if start is None else ("end", start)
        raise BadInput(
            f"dataset.train_resolution_{missing}=null: both ends of the ramp or none; nearest: "
            f"dataset.train_resolution_{missing}={there}"
        )
    if start is None:
        return
    for key, example in zip(RAMP, (0.74, 0.86, 32), strict=True):
        if given[key] is None:
            raise BadInput(f"dataset.{key}=null: a training resolution needs it, such as dataset.{key}={example}")
    if known(dataset.ramp_start) > known(dataset.ramp_end):
        raise BadInput(
            f"dataset.ramp_start={dataset.ramp_start}: after dataset.ramp_end={dataset.ramp_end}; nearest: "
            f"dataset.ramp_start={dataset.ramp_end}"
        )
