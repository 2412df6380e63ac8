"""The device loader: a small data set as one tensor on the device; a batch is an index."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from acdc_cli.data.sources import Samples
from acdc_cli.data.view import View


class DeviceLoader:
    """Batches of samples that live on the device."""

    def __init__(self, samples: Samples, batch_size: int, device: torch.device) -> None:
        self._images = torch.from_numpy(samples.images).to(device)
        self._labels = torch.from_numpy(samples.labels).to(device)
        self._batch_size = batch_size
        self.count = len(samples.labels)

    def batches(
        self, order: np.ndarray, view: View | None = None
    ) -> Generator[tuple[Tensor, Tensor, np.ndarray], None, None]:
        """(images uint8 (N, height, width, channels), labels (N,), sample indices (N,)) in the given order.

        Args:
            view: ignored: all samples have one size.
        """
        on_device = torch.from_numpy(order).to(self._labels.device)
        for start in range(0, len(order), self._batch_size):
            chosen = slice(start, start + self._batch_size)
            yield self._images[on_device[chosen]], self._labels[on_device[chosen]], order[chosen]
