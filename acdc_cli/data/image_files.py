"""Images in a folder tree SOURCE/{train,val}/CLASS/: the files, their labels, and the list of them on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acdc_cli.errors import DataMissing, nearest

SPLITS = ("train", "val")
SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}  # torchvision's ImageFolder's
NAMED_AT_MOST = 5


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a split.

    Attributes:
        root: folder that the paths are relative to.
        paths: POSIX style, sorted by class, then by name.
        labels: (N,) int64, positions in class_names.
        class_names: the folders' names, sorted; the same for every split.
    """

    root: Path
    paths: list[str]
    labels: np.ndarray
    class_names: list[str]


def read_rgb(path: Path) -> np.ndarray:
    """An image file's pixels (height, width, 3) uint8, as Pillow decodes them. Raises OSError if it cannot be read."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_tree(source: Path, command: str) -> dict[str, ImageFiles]:
    """List SOURCE/train/CLASS/* and SOURCE/val/CLASS/*, at any depth below the class.

    Args:
        source: folder of the tree.
        command: what to run once the tree has been mended, for messages.

    Raises:
        DataMissing: if a split is missing or has no class folders, or a class is missing or empty in one of them.
    """
    classes = {split: _class_folders(source, split, command) for split in SPLITS}
    for here, other in (("train", "val"), ("val", "train")):
        if missing := sorted(set(classes[here]) - set(classes[other])):
            raise DataMissing(
                f"{source / other}: lacks {_first_few(missing)}, which {source / here} has; "
                f"both need the same class folders; then run {command}"
            )
    names = classes["train"]
    if len(names) < 2:
        raise DataMissing(
            f"{source / 'train'}: one class folder, {names[0]}; at least two are needed; then run {command}"
        )
    return {split: _split_files(source, split, names, command) for split in SPLITS}


def _class_folders(source: Path, split: str, command: str) -> list[str]:
    folder = source / split
    if not source.is_dir():
        raise DataMissing(f"{source}: no such folder; give the one that holds train/ and val/ to {command}")
    if not folder.is_dir():
        found = sorted(entry.name for entry in source.iterdir() if entry.is_dir())
        hint = f"; nearest there: {nearest(split, found)}" if found else ""
        raise DataMissing(
            f"{folder}: missing{hint}; SOURCE has to hold train/CLASS/ and val/CLASS/; then run {command}"
        )
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    if names := sorted(entry.name for entry in entries if entry.is_dir()):
        return names
    loose = sum(Path(entry.name).suffix.lower() in SUFFIXES for entry in entries)
    archives = sum(entry.name.endswith(".tar") for entry in entries)
    if loose:
        what = (
            f"{loose} images and no class folders (ILSVRC as it is downloaded); move each into the folder of its class"
        )
    elif archives:
        what = f"{archives} archives and no class folders; unpack each into a folder of its name"
    else:
        what = "no class folders"
    raise DataMissing(f"{folder}: {what}, {split}/CLASS/IMAGE; then run {command}")


def _split_files(source: Path, split: str, names: list[str], command: str) -> ImageFiles:
    paths, labels = [], []
    for label, name in enumerate(names):
        found = sorted(_images_below(source, f"{split}/{name}"))
        if not found:
            raise DataMissing(
                f"{source / split / name}: no images in it; add them or remove the class; then run {command}"
            )
        paths += found
        labels += [label] * len(found)
    return ImageFiles(source, paths, np.array(labels, np.int64), names)


def _images_below(root: Path, folder: str) -> Iterator[str]:
    for entry in os.scandir(root / folder):
        path = f"{folder}/{entry.name}"
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _images_below(root, path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield path


def _first_few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return f"class {', '.join(names[:NAMED_AT_MOST])}{more}"


def sample_lines(files: ImageFiles) -> str:
    """The list of samples on disk: ``relative/path<TAB>label``, one a line, in the order of the .beton."""
    return "".join(f"{path}\t{label}\n" for path, label in zip(files.paths, files.labels.tolist(), strict=True))


def parse_samples(text: str, root: Path, class_names: list[str]) -> ImageFiles:
    """Inverse of ``sample_lines``. Raises ValueError on anything else."""
    rows = [line.split("\t") for line in text.split("\n")[:-1]]
    labels = np.array([int(label) for _, label in rows], np.int64)
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, not 0 to {len(class_names) - 1}")
    return ImageFiles(root, [path for path, _ in rows], labels, class_names)
