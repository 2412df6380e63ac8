"""Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 pictures of clothes, 28x28 pixels, MIT licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acdc_cli.data.keys import ArrayKeys
from acdc_cli.data.source import Arrays, Samples, Source
from acdc_cli.errors import DataMissing
from acdc_cli.options import number
from acdc_cli.parts import register_dataset

PLACE = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package
GET = "sudo apt-get install dataset-fashion-mnist"
PIXELS, CLASSES = 28, 10


@register_dataset(
    "fashion_mnist",
    summary=f"Fashion-MNIST, 70,000 pictures of clothes of 28x28 pixels: {GET}",
    content_keys=("source", "pad_to"),
)
@dataclass(kw_only=True)
class FashionMnist(ArrayKeys):
    """The keys of a set of arrays, and where the files are.

    Attributes:
        source: the folder of the four idx files; null: where Debian's package puts them.
        pad_to: zeros are put around the images until they have this height and width, such as 32; null: none are.
    """

    source: str | None = None
    pad_to: int | None = number(PIXELS, default=None)

    def origin(self) -> Source:
        """Return the pictures; the published 10,000 for testing are the validation set."""
        pixels = self.pad_to or PIXELS
        return Source(Arrays(self._read, _describe, _files), (1, pixels, pixels), CLASSES, 60_000, PLACE, GET)

    def _read(self, folder: Path | None) -> dict[str, Samples]:
        from acdc_cli.data.preparing.idx import read_idx

        assert folder is not None
        samples = read_idx(folder, self.pad_to)
        pixels = self.pad_to or PIXELS
        for split, one in samples.items():
            if one.images.shape[1:] != (pixels, pixels, 1) or one.labels.max() >= CLASSES:
                shape = "x".join(map(str, one.images.shape[1:]))
                raise DataMissing(
                    f"{folder}: the {split} images are {shape} with labels up to {one.labels.max()}, which is not "
                    f"Fashion-MNIST; for a set of your own use dataset=idx"
                )
        return samples


def _files(folder: Path) -> list[Path]:
    from acdc_cli.data.preparing.idx import idx_files

    return idx_files(folder)


def _describe(split: str) -> list[str]:
    from acdc_cli.data.preparing.idx import NAMES

    return list(NAMES[split])
