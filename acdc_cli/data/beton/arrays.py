"""Data sets that fit in memory, as .beton files: every pixel as it is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from acdc_cli.data.beton.writer import PAGE_BYTES, write_beton
from acdc_cli.data.source import Samples
from acdc_cli.system.files import temporary_beside


class _Indexed:
    """Sample i is (image, label)."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.samples.images[index], int(self.samples.labels[index])


def write_array_betons(samples: dict[str, Samples], paths: dict[str, Path]) -> None:
    """Write every split's file aside, then put all in place: none is replaced if one cannot be written.

    Raises:
        OSError: if they cannot be written.
    """
    aside = {split: temporary_beside(path) for split, path in paths.items()}
    try:
        for split, path in aside.items():
            _write(samples[split], path, paths[split])
        for split, path in aside.items():
            os.replace(path, paths[split])
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)


def _write(samples: Samples, path: Path, meant: Path) -> None:
    from ffcv.fields import IntField, NDArrayField, RGBImageField

    shape = samples.images.shape[1:]
    image = RGBImageField(write_mode="raw") if shape[-1] == 3 else NDArrayField(np.dtype("uint8"), shape)
    fields = {"image": image, "label": IntField()}
    try:
        write_beton(path, fields, _Indexed(samples), 1, PAGE_BYTES, lambda count: None)
    except OSError as error:  # named after the file that was meant, not after the temporary one
        raise OSError(error.errno, error.strerror, str(meant)) from None
