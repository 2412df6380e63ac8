"""Which loader reads a data set. All three give the same samples in the same order."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from acdc_cli.data.dataset import Dataset
from acdc_cli.data.loading.crops import Crops
from acdc_cli.data.loading.device_loader import DeviceLoader
from acdc_cli.data.loading.stored_arrays import read_arrays
from acdc_cli.data.loading.torch_files import TorchFilesLoader
from acdc_cli.data.loading.torch_loader import TorchLoader
from acdc_cli.data.source import SPLITS
from acdc_cli.data.view import View

Batch = tuple[Tensor, Tensor, np.ndarray]


class BatchLoader(Protocol):
    """Gives any batches of a split that it is asked for."""

    count: int

    def batches(self, batches: list[np.ndarray], view: View | None = None) -> Generator[Batch, None, None]:
        """(images uint8 (N, height, width, channels), labels (N,), sample indices (N,)) of each batch in turn.

        Args:
            batches: sample indices (N,) of each; N may vary.
            view: resolution and epoch of image files; sets of arrays ignore it.

        The tensors are valid until the next batch is asked for.
        """
        ...


def open_loaders(
    kind: str,
    dataset: Dataset,
    workers: int,
    device: torch.device,
    crops: Crops | None = None,
    os_cache: bool = True,
    read_ahead: int | None = None,
) -> dict[str, BatchLoader]:
    """``{"train": ..., "val": ...}`` for loader=ffcv, torch or device.

    Args:
        workers: reading threads (ffcv) or processes (torch).
        crops: how image files are cropped; None for a set of arrays.
        os_cache: of the ffcv loader: let the system keep the file in memory.
        read_ahead: of the ffcv loader without it: samples that are read in one go; None: a few batches.

    Raises:
        DataMissing: if the samples are not there.
    """
    if kind == "ffcv":
        from acdc_cli.data.loading.ffcv_loader import FfcvLoader  # compiles

        pinned = device.type == "cuda"
        return {
            split: FfcvLoader(
                dataset.beton(split),
                workers,
                crops,
                pinned,
                dataset.classes,
                dataset.count(split),
                os_cache,
                read_ahead,
                dataset.index_sum(split),
            )
            for split in SPLITS
        }
    if crops is not None:
        assert kind == "torch", "refused when the config was composed"
        files, longest = dataset.read_files(), dataset.info["write"]["max_resolution"]
        return {split: TorchFilesLoader(files[split], workers, crops, longest) for split in SPLITS}
    samples = read_arrays(dataset)
    if kind == "torch":
        return {split: TorchLoader(samples[split], workers) for split in SPLITS}
    return {split: DeviceLoader(samples[split], device) for split in SPLITS}


def to_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches on the device. On CUDA the next one is copied on a stream of its own while this one is worked on."""
    if device.type != "cuda":
        for images, labels, samples in batches:
            yield images.to(device), labels.to(device), samples
        return
    copy_stream, copied = torch.cuda.Stream(device), torch.cuda.Event()

    def start_copy() -> Batch | None:
        batch = next(batches, None)
        if batch is None:
            return None
        images, labels, samples = batch
        with torch.cuda.stream(copy_stream):
            there = [_pinned(tensor).to(device, non_blocking=True) for tensor in (images, labels)]
            copied.record(copy_stream)
        return there[0], there[1], samples

    coming = start_copy()
    while coming is not None:
        torch.cuda.current_stream(device).wait_stream(copy_stream)
        images, labels, samples = coming
        for tensor in (images, labels):
            tensor.record_stream(torch.cuda.current_stream(device))
        copied.synchronize()  # the loader may use its buffers again: a copy begun a step ago, not the step itself
        coming = start_copy()
        yield images, labels, samples


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_cuda else tensor.pin_memory()
