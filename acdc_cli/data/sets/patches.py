"""Crops of ten photographs that come with scikit-learn and scikit-image; the class is the photograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acdc_cli.data.keys import ImageFileKeys
from acdc_cli.data.source import Source, Tree
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.parts import register_dataset

PHOTOGRAPHS = 10
CROPS = {"train": 320, "val": 100}  # of each photograph


@register_dataset(
    "patches",
    summary=f"crops of {PHOTOGRAPHS} photographs inside scikit-learn and scikit-image: which one is it from?",
    is_embedded=True,
)
@dataclass(kw_only=True)
class Patches(ImageFileKeys):
    """The patches have the keys of every set of image files."""

    def origin(self) -> Source:
        """Return the tree of crops, which is made by ``acdc_cli.data.preparing.patches``."""
        tree = Tree(_make, WriteOptions(None, 95, 0.0))
        return Source(tree, (3, 64, 64), PHOTOGRAPHS, PHOTOGRAPHS * CROPS["train"])


def _make(folder: Path) -> None:
    from acdc_cli.data.preparing.patches import make_patches

    make_patches(folder, CROPS)
