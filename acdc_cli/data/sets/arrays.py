"""Images of one's own in a .npz file of NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acdc_cli.data.keys import ArrayKeys
from acdc_cli.data.source import Arrays as ArraySource
from acdc_cli.data.source import Samples, Source
from acdc_cli.options import number
from acdc_cli.parts import register_dataset


@register_dataset(
    "arrays",
    summary="a .npz file of your own: x_train, y_train, x_val, y_val; uint8 images, N x height x width (x channels)",
    content_keys=("source", "pad_to"),
)
@dataclass(kw_only=True)
class Arrays(ArrayKeys):
    """The keys of a set of arrays, and which file it is.

    Attributes:
        source: the .npz file. Pickles inside it are refused.
        pad_to: zeros are put around the images until they have this height and width, in pixels; null: none are.
    """

    source: str | None = None
    pad_to: int | None = number(1, default=None)

    def origin(self) -> Source:
        """Return the file's arrays."""
        return Source(ArraySource(self._read, _describe, _files))

    def _read(self, file: Path | None) -> dict[str, Samples]:
        from acdc_cli.data.preparing.npz import read_npz

        assert file is not None
        return read_npz(file, self.pad_to)


def _files(file: Path) -> list[Path]:
    from acdc_cli.data.preparing.npz import npz_files

    return npz_files(file)


def _describe(split: str) -> list[str]:
    return [f"x_{split}", f"y_{split}"]
