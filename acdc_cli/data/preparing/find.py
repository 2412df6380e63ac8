"""Finding a data set that lies prepared, and preparing it first where this program can do so by itself."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from acdc_cli.data.beton.writer import header_problem
from acdc_cli.data.dataset import Dataset, read_dataset
from acdc_cli.data.preparing.own import HEX_DIGITS, content_keys_of, folder_of, journals_of, locate_own_data, place_of
from acdc_cli.data.preparing.prepare import Job, owned, prepare_owned
from acdc_cli.data.source import SPLITS, is_own
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import DataMissing
from acdc_cli.parts import DATASETS
from acdc_cli.system.files import MEBIBYTE, canonical_sum, file_sum

# A .beton up to this size is compared with its sum whenever it is used. Of larger ones that is the tables alone, which
# say where the samples are: `acdc-data check` reads the rest.
READ_WHOLE_BYTES = 64 * MEBIBYTE
MISSING = "missing"

Say = Callable[[str], object]


def open_dataset(
    name: str,
    data_dir: str | Path,
    say: Say = warnings.warn,
    options: Any = None,
    content_hash: str | None = None,
) -> Dataset:
    """Return a prepared data set.

    An embedded set, and data of the user's own, are prepared on first use, and again if they are damaged.

    Args:
        name: of the data set.
        data_dir: of the run.
        say: is given a line that names damage.
        options: the set's own keys; None: it has none that decide what the samples are.
        content_hash: of data of the user's own, as a settled config has it; None: it is found out now.

    Raises:
        DataMissing: if it is not there, naming the command that makes it.
    """
    if options is not None and is_own(name):
        return _open_own(name, options, Path(data_dir), content_hash, say)
    keys = {} if options is None else content_keys_of(name, options)
    folder = named_folder(name, keys, data_dir)
    if DATASETS.part(name).facts.is_embedded:
        return _found_or_made(folder, Job(name, content_keys=keys), f"{name} is embedded", say)
    if not (folder / "dataset.json").is_file():
        raise DataMissing(
            f"{folder}: no data set {name}; make it with: "
            f"acdc-data prepare {name} --source DIR --out {shlex.quote(str(folder))}"
        )
    return read_dataset(folder)


def named_folder(name: str, keys: Mapping[str, Any], data_dir: str | Path) -> Path:
    """Return the folder of a set that is found by its name: DATA_DIR/NAME.

    Args:
        keys: of an embedded set, those that decide what the samples are. Each choice of them has a folder, NAME-HASH8.
    """
    has_variants = bool(keys) and DATASETS.part(name).facts.is_embedded
    return Path(data_dir) / (f"{name}-{canonical_sum(dict(keys))[:HEX_DIGITS]}" if has_variants else name)


def _found_or_made(folder: Path, job: Job, reason: str, say: Say) -> Dataset:
    """Return what is in a folder, which is made first if it is not there, or is damaged.

    Args:
        reason: why it can be made again, for the line that names damage.
    """
    with suppress(DataMissing):
        return _whole(folder, job)
    with owned(folder):
        try:
            return _whole(folder, job)  # if another process has made it meanwhile
        except DataMissing as problem:
            if (folder / "dataset.json").exists():
                say(f"{str(problem).partition('; make it')[0]}; {reason} and is made again")
        return prepare_owned(job, folder)  # never made, or damaged


def _whole(folder: Path, job: Job) -> Dataset:
    dataset = read_dataset(folder)
    if job.content_hash not in (None, dataset.info["content_hash"]):
        raise DataMissing(f"{folder}: is of other content; make it again")
    if job.source is not None:  # the files, which have just been looked at, may have been moved since
        dataset = replace(dataset, info=dataset.info | {"source": str(job.source.resolve())})
    elif dataset.kind == "files":
        dataset.read_files()
    return dataset


def _open_own(name: str, options: Any, data_dir: Path, content_hash: str | None, say: Say) -> Dataset:
    if content_hash is None:
        content_hash = locate_own_data(name, options, data_dir)[1]
        assert content_hash is not None
    if options.source is None:
        with suppress(DataMissing):
            if (by_hand := read_dataset(data_dir / name)).info["content_hash"] == content_hash:
                return by_hand
    folder = folder_of(name, content_hash, data_dir)
    try:
        place = place_of(name, options)
    except DataMissing:  # gone since; what is prepared may do without it
        if not (folder / "dataset.json").is_file():
            raise
        return read_dataset(folder)
    keys, journals = content_keys_of(name, options), journals_of(name, options, data_dir)
    job = Job(
        name, place, content_keys=keys, content_hash=content_hash, journals=journals if journals.is_dir() else None
    )
    dataset = _found_or_made(folder, job, f"{place} is still there", say)
    for journal in journals.glob("*.checked"):
        journal.unlink(missing_ok=True)
    return dataset


def require_beton(dataset: Dataset, say: Say = warnings.warn) -> Dataset:
    """Make sure that both .beton files are there and whole; embedded sets, and those of one's own, are made again.

    Args:
        say: is given a line that names a damaged file.

    Raises:
        DataMissing: naming the file and the command that makes it.
    """
    for split in SPLITS:
        if problem := _beton_problem(dataset, split):
            if (job := _made_again(dataset)) is None:
                raise DataMissing(f"{dataset.beton(split)}: {problem}; make it with: {dataset.prepare_command}")
            if problem != MISSING:  # one is made for the loader that needs it, and not before
                kind = "is embedded" if job.source is None else "can be read again"
                say(f"{dataset.beton(split)}: {problem}; {dataset.name} {kind} and is made again")
            with owned(dataset.folder):
                return prepare_owned(job, dataset.folder)
    return dataset


def _made_again(dataset: Dataset) -> Job | None:
    """What makes the same samples again without being told where they are; None: nothing does."""
    source = dataset.info["source"]
    write = WriteOptions(**dataset.info["write"]) if dataset.kind == "files" else None
    if DATASETS.part(dataset.name).facts.is_embedded:
        return Job(dataset.name, write=write, content_keys=dataset.content_keys)
    if is_own(dataset.name) and source is not None and Path(source).exists():
        keys, content_hash = dataset.content_keys, dataset.info["content_hash"]
        return Job(dataset.name, Path(source), write, content_keys=keys, content_hash=content_hash)
    return None


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
