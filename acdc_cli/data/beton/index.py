"""Where the samples of a .beton are: FFCV's file format, version 2, read without FFCV and checked before it is trusted.

``import ffcv`` compiles for several seconds in every process, and its own reader believes whatever a file says.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acdc_cli.errors import DataMissing

VERSION = 2
HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ],
    align=True,
)
FIELD = np.dtype([("type_id", "<u1"), ("name", ("<u1", 16)), ("arguments", ("<u1", (1024,)))], align=True)
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
INT, RGB_IMAGE, ARRAY = 1, 2, 4  # type_id
METADATA = {
    INT: np.dtype("<i8"),
    RGB_IMAGE: np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")]),
    ARRAY: np.dtype("<u8"),
}
JPEG, RAW = 0, 1  # mode of an image
ARRAY_DIMENSIONS = 32  # that an array's arguments have room for


@dataclass(frozen=True)
class BetonIndex:
    """What a .beton says of its samples.

    Attributes:
        mapped: the whole file, mapped into memory; ``content`` is the same as uint8.
        starts, sizes: of each sample's bytes in it (N,) int64.
        labels: (N,) int64.
        pixels: (mode, height, width) of each image, int64 (N, 3); of arrays too.
        channels: of every sample.
    """

    mapped: mmap.mmap
    content: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray
    channels: int


def read_index(
    path: Path, classes: int | None = None, count: int | None = None, index_sum: str | None = None
) -> BetonIndex:
    """Read a .beton's tables and check that every sample lies inside the file.

    Args:
        classes: labels have to be below it; None: any.
        count: samples that the file has to have; None: any.
        index_sum: SHA-256 of the tables, see ``sum_of_tables``; None: not checked.

    Raises:
        DataMissing: if it is missing, cut short, or not a .beton of such images and labels.
    """
    try:
        with path.open("rb") as file:
            index = _parse(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if index_sum is not None and sum_of_tables(index.content) != index_sum:
            raise ValueError("its tables are not those that were written")
        if count is not None and len(index.labels) != count:
            raise ValueError(f"{len(index.labels)} samples instead of {count}")
        if classes is not None and not 0 <= index.labels.min() <= index.labels.max() < classes:
            raise ValueError(f"labels from {index.labels.min()} to {index.labels.max()} with {classes} classes")
    except OSError as error:
        raise DataMissing(f"{path}: {error.strerror}; make it with acdc-data prepare") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataMissing(
            f"{path}: cut short, or not a .beton of images and labels ({error}); make it again with acdc-data prepare"
        ) from None
    return index


def sum_of_tables(content: np.ndarray) -> str:
    """SHA-256 of everything in a .beton but the samples themselves: the header and both tables.

    Args:
        content: of the whole file, uint8.

    Raises:
        ValueError: if it is cut short.
    """
    header = _table(content, HEADER, 0, 1)[0]
    described = HEADER.itemsize + int(header["num_fields"]) * FIELD.itemsize
    kinds = [int(field["type_id"]) for field in _table(content, FIELD, HEADER.itemsize, int(header["num_fields"]))]
    row = np.dtype([(str(number), METADATA[kind]) for number, kind in enumerate(kinds)], align=True)
    digest = hashlib.sha256(content[: described + int(header["num_samples"]) * row.itemsize].data)
    digest.update(content[int(header["alloc_table_ptr"]) :].data)
    return digest.hexdigest()


def file_sum_of_tables(path: Path) -> str:
    """The same, of a file. Raises ValueError if it is cut short."""
    with path.open("rb") as file:
        return sum_of_tables(np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8))


def _table(content: np.ndarray, kind: np.dtype, start: int, count: int) -> np.ndarray:
    end = start + count * kind.itemsize
    if end > len(content):
        raise ValueError(f"{len(content)} bytes, at least {end} expected")
    return content[start:end].view(kind)


def _parse(mapped: mmap.mmap) -> BetonIndex:
    content = np.frombuffer(mapped, np.uint8)
    header = _table(content, HEADER, 0, 1)[0]
    count, fields = int(header["num_samples"]), int(header["num_fields"])
    if header["version"] != VERSION or fields != 2 or not count:
        raise ValueError(f"version {header['version']}, {fields} fields, {count} samples")
    described = _table(content, FIELD, HEADER.itemsize, fields)
    kinds = {bytes(field["name"]).rstrip(b"\0").decode(): int(field["type_id"]) for field in described}
    if list(kinds) != ["image", "label"] or kinds["image"] not in (RGB_IMAGE, ARRAY) or kinds["label"] != INT:
        raise ValueError(f"fields {kinds}")
    row = np.dtype([("image", METADATA[kinds["image"]]), ("label", METADATA[INT])], align=True)
    samples = _table(content, row, HEADER.itemsize + described.nbytes, count)
    if kinds["image"] == RGB_IMAGE:
        image = samples["image"]
        starts, channels = image["data_ptr"], 3
        pixels = np.stack([image["mode"], image["height"], image["width"]], axis=1).astype(np.int64)
    else:
        starts, (height, width, channels) = samples["image"], _array_shape(described["arguments"][0])
        pixels = np.tile(np.array([RAW, height, width], np.int64), (count, 1))
    sizes = _sizes(content, int(header["alloc_table_ptr"]), starts)
    _check_places(len(content), starts, sizes, pixels, channels)
    labels = samples["label"].astype(np.int64)
    return BetonIndex(mapped, content, starts.astype(np.int64), sizes, labels, pixels, channels)


def _array_shape(arguments: np.ndarray) -> tuple[int, int, int]:
    numbers = arguments[: 8 * (ARRAY_DIMENSIONS + 1)].view("<u8")
    shape, length = numbers[:-1][numbers[:-1] > 0], int(numbers[-1])
    kind = json.loads(arguments[numbers.nbytes : numbers.nbytes + length].tobytes())
    if len(shape) != 3 or kind[0][1] != "|u1":
        raise ValueError(f"arrays of shape {shape.tolist()} and type {kind}")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _sizes(content: np.ndarray, table_start: int, starts: np.ndarray) -> np.ndarray:
    """Bytes of each sample, by the table at the file's end that has one row a sample, in no order."""
    table = _table(content, ALLOCATION, table_start, len(starts))
    if table_start + table.nbytes != len(content):
        raise ValueError(f"{len(content)} bytes, {table_start + table.nbytes} expected")
    places, sizes = np.zeros_like(starts), np.zeros(len(starts), np.int64)
    places[table["sample_id"]], sizes[table["sample_id"]] = table["ptr"], table["size"]
    if (places != starts).any():
        raise ValueError("a sample without a place")
    return sizes


def _check_places(file_bytes: int, starts: np.ndarray, sizes: np.ndarray, pixels: np.ndarray, channels: int) -> None:
    mode, height, width = pixels.T
    ends = starts.astype(np.float64) + sizes  # no overflow, whatever the numbers
    raw_is_wrong = (mode == RAW) & (sizes != channels * height * width)
    if ((sizes <= 0) | (ends > file_bytes) | (mode > RAW) | (height == 0) | (width == 0) | raw_is_wrong).any():
        raise ValueError("a sample that is not inside the file")
