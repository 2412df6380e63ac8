"""Images in a folder tree SOURCE/{train,val}/CLASS/: the files, their labels, and the list of them on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acdc_cli.data.source import SPLITS, SplitRule
from acdc_cli.data.split import validation_paths
from acdc_cli.errors import DataMissing, nearest

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}  # torchvision's ImageFolder's
NAMED_AT_MOST = 5
SPLIT_WORDS = {"training", "validation", "valid", "test", "testing", "dev", "eval"}  # folders that are hardly classes
SEARCHED_DEPTH = 3  # folders below SOURCE in which train/ and val/ are looked for: ILSVRC/Data/CLS-LOC/train


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


@dataclass(frozen=True)
class FileFacts:
    """What is known of an image file; ``problem`` says why it cannot be used, and is empty if it can.

    The first three tell whether the file is the one that was looked at.
    """

    path: str
    bytes: int
    modified_ns: int
    sha256: str
    width: int
    height: int
    problem: str


def as_rgb(image: Image) -> Image:
    """An image of any kind in RGB, as torchvision's ImageFolder has it: transparency and EXIF rotation are ignored.

    Of 16-bit grey values the upper 8 bits stay; Pillow alone would cut them off at 255 and make the image white.

    Raises:
        ValueError: on 32-bit values, of which no file says which one is white.
    """
    if image.mode in ("I", "F"):
        raise ValueError("32-bit grey values have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        from PIL.Image import fromarray

        image = fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def read_rgb(path: Path) -> np.ndarray:
    """An image file's pixels (height, width, 3) uint8. Raises OSError or ValueError if it cannot be read."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(as_rgb(image))


def read_tree(source: Path, command: str, rule: SplitRule | None = None) -> dict[str, ImageFiles]:
    """List SOURCE/train/CLASS/* and SOURCE/val/CLASS/*, at any depth below the class.

    Args:
        source: folder of the tree.
        command: what to run once the tree has been mended, for messages.
        rule: how SOURCE/CLASS/* is split, where there is neither train/ nor val/; None: both have to be there.

    Raises:
        DataMissing: if a split is missing or has no class folders, or a class is missing or empty in one of them.
    """
    try:
        return _read_tree(source, command) if rule is None or has_splits(source) else _split_tree(source, rule, command)
    except OSError as error:
        raise DataMissing(f"{error.filename}: {error.strerror}; mend it, then run {command}") from None


def has_splits(source: Path) -> bool:
    """Return True if a tree's own folders say which images are for training and which for validation."""
    return not source.is_dir() or any((source / split).is_dir() for split in SPLITS)


def _split_tree(source: Path, rule: SplitRule, command: str) -> dict[str, ImageFiles]:
    """List SOURCE/CLASS/*, split by a rule."""
    names = sorted(entry.name for entry in source.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if set(names) <= SPLIT_WORDS and names:
        raise DataMissing(f"{source}: holds {', '.join(names)}; call the two folders train and val; then run {command}")
    if len(names) < 2:
        meant = _root_nearby(source)
        hint = f"{meant} holds train/ and val/" if meant else "it needs a folder for each class, or train/ and val/"
        raise DataMissing(f"{source}: {f'one class folder, {names[0]}' if names else 'no class folders'}; {hint}")
    paths: dict[str, list[str]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    for label, name in enumerate(names):
        found = sorted(_images_below(source, name, command))
        if len(found) < 2:
            raise DataMissing(
                f"{source / name}: {len(found)} images; a class needs two, one for training and one for validation; "
                f"add some or remove the class; then run {command}"
            )
        of_val = validation_paths(found, rule)
        for path in found:
            split = "val" if path in of_val else "train"
            paths[split].append(path)
            labels[split].append(label)
    return {split: ImageFiles(source, paths[split], np.array(labels[split], np.int64), names) for split in SPLITS}


def _read_tree(source: Path, command: str) -> dict[str, ImageFiles]:
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
        if meant := _root_nearby(source):
            raise DataMissing(f"{folder}: missing; {meant} holds train/ and val/; with --source {meant} run {command}")
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


def _root_nearby(source: Path) -> Path | None:
    """The folder that was meant: the one above train/, or one some levels below an unpacked archive's."""
    near = [source.parent, *(path for depth in range(1, SEARCHED_DEPTH + 1) for path in _folders_below(source, depth))]
    return next((path for path in near if all((path / split).is_dir() for split in SPLITS)), None)


def _folders_below(folder: Path, depth: int) -> Iterator[Path]:
    """So many levels down, but not into folders of classes: they may be large."""
    if depth == 0:
        yield folder
    elif folder.name not in SPLITS:
        for entry in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _folders_below(entry, depth - 1)


def _split_files(source: Path, split: str, names: list[str], command: str) -> ImageFiles:
    paths, labels = [], []
    for label, name in enumerate(names):
        found = sorted(_images_below(source, f"{split}/{name}", command))
        if not found:
            raise DataMissing(
                f"{source / split / name}: no images in it; add them or remove the class; then run {command}"
            )
        paths += found
        labels += [label] * len(found)
    return ImageFiles(source, paths, np.array(labels, np.int64), names)


def _images_below(root: Path, folder: str, command: str) -> Iterator[str]:
    for entry in os.scandir(root / folder):
        path = f"{folder}/{entry.name}"
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if entry.is_symlink() and Path(root / folder).resolve().is_relative_to(Path(entry).resolve()):
                raise DataMissing(f"{root / path}: a link to a folder that it is in; remove it, then run {command}")
            yield from _images_below(root, path, command)
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
