"""The FFCV loader: .beton files, decoded by threads some batches ahead, with FFCV's JPEG decoder.

FFCV's own ``Loader`` compiles itself anew in every process, waits forever for a thread that has died, sets the thread
count of the training step to its own, and draws its random crops from generators that nobody can seed. Here the
reading threads run code that is compiled once (beton/decode.py), and every crop is a function of (seed, epoch, sample).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from acdc_cli.data.beton.decode import copy_arrays, decode_crops
from acdc_cli.data.beton.index import RAW, read_index
from acdc_cli.data.loading.batches import in_batches
from acdc_cli.data.loading.crops import Crops
from acdc_cli.data.loading.read_ahead import ReadAhead
from acdc_cli.data.source import Samples
from acdc_cli.data.view import View
from acdc_cli.errors import DataMissing

BATCHES_AHEAD = 4  # the one in use included
IMAGES_A_TASK = 8  # that a thread takes at a time


class FfcvLoader:
    """Batches of a .beton file.

    Args:
        path: the .beton file.
        workers: decoding threads, at least 1.
        crops: how images are cropped; None for arrays, which all have one size.
        pinned: whether batches lie in memory that a CUDA device copies from by itself.
        classes: labels are below it; None: not checked.
        count: samples that the file has to have; None: not checked.
        os_cache: let the system keep the file in memory as far as it has room; false: read ahead and drop, for a file
            that is larger than memory.
        read_ahead: without ``os_cache``, samples that are read in one go, in the order of the file, one such stretch
            before they are needed; None: a few batches.
        index_sum: SHA-256 of the file's tables; None: not checked.

    Raises:
        DataMissing: if the file is missing, cut short or another one.
    """

    def __init__(
        self,
        path: Path,
        workers: int,
        crops: Crops | None = None,
        pinned: bool = False,
        classes: int | None = None,
        count: int | None = None,
        os_cache: bool = True,
        read_ahead: int | None = None,
        index_sum: str | None = None,
    ) -> None:
        self._path, self._index = path, read_index(path, classes, count, index_sum)
        if crops is None and not (self._index.pixels == [RAW, *self._index.pixels[0, 1:]]).all():
            raise DataMissing(f"{path}: holds images of several sizes, not arrays of one; run acdc-data prepare")
        self._workers = max(1, workers)
        self._crops, self._pinned = crops, pinned
        self._read_ahead = None if os_cache else ReadAhead(path, self._index.mapped)
        self._stretch = read_ahead
        self.count = len(self._index.labels)

    def batches(
        self, batches: list[np.ndarray], view: View | None = None
    ) -> Generator[tuple[Tensor, Tensor, np.ndarray], None, None]:
        """(images uint8 (N, height, width, channels), labels (N,), sample indices (N,)) of each batch in turn.

        The images are in buffers that are used again: valid until the next batch is asked for. Leaving early, by an
        exception or ``close()``, ends the reading threads.

        Args:
            view: resolution and epoch; ignored for arrays.

        Raises:
            DataMissing: if an image cannot be decoded.
        """
        shape = (max(map(len, batches), default=0), *self._sample_shape(view))
        buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned) for _ in range(BATCHES_AHEAD)]
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="ffcv")
        started: deque[tuple[list[Future[None]], Tensor, np.ndarray]] = deque()
        try:
            for number, samples in enumerate(batches):
                self._fetch_before(number, batches)
                if len(started) == BATCHES_AHEAD:
                    yield self._finished(*started.popleft())
                images = buffers[number % BATCHES_AHEAD][: len(samples)]
                started.append((self._start(pool, samples, view, images.numpy()), images, samples))
            while started:
                yield self._finished(*started.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _sample_shape(self, view: View | None) -> tuple[int, int, int]:
        if self._crops is None:
            _, height, width = (int(number) for number in self._index.pixels[0])
            return height, width, self._index.channels
        assert view is not None, "image files have no size of their own"
        return view.resolution, view.resolution, 3

    def _start(
        self, pool: ThreadPoolExecutor, samples: np.ndarray, view: View | None, images: np.ndarray
    ) -> list[Future[None]]:
        index = self._index
        if self._crops is None or view is None:
            return [pool.submit(copy_arrays, index.content, index.starts[samples], images.reshape(len(images), -1))]
        pixels = index.pixels[samples]
        crops = self._crops.rectangles(view, samples, pixels[:, 1], pixels[:, 2])
        rows = images.reshape(len(images), view.resolution, -1)
        parts = [slice(start, start + IMAGES_A_TASK) for start in range(0, len(samples), IMAGES_A_TASK)]
        return [pool.submit(self._decode, samples[part], crops[part], rows[part]) for part in parts]

    def _fetch_before(self, number: int, batches: list[np.ndarray]) -> None:
        """At the first batch of a stretch, begin to read the next stretch; at the very first one, both."""
        if self._read_ahead is None:
            return
        batches_a_stretch = BATCHES_AHEAD if self._stretch is None else max(1, self._stretch // len(batches[0]))
        if number % batches_a_stretch == 0:
            first = number + batches_a_stretch if number else 0
            if wanted := batches[first : number + 2 * batches_a_stretch]:
                samples = np.concatenate(wanted)
                self._read_ahead.fetch(self._index.starts[samples], self._index.sizes[samples])

    def _decode(self, samples: np.ndarray, crops: np.ndarray, rows: np.ndarray) -> None:
        index = self._index
        starts, sizes, pixels = index.starts[samples], index.sizes[samples], index.pixels[samples]
        failed = decode_crops(index.content, starts, sizes, pixels, crops, rows)
        if failed >= 0:
            raise DataMissing(
                f"{self._path}: sample {samples[failed]} is not a JPEG that can be decoded; "
                "make the file again with acdc-data prepare"
            )

    def _finished(
        self, tasks: list[Future[None]], images: Tensor, samples: np.ndarray
    ) -> tuple[Tensor, Tensor, np.ndarray]:
        for task in tasks:
            task.result()
        if self._read_ahead is not None:
            self._read_ahead.drop(self._index.starts[samples], self._index.sizes[samples])
        return images, torch.from_numpy(self._index.labels[samples]), samples


def read_beton(path: Path) -> Samples:
    """All samples of a .beton file of arrays, in order."""
    loader = FfcvLoader(path, workers=1)
    batches = [
        (images.clone(), labels) for images, labels, _ in loader.batches(in_batches(np.arange(loader.count), 512))
    ]
    images, labels = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    return Samples(images, labels)
