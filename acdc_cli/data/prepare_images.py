"""Image files to a data set's folder, in a folder of its own until all is there: an interrupted preparation goes on."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from acdc_cli.data.beton import file_hash
from acdc_cli.data.beton_index import file_sum_of_tables
from acdc_cli.data.dataset import FORMAT, OWN_IMAGES, Dataset, prepare_command, with_sum
from acdc_cli.data.ffcv_availability import ffcv_problem
from acdc_cli.data.image_beton import refuse_too_thin, write_image_beton
from acdc_cli.data.image_check import FileFacts, check_images, content_hash, readable
from acdc_cli.data.image_files import ImageFiles, as_rgb, read_tree, sample_lines
from acdc_cli.data.source import SPLITS, Tree
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import DataMissing, naming
from acdc_cli.records.files import Damaged, read_object
from acdc_cli.system.files import left_temporary, replace_json, replace_text
from acdc_cli.system.progress import stage
from acdc_cli.system.signals import signals_held_back

STAGING = ".preparing"  # in the data set's folder: what is done so far


def prepare_images(name: str, tree: Tree, source: Path | None, out: Path, write: WriteOptions, workers: int) -> Dataset:
    """Check every image, write the lists and the .beton files, compare them with the source, then put all in place.

    An interruption leaves OUT/.preparing: files that were checked are not checked again and a split that was written is
    not written again. Any other failure removes it.

    Raises:
        DataMissing: on a tree that is not what it should be.
        OSError, AcdcError: if something cannot be written.
    """
    staging = out / STAGING
    command = prepare_command(name, source, out, write)
    if source is None and tree.make is None:
        raise DataMissing(f"{name}: needs its folder: acdc-data prepare {name} --source DIR (of train/ and val/)")
    root = staging / OWN_IMAGES if source is None else source.resolve()
    if source is not None:
        read_tree(root, command)  # before anything is written
    try:
        _begin(staging, f"{name} {root}")
        if tree.make is not None and not root.is_dir():
            _make(tree, root)
        info = with_sum(_fill(name, tree, source is None, read_tree(root, command), staging, write, workers))
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


def _fill(
    name: str, tree: Tree, own: bool, listed: dict[str, ImageFiles], staging: Path, write: WriteOptions, workers: int
) -> dict[str, Any]:
    """Everything but dataset.json, whose content is returned."""
    splits: dict[str, Any] = {}
    kept: dict[str, tuple[ImageFiles, list[FileFacts]]] = {}
    for split in SPLITS:
        files = listed[split]
        with stage(f"checking {split} images", len(files.paths)) as advance:
            checked = check_images(files, staging / f"{split}.checked", workers, advance)
        facts = [refuse_too_thin(one, write) for one in checked]
        kept[split] = readable(files, facts)
        splits[split] = _describe_split(split, *kept[split])
        splits[split]["skipped"] = {one.path: one.problem for one in facts if one.problem}
        _refuse_empty_classes(kept[split][0], split, splits[split]["skipped"])
        replace_text(staging / splits[split]["samples"], sample_lines(kept[split][0]))
    bytes_, hashes, tables = {}, {}, {}
    if ffcv_problem() is None:
        for split in SPLITS:
            wanted = {"content": splits[split]["content_sha256"], "write": asdict(write)}
            done = _write_split(split, *kept[split], write, wanted, staging, workers)
            bytes_[split], hashes[split] = done["bytes"], done["sha256"]
            tables[split] = file_sum_of_tables(staging / f"{split}.beton")
    mean, std = (tree.mean, tree.std) if tree.mean and tree.std else mean_and_deviation(kept["train"][0])
    files = kept["train"][0]
    together = "".join(splits[split]["content_sha256"] for split in SPLITS)
    return {
        "format": FORMAT,
        "name": name,
        "kind": "files",
        "source": None if own else str(files.root),
        "classes": len(files.class_names),
        "class_names": files.class_names,
        "channels": 3,
        "size": None,
        "mean": mean,
        "std": std,
        "write": asdict(write),
        **splits,
        "content_hash": hashlib.sha256(together.encode()).hexdigest(),
        "beton_bytes": bytes_ or None,
        "beton_sha256": hashes or None,
        "beton_index_sha256": tables or None,
    }


def _describe_split(split: str, files: ImageFiles, facts: list[FileFacts]) -> dict[str, Any]:
    return {
        "count": len(facts),
        "content_sha256": content_hash(files, facts),
        "samples": f"{split}.tsv",
        "samples_sha256": hashlib.sha256(sample_lines(files).encode()).hexdigest(),
        "source_bytes": sum(one.bytes for one in facts),
    }


def _refuse_empty_classes(files: ImageFiles, split: str, skipped: dict[str, str]) -> None:
    left = np.bincount(files.labels, minlength=len(files.class_names))
    for label in np.flatnonzero(left == 0)[:1]:
        name = files.class_names[label]
        path, problem = next((path, why) for path, why in skipped.items() if path.startswith(f"{split}/{name}/"))
        raise DataMissing(
            f"{files.root / split / name}: none of its images can be read ({path}: {problem}); "
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


def mean_and_deviation(files: ImageFiles) -> tuple[list[float], list[float]]:
    """Per channel over all pixels of all images, in [0, 1]."""
    from PIL import Image

    counts = np.zeros((3, 256), np.int64)  # of every level, by channel
    for path in files.paths:
        with Image.open(files.root / path) as image:
            counts += np.array(as_rgb(image).histogram()).reshape(3, 256)
    levels = np.arange(256) / 255
    mean = counts @ levels / counts.sum(axis=1)
    square = counts @ levels**2 / counts.sum(axis=1)
    return mean.tolist(), np.sqrt(square - mean**2).tolist()


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
