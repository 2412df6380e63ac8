"""Image files to a data set's folder, in a folder of its own until all is there: an interrupted preparation goes on."""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_cli.data.beton.availability import ffcv_problem
from acdc_cli.data.beton.images import refuse_too_thin, write_image_beton
from acdc_cli.data.beton.index import file_sum_of_tables
from acdc_cli.data.beton.writer import file_hash
from acdc_cli.data.dataset import (
    FORMAT,
    OWN_IMAGES,
    Dataset,
    joined_hash,
    prepare_command,
    require_content,
    with_sum,
)
from acdc_cli.data.image_files import FileFacts, ImageFiles, as_rgb, has_splits, read_tree, sample_lines
from acdc_cli.data.preparing.image_check import check_images, content_hash, readable
from acdc_cli.data.preparing.moments import LEVELS, moments
from acdc_cli.data.source import SPLITS, Tree
from acdc_cli.data.split import RULE
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import DataMissing, naming
from acdc_cli.records.files import Damaged, read_object
from acdc_cli.system.files import left_temporary, replace_json, replace_text
from acdc_cli.system.progress import stage
from acdc_cli.system.signals import signals_held_back

IMAGES_A_TIME = 256
STAGING = ".preparing"  # in the data set's folder: what is done so far


def prepare_images(
    name: str,
    tree: Tree,
    source: Path | None,
    out: Path,
    write: WriteOptions,
    workers: int,
    wanted_hash: str | None = None,
    journals: Path | None = None,
) -> Dataset:
    """Check every image, write the lists and the .beton files, compare them with the source, then put all in place.

    An interruption leaves OUT/.preparing: files that were checked are not checked again and a split that was written is
    not written again. Any other failure removes it.

    Args:
        wanted_hash: the content hash that the images have to have; None: any.
        journals: folder in which the journals of earlier checks of these images are; None: none were checked before.

    Raises:
        DataMissing: on a tree that is not what it should be.
        OSError, AcdcError: if something cannot be written.
    """
    staging = out / STAGING
    command = prepare_command(name, source, out, write, asdict(tree.split) if tree.split else None)
    if source is None and tree.make is None:
        raise DataMissing(f"{name}: needs its folder: acdc-data prepare {name} --source DIR (of train/ and val/)")
    root = staging / OWN_IMAGES if source is None else source.resolve()
    if source is not None:
        read_tree(root, command, tree.split)  # before anything is written
    try:
        _begin(staging, f"{name} {root}")
        if tree.make is not None and not root.is_dir():
            _make(tree, root)
        checked = check_tree(read_tree(root, command, tree.split), journals or staging, write, workers)
        require_content(str(root), content_of_tree(checked), wanted_hash, command)
        info = with_sum(_fill((name, tree, source), checked, staging, write, workers))
        replace_json(staging / "dataset.json", info)
    except Exception:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    with signals_held_back():
        _put_in_place(staging, out)
    return Dataset(out, info)


def _begin(staging: Path, what: str) -> None:
    """Go on with what is there, if it is of the same images."""
    note = staging / "source"
    if not note.is_file() or note.read_bytes() != what.encode():
        shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(exist_ok=True)
    for stale in left_temporary(staging):
        stale.unlink()  # of a process that was killed while it wrote
    replace_text(note, what)


