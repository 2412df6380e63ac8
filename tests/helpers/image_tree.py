"""A miniature ImageNet: a folder tree of real photographs, named and laid out as ILSVRC 2012 is."""

from __future__ import annotations

import tempfile
from pathlib import Path

from acdc_cli.data.preparing.patches import PHOTOGRAPHS, make_patches

SPLITS = ("train", "val")
# Class folder -> photograph: the order of the folders is not that of the photographs.
FOLDERS = {f"n0{1440764 + 7919 * position}": name for position, name in enumerate(sorted(PHOTOGRAPHS, reverse=True))}


def write_image_tree(folder: Path, train: int, val: int, classes: int = len(FOLDERS)) -> Path:
    """FOLDER/{train,val}/nNNNNNNNN/*.JPEG: crops of that many photographs, so many of each in either split."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as crops:
        make_patches(Path(crops), {"train": train, "val": val})
        for split in SPLITS:
            for name, photograph in list(FOLDERS.items())[:classes]:
                target = folder / split / name
                target.mkdir(parents=True)
                for number, crop in enumerate(sorted((Path(crops) / split / photograph).iterdir())):
                    kind = f"{name}_{number}" if split == "train" else f"ILSVRC2012_val_{number:08d}"
                    crop.rename(target / f"{kind}.JPEG")
    return folder
