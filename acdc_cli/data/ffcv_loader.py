"""The FFCV loader: compiled, threaded reading of .beton files, and the one owner of FFCV's iterator."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch
from ffcv.fields.basics import IntDecoder
from ffcv.fields.decoders import NDArrayDecoder, SimpleRGBImageDecoder
from ffcv.fields.rgb_image import RGBImageField
from ffcv.loader import Loader, OrderOption
from ffcv.reader import Reader
from ffcv.transforms import ToTensor
from torch import Tensor

from acdc_cli.data.sources import Samples

POLL_SECONDS = 0.0005


class _GivenOrder:
    """An FFCV traversal order that is handed to it, epoch by epoch."""

    def __init__(self, order: np.ndarray) -> None:
        self.order = order

    def sample_order(self, epoch: int) -> np.ndarray:
        return self.order.astype(np.uint64)


class FfcvLoader:
    """Batches of a .beton file.

    Nothing is normalised here: on a CPU, FFCV waits forever for a compiled operation behind ToTensor.

    Args:
        path: the .beton file.
        batch_size: samples a batch; the last one may be smaller.
        workers: decoding threads, at least 1.
        threads: CPU threads of the training step, which FFCV would otherwise set to its own.
    """

    def __init__(self, path: Path, batch_size: int, workers: int, threads: int) -> None:
        decoder = SimpleRGBImageDecoder() if _holds_rgb(path) else NDArrayDecoder()
        self._threads = threads
        self._loader = Loader(
            str(path),
            batch_size=batch_size,
            num_workers=max(1, workers),
            order=OrderOption.SEQUENTIAL,
            os_cache=True,
            drop_last=False,
            pipelines={"image": [decoder, ToTensor()], "label": [IntDecoder(), ToTensor()]},
        )
        torch.set_num_threads(threads)
        self.count = int(self._loader.reader.num_samples)

    def batches(self, order: np.ndarray) -> Generator[tuple[Tensor, Tensor, np.ndarray], None, None]:
        """(images uint8 (N, height, width, channels), labels (N,), sample indices (N,)) in the given order.

        The tensors are FFCV's own buffers: valid until the next batch is asked for. Leaving early, by an exception or
        ``close()``, ends FFCV's thread.
        """
        self._loader.traversal_order = _GivenOrder(order)
        iterator = iter(self._loader)
        try:
            start = 0
            while (batch := _next_batch(iterator)) is not None:
                if start == 0:
                    torch.set_num_threads(self._threads)  # its thread set its own count before the first batch
                images, labels = batch
                yield images, labels.flatten(), order[start : start + len(images)]
                start += len(images)
        finally:
            _end(iterator)


def _holds_rgb(path: Path) -> bool:
    return isinstance(Reader(str(path)).handlers["image"], RGBImageField)


def _next_batch(iterator: Any) -> tuple[Tensor, Tensor] | None:
    """FFCV's next batch, or None at the end. FFCV itself would wait forever for a thread that has died."""
    while iterator.output_queue.empty():
        if not iterator.is_alive() and iterator.output_queue.empty():
            raise RuntimeError("FFCV's reading thread has died; its error is printed above")
        time.sleep(POLL_SECONDS)
    return next(iterator, None)


def _end(iterator: Any) -> None:
    """Stop the reading thread wherever it is: it may be waiting for room in its queue."""
    iterator.terminate_event.set()
    iterator.iter_ixes = iter(())  # it looks at the event only when its queue is full, so let it run out of work too
    while iterator.is_alive():
        try:
            iterator.output_queue.get_nowait()
        except Empty:
            iterator.join(0.01)
    iterator.close()


def read_beton(path: Path) -> Samples:
    """All samples of a .beton file, in order."""
    loader = FfcvLoader(path, batch_size=512, workers=1, threads=torch.get_num_threads())
    batches = [(images.clone(), labels.clone()) for images, labels, _ in loader.batches(np.arange(loader.count))]
    images, labels = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    return Samples(images, labels)
