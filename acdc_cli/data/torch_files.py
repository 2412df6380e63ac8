"""The torch loader for image files: Pillow in the worker processes of ``torch.utils.data.DataLoader``."""

from __future__ import annotations

import io
import math
from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from acdc_cli.data.crops import Crops, written_size
from acdc_cli.data.image_files import ImageFiles
from acdc_cli.data.view import View
from acdc_cli.errors import DataMissing

BILINEAR = Image.Resampling.BILINEAR


class _View(Dataset):
    """An epoch's crops, fetched a batch at a time."""

    def __init__(self, files: ImageFiles, crops: Crops, max_resolution: int | None, view: View) -> None:
        self._files, self._crops, self._max_resolution, self._view = files, crops, max_resolution, view

    def __len__(self) -> int:
        return len(self._files.paths)

    def __getitems__(self, indices: list[int]) -> Tensor | DataMissing:
        try:
            return torch.from_numpy(self._batch(np.array(indices)))
        except DataMissing as error:  # given back: raised in a worker process it would come with a traceback
            return error

    def _batch(self, samples: np.ndarray) -> np.ndarray:
        opened = [self._open(index) for index in samples]
        sizes = np.array([written_size(image.height, image.width, self._max_resolution) for image in opened])
        crops = self._crops.rectangles(self._view, samples, sizes[:, 0], sizes[:, 1])
        resolution = self._view.resolution
        batch = np.empty((len(samples), resolution, resolution, 3), np.uint8)
        for position, (image, size, crop) in enumerate(zip(opened, sizes, crops, strict=True)):
            try:
                rgb = image.convert("RGB")
            except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
                raise self._unreadable(samples[position], error) from None
            batch[position] = resized_crop(rgb, tuple(size), tuple(crop), resolution)
        return batch

    def _open(self, index: int) -> Image.Image:
        try:  # read at once, so that a batch holds no open files
            return Image.open(io.BytesIO((self._files.root / self._files.paths[index]).read_bytes()))
        except Exception as error:
            raise self._unreadable(index, error) from None

    def _unreadable(self, index: int, error: Exception) -> DataMissing:
        reason = " ".join(str(error).split())
        return DataMissing(
            f"{self._files.root / self._files.paths[index]}: cannot be read ({reason}); "
            "put the image back, or run acdc-data prepare again"
        )


def resized_crop(
    image: Image.Image, size: tuple[int, int], crop: tuple[int, int, int, int], resolution: int
) -> np.ndarray:
    """A crop resized to (resolution, resolution, 3) by Pillow's antialiased bilinear filter.

    The axis that leaves less to do goes first, as in data/decode.py.

    Args:
        size: (height, width) that the crop refers to; the image may be larger.
        crop: (top, left, height, width).
    """
    top, left, height, width = crop
    down, across = image.height / size[0], image.width / size[1]  # 1 unless FFCV's writer shrinks such images
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    corner = (math.floor(box[0]), math.floor(box[1]))
    whole = image.crop((*corner, math.ceil(box[2] - 1e-6), math.ceil(box[3] - 1e-6)))
    columns = (box[0] - corner[0], min(box[2] - corner[0], whole.width))
    rows = (box[1] - corner[1], min(box[3] - corner[1], whole.height))
    if height < resolution:
        narrow = whole.resize((resolution, whole.height), BILINEAR, (columns[0], 0, columns[1], whole.height))
        return np.asarray(narrow.resize((resolution, resolution), BILINEAR, (0, rows[0], resolution, rows[1])))
    low = whole.resize((whole.width, resolution), BILINEAR, (0, rows[0], whole.width, rows[1]))
    return np.asarray(low.resize((resolution, resolution), BILINEAR, (columns[0], 0, columns[1], resolution)))


def _as_fetched(batch: Any) -> Any:
    """``__getitems__`` has collated the batch already."""
    return batch


class TorchFilesLoader:
    """Batches of image files, decoded by ``workers`` processes (0: in this one).

    Args:
        max_resolution: longer side to which FFCV's writer has reduced larger images; crops are those of its file.
    """

    def __init__(
        self, files: ImageFiles, batch_size: int, workers: int, crops: Crops, max_resolution: int | None
    ) -> None:
        self._files, self._batch_size, self._workers = files, batch_size, workers
        self._crops, self._max_resolution = crops, max_resolution
        self.count = len(files.paths)

    def batches(
        self, order: np.ndarray, view: View | None = None
    ) -> Generator[tuple[Tensor, Tensor, np.ndarray], None, None]:
        """(images uint8 (N, resolution, resolution, 3), labels (N,), sample indices (N,)) in the given order.

        Raises:
            DataMissing: if an image cannot be read.
        """
        assert view is not None, "image files have no size of their own"
        chunks = [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]
        loader = DataLoader(
            _View(self._files, self._crops, self._max_resolution, view),
            batch_sampler=[chunk.tolist() for chunk in chunks],
            num_workers=self._workers,
            collate_fn=_as_fetched,
            generator=torch.Generator(),  # its own: the global one is the model's
        )
        for images, samples in zip(loader, chunks, strict=True):
            if isinstance(images, DataMissing):
                raise images
            yield images, torch.from_numpy(self._files.labels[samples]), samples
