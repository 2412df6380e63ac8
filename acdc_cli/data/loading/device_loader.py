"""The device loader: a small data set as one tensor on the device; a batch is an index."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from acdc_cli.data.source import Samples
from acdc_cli.data.view import View


class DeviceLoader:
    """Batches of samples that live on the device."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self._images = torch.from_numpy(samples.images).to(device)
        self._labels = torch.from_numpy(samples.labels).to(device)
        self.count = len(samples.labels)

    def batches(
        self, batches: list[np.ndarray], view: View | None = None
    ) -> Generator[tuple[Tensor, Tensor, np.ndarray], None, None]:
        """(images uint8 (N, height, width, channels), labels (N,), sample indices (N,)) of each batch in turn.

        Args:
            view: ignored: all samples have one size.
        """
        if not batches:
            return
        ends = np.cumsum([len(samples) for samples in batches])
        every = torch.from_numpy(np.concatenate(batches)).to(self._labels.device)  # copied once, not batch by batch
        for end, samples in zip(ends.tolist(), batches, strict=True):
            chosen = every[end - len(samples) : end]
            yield self._images[chosen], self._labels[chosen], samples
