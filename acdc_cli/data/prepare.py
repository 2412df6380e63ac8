"""Making a data set's folder from what its publishers ship, and finding one that is there."""

from __future__ import annotations

import hashlib
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from acdc_cli.data.array_beton import write_array_betons
from acdc_cli.data.beton import file_hash, header_problem
from acdc_cli.data.beton_index import file_sum_of_tables
from acdc_cli.data.dataset import FORMAT, Dataset, array_hash, read_dataset, with_sum
from acdc_cli.data.ffcv_availability import ffcv_problem
from acdc_cli.data.prepare_images import prepare_images
from acdc_cli.data.source import SPLITS, Arrays, Samples, source_of
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import BadInput, DataMissing
from acdc_cli.parts import DATASETS
from acdc_cli.system.files import MEBIBYTE, file_sum, replace_json
from acdc_cli.system.locks import owned_in_turn
from acdc_cli.system.processors import cores
from acdc_cli.system.progress import waiting_for

__all__ = ["Dataset", "open_dataset", "prepare", "read_dataset", "require_beton"]

# A .beton up to this size is compared with its sum whenever it is used. Of larger ones that is the tables alone, which
# say where the samples are: `acdc-data check` reads the rest.
READ_WHOLE_BYTES = 64 * MEBIBYTE
MISSING = "missing"

Say = Callable[[str], object]


def prepare(
    name: str, source: Path | None, out: Path, write: WriteOptions | None = None, workers: int | None = None
) -> Dataset:
    """Write a data set's folder. Either all of it is there afterwards, or what was there before.

    Args:
        name: of the data set.
        source: folder of the published files; None for an embedded set.
        out: folder to write.
        write: how image files go into the .beton; None: as the set says. Arrays are stored as they are.
        workers: processes that read and write image files; None: all cores.

    Raises:
        BadInput: on an unknown name, or a source for a set that has none.
        DataMissing: if the source is missing or unreadable.
        OSError: if the folder cannot be written.
    """
    if DATASETS.part(name, "DATASET").facts.is_embedded and source is not None:
        raise BadInput(f"--source {source}: {name} is embedded and needs none; drop --source")
    with _owned(out):
        return _prepare(name, source, out, write, workers)


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Keep other processes that prepare the same folder waiting; a folder that stays empty is removed."""
    there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with owned_in_turn(folder, lambda: waiting_for(folder)):
        try:
            yield
        finally:
            if not there:
                with suppress(OSError):
                    folder.rmdir()


def _prepare(name: str, source: Path | None, out: Path, write: WriteOptions | None, workers: int | None) -> Dataset:
    data = source_of(name).data
    if isinstance(data, Arrays):
        return _prepare_arrays(name, data, source, out)
    return prepare_images(name, data, source, out, write or data.write, workers or cores())


def _prepare_arrays(name: str, arrays: Arrays, source: Path | None, out: Path) -> Dataset:
    samples = arrays.read(source)
    dataset = Dataset(out, _describe(name, arrays, source, samples))
    if ffcv_problem() is None:
        paths = {split: dataset.beton(split) for split in SPLITS}
        write_array_betons(samples, paths)
        dataset.info["beton_bytes"] = {split: path.stat().st_size for split, path in paths.items()}
        dataset.info["beton_sha256"] = {split: file_hash(path) for split, path in paths.items()}
        dataset.info["beton_index_sha256"] = {split: file_sum_of_tables(path) for split, path in paths.items()}
    else:
        for split in SPLITS:
            dataset.beton(split).unlink(missing_ok=True)
    info = with_sum(dataset.info)
    replace_json(out / "dataset.json", info)
    return Dataset(out, info)


def _describe(name: str, arrays: Arrays, source: Path | None, samples: dict[str, Samples]) -> dict[str, Any]:
    train = samples["train"]
    scaled = train.images.reshape(-1, train.images.shape[-1]).astype(np.float64) / 255
    splits = {
        split: {
            "count": len(samples[split].labels),
            "content_sha256": array_hash(samples[split]),
            "samples": arrays.describe(split),
        }
        for split in SPLITS
    }
    together = "".join(splits[split]["content_sha256"] for split in SPLITS)
    return {
        "format": FORMAT,
        "name": name,
        "source": None if source is None else str(source.resolve()),
        "classes": source_of(name).classes,
        "channels": train.images.shape[-1],
        "size": list(train.images.shape[1:3]),
        "mean": scaled.mean(axis=0).tolist(),  # per channel, of the training images in [0, 1]
        "std": scaled.std(axis=0).tolist(),
        **splits,
        "content_hash": hashlib.sha256(together.encode()).hexdigest(),
        "beton_bytes": None,
        "beton_sha256": None,
        "beton_index_sha256": None,
    }


def open_dataset(name: str, data_dir: str | Path, say: Say = warnings.warn) -> Dataset:
    """The data set in DATA_DIR/<name>/; an embedded one is prepared on first use, and again if it is damaged.

    Args:
        say: is given a line that names the damage.

    Raises:
        DataMissing: if it is not there, naming the command that makes it.
    """
    folder = Path(data_dir) / name
    if DATASETS.part(name).facts.is_embedded:
        with suppress(DataMissing):
            return _whole(folder)
        with _owned(folder):
            try:
                return _whole(folder)  # if another process has made it meanwhile
            except DataMissing as problem:
                if (folder / "dataset.json").exists():
                    say(f"{str(problem).partition('; make it')[0]}; {name} is embedded and is made again")
            return _prepare(name, None, folder, None, None)  # never made, or damaged
    if not (folder / "dataset.json").is_file():
        raise DataMissing(
            f"{folder}: no data set {name}; make it with: "
            f"acdc-data prepare {name} --source DIR --out {shlex.quote(str(folder))}"
        )
    return read_dataset(folder)


def _whole(folder: Path) -> Dataset:
    dataset = read_dataset(folder)
    if dataset.kind == "files":
        dataset.read_files()
    return dataset


def require_beton(dataset: Dataset, say: Say = warnings.warn) -> Dataset:
    """Make sure that both .beton files are there and whole; embedded sets are made again if not.

    Args:
        say: is given a line that names a damaged file.

    Raises:
        DataMissing: naming the file and the command that makes it.
    """
    for split in SPLITS:
        if problem := _beton_problem(dataset, split):
            if DATASETS.part(dataset.name).facts.is_embedded:
                if problem != MISSING:  # one is made for the loader that needs it, and not before
                    say(f"{dataset.beton(split)}: {problem}; {dataset.name} is embedded and is made again")
                return prepare(dataset.name, None, dataset.folder)
            raise DataMissing(f"{dataset.beton(split)}: {problem}; make it with: {dataset.prepare_command}")
    return dataset


def _beton_problem(dataset: Dataset, split: str) -> str | None:
    path, expected = dataset.beton(split), dataset.info["beton_bytes"]
    if not path.is_file():
        return MISSING
    size = path.stat().st_size
    if not expected or size != expected[split]:
        return f"{size} bytes, dataset.json says {expected and expected[split]}"
    if problem := header_problem(path, dataset.count(split)):
        return problem
    is_small = size <= READ_WHOLE_BYTES
    return (
        "not the bytes that were written"
        if is_small and file_sum(path) != dataset.info["beton_sha256"][split]
        else None
    )
