"""CIFAR-10 (Krizhevsky 2009), from the python archive as it is published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acdc_cli.data.keys import ArrayKeys
from acdc_cli.data.source import Arrays, Samples, Source
from acdc_cli.parts import register_dataset

ARCHIVE = "cifar-10-batches-py"
FILES = {"train": [f"data_batch_{part}" for part in range(1, 6)], "val": ["test_batch"]}


@register_dataset("cifar10", summary=f"CIFAR-10, python archive {ARCHIVE}")
@dataclass(kw_only=True)
class Cifar10(ArrayKeys):
    """CIFAR-10 has the keys of every set of arrays."""

    def origin(self) -> Source:
        """Return the archive's 50,000 training and 10,000 test images."""
        return Source(Arrays(_read, FILES.__getitem__), (3, 32, 32), 10, 50_000)


def _read(folder: Path | None) -> dict[str, Samples]:
    from acdc_cli.data.preparing.cifar_archive import read_archive

    return read_archive(folder, ARCHIVE, FILES, b"labels", 10)