def _make(tree: Tree, root: Path) -> None:
    assert tree.make is not None
    unfinished = root.with_name(f"{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with naming(unfinished):
        tree.make(unfinished)
    os.replace(unfinished, root)


@dataclass(frozen=True)
class CheckedSplit:
    """The images of a split that can be used, what is known of them, and why the others cannot.

    Attributes:
        files: the usable images.
        facts: one entry for each of them.
        skipped: path -> what is wrong with it.
    """

    files: ImageFiles
    facts: list[FileFacts]
    skipped: dict[str, str]

    @property
    def content_hash(self) -> str:
        """SHA-256 of paths, labels and files."""
        return content_hash(self.files, self.facts)


def check_tree(
    listed: dict[str, ImageFiles], journals: Path, write: WriteOptions, workers: int
) -> dict[str, CheckedSplit]:
    """Read every image of a tree.

    Args:
        listed: the images of each split.
        journals: folder of the journals, SPLIT.checked: unchanged images that they have are not read again.
        write: how the images are to be stored.
        workers: threads.

    Raises:
        DataMissing: if none of the images of a class can be used.
    """
    checked = {}
    for split in SPLITS:
        files = listed[split]
        with stage(f"checking {split} images", len(files.paths)) as advance:
            facts = check_images(files, journals / f"{split}.checked", workers, advance)
        facts = [refuse_too_thin(one, write) for one in facts]
        checked[split] = CheckedSplit(*readable(files, facts), {one.path: one.problem for one in facts if one.problem})
        _refuse_empty_classes(checked[split], files)
    return checked


def _fill(
    job: tuple[str, Tree, Path | None],
    checked: dict[str, CheckedSplit],
    staging: Path,
    write: WriteOptions,
    workers: int,
) -> dict[str, Any]:
    """Write everything but dataset.json, whose content is returned.

    Args:
        job: the data set's name, its tree, and the folder of the tree; None: the images lie in the set's own folder.
    """
    name, tree, source = job
    splits = {split: _describe_split(split, one) for split, one in checked.items()}
    for split, one in checked.items():
        replace_text(staging / splits[split]["samples"], sample_lines(one.files))
    bytes_, hashes, tables = {}, {}, {}
    if ffcv_problem() is None:
        for split, one in checked.items():
            wanted = {"content": splits[split]["content_sha256"], "write": asdict(write)}
            done = _write_split(split, one.files, one.facts, write, wanted, staging, workers)
            bytes_[split], hashes[split] = done["bytes"], done["sha256"]
            tables[split] = file_sum_of_tables(staging / f"{split}.beton")
    files = checked["train"].files
    mean, std = (tree.mean, tree.std) if tree.mean and tree.std else mean_and_deviation(files, workers)
    return {
        "format": FORMAT,
        "name": name,
        "kind": "files",
        **_split_facts(tree, source),
        "source": None if source is None else str(files.root),
        "classes": len(files.class_names),
        "class_names": files.class_names,
        "channels": 3,
        "size": None,
        "mean": mean,
        "std": std,
        "write": asdict(write),
        **splits,
        "content_hash": content_of_tree(checked),
        "beton_bytes": bytes_ or None,
        "beton_sha256": hashes or None,
        "beton_index_sha256": tables or None,
    }


def content_of_tree(checked: dict[str, CheckedSplit]) -> str:
    """Return the content hash of a tree: of every usable image's split, path, label and bytes."""
    return joined_hash(checked[split].content_hash for split in SPLITS)


def _split_facts(tree: Tree, source: Path | None) -> dict[str, Any]:
    """What dataset.json says of how the images were split, where the program did it."""
    if tree.split is None or source is None:
        return {}
    return {"options": {}} if has_splits(source) else {"options": asdict(tree.split), "split": RULE}


def _describe_split(split: str, checked: CheckedSplit) -> dict[str, Any]:
    return {
        "count": len(checked.facts),
        "content_sha256": checked.content_hash,
        "samples": f"{split}.tsv",
        "samples_sha256": hashlib.sha256(sample_lines(checked.files).encode()).hexdigest(),
        "source_bytes": sum(one.bytes for one in checked.facts),
        "skipped": checked.skipped,
    }


def _refuse_empty_classes(checked: CheckedSplit, listed: ImageFiles) -> None:
    names = listed.class_names
    left = np.bincount(checked.files.labels, minlength=len(names))
    for label in np.flatnonzero(left == 0)[:1]:
        path = listed.paths[int(np.flatnonzero(listed.labels == label)[0])]
        parts = path.split("/")
        folder = "/".join(parts[: parts.index(names[label]) + 1])
        raise DataMissing(
            f"{listed.root / folder}: none of its images can be read ({path}: {checked.skipped[path]}); "
            f"put readable ones there or remove the class from both splits"
        )


def _write_split(
    split: str, files: ImageFiles, facts: list[FileFacts], write: WriteOptions, wanted: Any, staging: Path, workers: int
) -> dict[str, Any]:
    """Write a split's .beton, or find that an earlier call has done it; a note beside it says what it holds."""
    path, note = staging / f"{split}.beton", staging / f"{split}.written"
    if note.is_file() and path.is_file():
        with suppress(Damaged):  # then the split is written again
            done = read_object(note, {"wanted": dict, "bytes": int, "sha256": str})
            if done["wanted"] == wanted and file_hash(path) == done["sha256"]:
                return done
    note.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    with stage(f"writing {path.name}", len(facts)) as advance:
        write_image_beton(path, files, facts, write, workers, advance)
    done = {"wanted": wanted, "bytes": path.stat().st_size, "sha256": file_hash(path)}
    replace_json(note, done)
    return done


def mean_and_deviation(files: ImageFiles, workers: int) -> tuple[list[float], list[float]]:
    """Return mean and deviation per channel over all pixels of all images, in [0, 1]."""
    from PIL import Image

    def counts_of(path: str) -> np.ndarray:
        with Image.open(files.root / path) as image:
            return np.array(as_rgb(image).histogram()).reshape(3, LEVELS)

    counts = np.zeros((3, LEVELS), np.int64)
    total = len(files.paths)
    with stage("mean of the train images", total) as advance, ThreadPoolExecutor(max(1, workers)) as executor:
        for start in range(0, total, IMAGES_A_TIME):  # a few at a time, so that an interruption is heard
            for own in executor.map(counts_of, files.paths[start : start + IMAGES_A_TIME]):
                counts += own
                advance(1)
    return moments(counts)


def _put_in_place(staging: Path, out: Path) -> None:
    """Everything is on the disk: renames only, with dataset.json the first to go and the last to come."""
    (out / "dataset.json").unlink(missing_ok=True)
    for split in SPLITS:
        (out / f"{split}.beton").unlink(missing_ok=True)  # of a machine that had FFCV
    shutil.rmtree(out / OWN_IMAGES, ignore_errors=True)
    names = [OWN_IMAGES, *(f"{split}{end}" for split in SPLITS for end in (".tsv", ".beton")), "dataset.json"]
    for name in names:
        if (staging / name).exists():
            os.replace(staging / name, out / name)
    shutil.rmtree(staging)
