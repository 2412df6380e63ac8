"""The torch loader for image files: Pillow in the worker processes of ``torch.utils.data.DataLoader``."""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from acdc_cli.data.image_files import ImageFiles, as_rgb
from acdc_cli.data.loading.crops import Crops, written_size
from acdc_cli.data.view import View
from acdc_cli.errors import DataMissing
from acdc_cli.system.signals import ignore_stop_signals

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
                rgb = _as_written(as_rgb(image), *size)
            except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
                raise self._unreadable(samples[position], error) from None
            batch[position] = resized_crop(rgb, crop, resolution)
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


def _as_written(image: Image.Image, height: int, width: int) -> Image.Image:
    """Reduced as FFCV's writer has it, by the filter of Pillow's that is nearest to its INTER_AREA."""
    same = (image.width, image.height) == (width, height)
    return image if same else image.resize((int(width), int(height)), Image.Resampling.HAMMING)


def resized_crop(image: Image.Image, crop: Sequence[int], resolution: int) -> np.ndarray:
    """A crop (top, left, height, width) resized to (resolution, resolution, 3) by Pillow's antialiased bilinear filter.

    The axis that leaves less to do goes first, as in data/beton/decode.py.
    """
    top, left, height, width = (int(number) for number in crop)
    whole = image.crop((left, top, left + width, top + height))
    between = (resolution, height) if height < resolution else (width, resolution)
    return np.asarray(whole.resize(between, BILINEAR).resize((resolution, resolution), BILINEAR))


def _as_fetched(batch: Any) -> Any:
    """``__getitems__`` has collated the batch already."""
    return batch


class TorchFilesLoader:
    """Batches of image files, decoded by ``workers`` processes (0: in this one).

    Args:
        max_resolution: longer side to which FFCV's writer has reduced larger images; so they are here.
    """

    def __init__(self, files: ImageFiles, workers: int, crops: Crops, max_resolution: int | None) -> None:
        self._files, self._workers = files, workers
        self._crops, self._max_resolution = crops, max_resolution
        self.count = len(files.paths)

    def batches(
        self, batches: list[np.ndarray], view: View | None = None
    ) -> Generator[tuple[Tensor, Tensor, np.ndarray], None, None]:
        """(images uint8 (N, resolution, resolution, 3), labels (N,), sample indices (N,)) of each batch in turn.

        Raises:
            DataMissing: if an image cannot be read.
        """
        assert view is not None, "image files have no size of their own"
        loader = DataLoader(
            _View(self._files, self._crops, self._max_resolution, view),
            batch_sampler=[samples.tolist() for samples in batches],
            num_workers=self._workers,
            collate_fn=_as_fetched,
            generator=torch.Generator(),  # its own: the global one is the model's
            worker_init_fn=ignore_stop_signals,
            # A worker ends with its parent. That is the run only if it is forked: Python 3.14 has a server fork it.
            multiprocessing_context="fork" if self._workers else None,
        )
        for images, samples in zip(loader, batches, strict=True):
            if isinstance(images, DataMissing):
                raise images
            yield images, torch.from_numpy(self._files.labels[samples]), samples
