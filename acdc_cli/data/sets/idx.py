"""Images of one's own in the idx format of MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acdc_cli.data.keys import ArrayKeys
from acdc_cli.data.source import Arrays, Samples, Source
from acdc_cli.options import number
from acdc_cli.parts import register_dataset


@register_dataset(
    "idx",
    summary="a folder of your own in MNIST's idx format: train-images-idx3-ubyte and so on, gzipped or not",
    content_keys=("source", "pad_to"),
)
@dataclass(kw_only=True)
class Idx(ArrayKeys):
    """The keys of a set of arrays, and which files these are.

    Attributes:
        source: the folder of the four files. t10k is the validation set.
        pad_to: zeros are put around the images until they have this height and width, in pixels; null: none are.
    """

    source: str | None = None
    pad_to: int | None = number(1, default=None)

    def origin(self) -> Source:
        """Return the images of the four files."""
        return Source(Arrays(self._read, _describe, _files))

    def _read(self, folder: Path | None) -> dict[str, Samples]:
        from acdc_cli.data.preparing.idx import read_idx

        assert folder is not None
        return read_idx(folder, self.pad_to)


def _files(folder: Path) -> list[Path]:
    from acdc_cli.data.preparing.idx import idx_files

    return idx_files(folder)


def _describe(split: str) -> list[str]:
    from acdc_cli.data.preparing.idx import NAMES

    return list(NAMES[split])
