"""What the FFCV loader's threads run, compiled once and kept: JPEG decoding, cropping and antialiased resizing.

All compiled code is in this file: numba compiles again when the file changes that a function is in, not the files of
the functions that it calls. It holds no Python lock (``nogil``), so plain threads run it side by side.

Resizing is Pillow's antialiased bilinear filter (the one of torchvision's transforms) to the last bit, so that the
torch loader, which uses Pillow, gives the same images.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from numba import njit, types

from acdc_cli.data.beton.availability import ffcv_library
from acdc_cli.data.beton.index import JPEG

# FFCV's JPEG decoder by name. By its address, as FFCV has it, compiled code could not be kept for the next process.
_LIBRARY = ctypes.CDLL(str(ffcv_library()))
llvmlite.binding.add_symbol("ffcv_imdecode", ctypes.cast(_LIBRARY.imdecode, ctypes.c_void_p).value)
_SIZES = (types.uint32,) * 2
_imdecode: Any = types.ExternalFunction(
    "ffcv_imdecode",
    types.int32(
        types.uintp, types.uint64, *_SIZES, types.uintp, *_SIZES, *_SIZES, *_SIZES, types.boolean, types.boolean
    ),
)

BITS = np.int32(22)  # of the fraction in Pillow's filter weights
HALF = np.int32(1 << 21)


def compiled(function: Callable) -> Any:
    """Compile when first called, without Python's lock; kept on disk for the next process where that is possible."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither this folder nor a home folder can be written
        return njit(nogil=True)(function)


@compiled
def _taps(size: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each output pixel's first input pixel, how many it reads, and their weights in units of 2**-22."""
    scale = size / outputs
    support = max(scale, 1.0)
    most = int(np.ceil(support)) * 2 + 1
    first, count = np.empty(outputs, np.int64), np.empty(outputs, np.int64)
    weights, shares = np.zeros((outputs, most), np.int32), np.empty(most)
    for output in range(outputs):
        centre = (output + 0.5) * scale
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), size)
        total = 0.0
        for tap in range(high - low):
            distance = abs((tap + low - centre + 0.5) * (1.0 / support))
            shares[tap] = max(1.0 - distance, 0.0)
            total += shares[tap]
        for tap in range(high - low):
            weights[output, tap] = np.int32(0.5 + shares[tap] / total * (1 << 22))
        first[output], count[output] = low, high - low
    return first, count, weights


@compiled
def _by_value(size: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """The taps of a row of RGB pixels, value by value, for vector code: places and weights (taps, 3 * outputs)."""
    first, count, weights = _taps(size, outputs)
    most = max(count.max(), 2)
    places, spread = np.empty((most, 3 * outputs), np.uint32), np.zeros((most, 3 * outputs), np.int32)
    for output in range(outputs):
        for tap in range(most):
            pixel = min(first[output] + tap, size - 1)
            for channel in range(3):
                places[tap, 3 * output + channel] = np.uint32(3 * pixel + channel)
                if tap < count[output]:
                    spread[tap, 3 * output + channel] = weights[output, tap]
    return places, spread


@compiled
def _pixel(total: np.int32) -> np.int32:
    return min(max(total >> BITS, np.int32(0)), np.int32(255))


@compiled
def _mix_rows(rows: np.ndarray, first: int, count: int, weights: np.ndarray, mixed: np.ndarray) -> None:
    """One output row from ``count`` input rows, each the length of ``mixed`` (int32)."""
    for value in range(len(mixed)):
        mixed[value] = HALF
    for tap in range(count):
        row, weight = rows[first + tap], weights[tap]
        for value in range(len(mixed)):
            mixed[value] += np.int32(row[value]) * weight
    for value in range(len(mixed)):
        mixed[value] = _pixel(mixed[value])


@compiled
def _mix_columns(row: np.ndarray, places: np.ndarray, weights: np.ndarray, mixed: np.ndarray) -> None:
    """One row of output pixels from a row of input pixels."""
    for value in range(len(mixed)):
        mixed[value] = HALF + np.int32(row[places[0, value]]) * weights[0, value]
    for tap in range(1, len(places)):
        place, weight = places[tap], weights[tap]
        for value in range(len(mixed)):
            mixed[value] += np.int32(row[place[value]]) * weight[value]
    for value in range(len(mixed)):
        mixed[value] = _pixel(mixed[value])


@compiled
def resize(crop: np.ndarray, image: np.ndarray) -> None:
    """Write a crop (height, 3 * width), rows of RGB pixels, resized, into ``image`` (height, 3 * width).

    The axis that leaves less to do goes first; in between, pixels are rounded to whole numbers, as in Pillow.
    """
    height, width, rows, columns = crop.shape[0], crop.shape[1] // 3, image.shape[0], image.shape[1] // 3
    first, count, weights = _taps(height, rows)
    places, spread = _by_value(width, columns)
    whole = np.empty(3 * columns, np.int32)
    if height < rows:
        narrow = np.empty((height, 3 * columns), np.uint8)
        for row in range(height):
            _mix_columns(crop[row], places, spread, whole)
            narrow[row] = whole
        for row in range(rows):
            _mix_rows(narrow, first[row], count[row], weights[row], whole)
            image[row] = whole
        return
    mixed = np.empty(3 * width, np.int32)
    for row in range(rows):
        _mix_rows(crop, first[row], count[row], weights[row], mixed)
        _mix_columns(mixed, places, spread, whole)
        image[row] = whole


@compiled
def _cropped(values: np.ndarray, width: int, crop: np.ndarray) -> np.ndarray:
    """Return the crop (height, 3 * width) of an image whose rows have ``width`` RGB pixels."""
    top, left, height, crop_width = crop
    return values.reshape(-1, 3 * width)[top : top + height, 3 * left : 3 * (left + crop_width)]


@compiled
def decode_crops(
    content: np.ndarray, starts: np.ndarray, sizes: np.ndarray, pixels: np.ndarray, crops: np.ndarray, out: np.ndarray
) -> int:
    """Decode, crop and resize images into ``out`` (N, resolution, 3 * resolution) uint8.

    Args:
        content: the bytes of the file.
        starts: where in it each image begins (N,); ``sizes``: how many bytes it has (N,).
        pixels: (mode, height, width) of each image, int64 (N, 3).
        crops: (top, left, height, width) of each, int64 (N, 4).

    Returns:
        The first image that cannot be decoded, or -1.
    """
    most = 0
    for image in range(len(starts)):
        most = max(most, 3 * pixels[image, 1] * pixels[image, 2])
    decoded = np.empty(most, np.uint8)
    for image in range(len(starts)):
        mode, height, width = pixels[image]
        start, used = starts[image], 3 * height * width
        if mode == JPEG:
            source, target = content.ctypes.data + np.uintp(start), decoded.ctypes.data
            if _imdecode(source, sizes[image], height, width, target, height, width, 0, 0, 1, 1, False, False) != 0:
                return image
            resize(_cropped(decoded[:used], width, crops[image]), out[image])
        else:
            resize(_cropped(content[start : start + used], width, crops[image]), out[image])
    return -1


@compiled
def copy_arrays(content: np.ndarray, starts: np.ndarray, out: np.ndarray) -> int:
    """Copy arrays that begin at ``starts`` (N,) into the rows of ``out`` (N, bytes of one). Returns -1."""
    for index in range(len(starts)):
        out[index] = content[starts[index] : starts[index] + out.shape[1]]
    return -1
