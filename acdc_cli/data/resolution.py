"""From the data set's keys to the resolution of every epoch: progressive resizing as ffcv-imagenet does it."""

from __future__ import annotations

from acdc_cli.config.schema import Config
from acdc_cli.data.keys import ImageFileKeys
from acdc_cli.data.view import View

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
    keys = config.dataset.options
    if not isinstance(keys, ImageFileKeys):
        return View(own_size, epoch)
    ramp = keys.ramp()
    if epoch is None or ramp is None:
        return View(keys.resolution, epoch)
    return View(training_resolution(epoch, config.epochs, *ramp), epoch)


def keys_of_size(config: Config, pixels: int) -> tuple[tuple[str, int], ...]:
    """The keys that make a run see images of so many pixels, with their values; none where images have one size.

    A size in the middle of the ramp comes from both of its ends.
    """
    given = [(f"dataset.{name}", value) for name, value in _resolutions(config)]
    return tuple(key for key in given if key[1] == pixels) or tuple(given[1:])


def _resolutions(config: Config) -> list[tuple[str, int]]:
    """Return the keys of ``dataset`` that set a resolution, with their values."""
    keys = config.dataset.options
    if not isinstance(keys, ImageFileKeys):
        return []
    given = {
        "resolution": keys.resolution,
        "train_resolution_start": keys.train_resolution_start,
        "train_resolution_end": keys.train_resolution_end,
    }
    return [(name, value) for name, value in given.items() if value is not None]


def enlarged(config: Config, longest: int | None) -> str | None:
    """What is said of a run whose images are stored smaller than it asks for, or None.

    Args:
        longest: side in pixels that larger images were reduced to when they were written.
    """
    asked = [(pixels, key) for key, pixels in _resolutions(config)]
    if longest is None or not asked or max(asked)[0] <= longest:
        return None
    pixels, key = max(asked)
    return (
        f"dataset.{key}={pixels}: the images are stored with sides of at most {longest} pixels and will be enlarged; "
        f"nearest: dataset.{key}={longest}, or prepare them with --max-resolution {pixels}"
    )
