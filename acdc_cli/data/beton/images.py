"""Image files as a .beton: resized, re-encoded as JPEG or kept as pixels, and compared with their source afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from acdc_cli.data.beton.writer import PAGE_BYTES, header_problem, write_beton
from acdc_cli.data.image_files import FileFacts, ImageFiles, read_rgb
from acdc_cli.data.order import uniform
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import AcdcError, DataMissing

LARGE_SET_PIXELS, LARGE_PAGE_BYTES = 2**30, 2**23  # FFCV's own page; in a small set it would be mostly empty
JPEG_HEADER_BYTES = 2**12
COMPARED = 128  # samples of a split that are read back
RAW_DRAW = 0  # of ``uniform``: which samples keep their pixels


class _Images:
    """Sample i is (pixels, label). It also tells the field how to write the sample, which follows at once.

    FFCV's own "proportion" mode draws from an unseeded generator in every process: another file every time.
    """

    def __init__(self, files: ImageFiles, field: Any, raw: np.ndarray) -> None:
        self.files, self.field, self.raw = files, field, raw

    def __len__(self) -> int:
        return len(self.files.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path = self.files.root / self.files.paths[index]
        try:
            pixels = read_rgb(path)
        except Exception as error:
            raise DataMissing(
                f"{path}: has changed while it was being prepared ({error}); run the command again"
            ) from None
        self.field.write_mode = "raw" if self.raw[index] else "jpg"
        return pixels, int(self.files.labels[index])


def write_image_beton(
    path: Path, files: ImageFiles, facts: list[FileFacts], options: WriteOptions, workers: int, advance: Callable
) -> None:
    """Write the split's .beton and read part of it back.

    Raises:
        OSError, AcdcError: if it cannot be written, or does not hold what was written.
    """
    from ffcv.fields import IntField

    images = _images(files, options)
    write_beton(
        path, {"image": images.field, "label": IntField()}, images, workers, page_bytes(facts, options), advance
    )
    try:
        verify_image_beton(path, files, facts, options)
    except AcdcError:
        path.unlink(missing_ok=True)
        raise


def _images(files: ImageFiles, options: WriteOptions) -> _Images:
    from ffcv.fields import RGBImageField

    field = RGBImageField(max_resolution=options.max_resolution, jpeg_quality=options.jpeg_quality)
    raw = uniform(0, 0, np.arange(len(files.paths)), RAW_DRAW) < options.raw_share
    return _Images(files, field, raw)


def stored_size(facts: FileFacts, options: WriteOptions) -> tuple[int, int]:
    """(width, height) that FFCV gives an image: its longer side at most max_resolution, fractions cut off."""
    size = np.array([facts.width, facts.height])
    if options.max_resolution is not None and size.max() > options.max_resolution:
        size = (options.max_resolution / size.max() * size).astype(int)
    return int(size[0]), int(size[1])


def refuse_too_thin(facts: FileFacts, options: WriteOptions) -> FileFacts:
    """An image of which FFCV's writer would leave no row or no column is as good as unreadable."""
    if facts.problem or min(stored_size(facts, options)) > 0:
        return facts
    left = "x".join(map(str, stored_size(facts, options)))
    return replace(facts, problem=f"{facts.width}x{facts.height} pixels would become {left}; see --max-resolution")


def page_bytes(facts: list[FileFacts], options: WriteOptions) -> int:
    """The page size, a power of two, that the largest image fits in, be it as pixels."""
    pixels = [width * height for width, height in (stored_size(one, options) for one in facts)]
    size = PAGE_BYTES if sum(pixels) < LARGE_SET_PIXELS else LARGE_PAGE_BYTES
    while size < 3 * max(pixels) + JPEG_HEADER_BYTES:
        size *= 2
    return size


def verify_image_beton(path: Path, files: ImageFiles, facts: list[FileFacts], options: WriteOptions) -> None:
    """Compare the table of samples with the source, all of it, and the bytes of some samples, encoded once more.

    Raises:
        AcdcError: naming the first sample that is not what it should be.
    """
    from ffcv.reader import Reader

    if problem := header_problem(path, len(files.paths)):
        raise AcdcError(f"{path}: was written and reads back as {problem}; run the command again")
    reader = Reader(str(path))
    images, labels = (reader.metadata[name] for name in reader.metadata.dtype.names)
    sizes = np.array([stored_size(one, options) for one in facts])
    expected = _images(files, options)
    wrong = (
        (images["width"] != sizes[:, 0])
        | (images["height"] != sizes[:, 1])
        | (labels.view(np.int64).reshape(len(sizes)) != files.labels)
        | ((images["mode"] == 1) != expected.raw)
    )
    stored = np.memmap(path, mode="r")
    length = {int(entry["ptr"]): int(entry["size"]) for entry in reader.alloc_table}
    for index in np.unique(np.linspace(0, len(files.paths) - 1, COMPARED).astype(int)):
        start = int(images["data_ptr"][index])
        wrong[index] |= not np.array_equal(stored[start : start + length.get(start, 0)], _encoded(expected, int(index)))
    if wrong.any():
        raise AcdcError(
            f"{path}: sample {int(np.argmax(wrong))} ({files.paths[int(np.argmax(wrong))]}) is not what was written; "
            f"is the disk sound? Run the command again"
        )


def _encoded(images: _Images, index: int) -> np.ndarray:
    """The bytes that FFCV stores for a sample."""
    kept: list[np.ndarray] = []

    def keep(size: int) -> tuple[int, np.ndarray]:
        kept.append(np.empty(size, np.uint8))
        return 0, kept[-1]

    pixels, _ = images[index]
    images.field.encode(np.zeros(1, images.field.metadata_type), pixels, keep)
    return kept[0]
