"""CIFAR-100 (Krizhevsky 2009), from the python archive as it is published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acdc_cli.data.keys import ArrayKeys
from acdc_cli.data.source import Arrays, Samples, Source
from acdc_cli.parts import register_dataset

ARCHIVE = "cifar-100-python"
FILES = {"train": ["train"], "val": ["test"]}


@register_dataset("cifar100", summary=f"CIFAR-100, python archive {ARCHIVE}")
@dataclass(kw_only=True)
class Cifar100(ArrayKeys):
    """CIFAR-100 has the keys of every set of arrays."""

    def origin(self) -> Source:
        """Return the archive's 50,000 training and 10,000 test images, with the fine labels."""
        return Source(Arrays(_read, FILES.__getitem__), (3, 32, 32), 100, 50_000)


def _read(folder: Path | None) -> dict[str, Samples]:
    from acdc_cli.data.preparing.cifar_archive import read_archive

    return read_archive(folder, ARCHIVE, FILES, b"fine_labels", 100)
