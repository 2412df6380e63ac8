"""Making a data set's folder from what its publishers ship."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acdc_cli.data.beton.arrays import write_array_betons
from acdc_cli.data.beton.availability import ffcv_problem
from acdc_cli.data.beton.index import file_sum_of_tables
from acdc_cli.data.beton.writer import file_hash
from acdc_cli.data.dataset import FORMAT, Dataset, array_hash, joined_hash, prepare_command, require_content, with_sum
from acdc_cli.data.preparing.moments import level_counts, moments
from acdc_cli.data.preparing.prepare_images import prepare_images
from acdc_cli.data.source import SPLITS, Arrays, Samples, Source, is_own, source_of
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import BadInput, DataMissing
from acdc_cli.parts import DATASETS
from acdc_cli.system.files import replace_json
from acdc_cli.system.locks import owned_in_turn
from acdc_cli.system.processors import cores
from acdc_cli.system.progress import waiting_for


@dataclass(frozen=True)
class Job:
    """What is to be prepared.

    Attributes:
        name: of the data set.
        source: folder or file that the samples come from; None for an embedded set.
        write: how image files go into the .beton; None: as the set says. Arrays are stored as they are.
        workers: processes that read and write image files; None: one for each core.
        content_keys: the set's own keys that decide, with the files, what the samples are.
        content_hash: that the samples have to have; None: any. Where they have another one, nothing is written.
        journals: folder with what is known of image files that were read before; None: there is none.
    """

    name: str
    source: Path | None = None
    write: WriteOptions | None = None
    workers: int | None = None
    content_keys: Mapping[str, Any] = field(default_factory=dict)
    content_hash: str | None = None
    journals: Path | None = None

    @property
    def origin(self) -> Source:
        """Where the samples come from."""
        return source_of(self.name, self.content_keys)


def prepare(
    name: str,
    source: Path | None,
    out: Path,
    write: WriteOptions | None = None,
    workers: int | None = None,
    content_keys: Mapping[str, Any] | None = None,
) -> Dataset:
    """Write a data set's folder. Either all of it is there afterwards, or what was there before.

    Args:
        name: of the data set.
        source: folder of the published files; None for an embedded set, and for one whose files have a usual place.
        out: folder to write.
        write: how image files go into the .beton; None: as the set says. Arrays are stored as they are.
        workers: processes that read and write image files; None: all cores.
        content_keys: the set's own keys that decide, with the files, what the samples are.

    Raises:
        BadInput: on an unknown name, or a source for a set that has none.
        DataMissing: if the source is missing or unreadable.
        OSError: if the folder cannot be written.
    """
    if DATASETS.part(name, "DATASET").facts.is_embedded and source is not None:
        raise BadInput(f"--source {source}: {name} is embedded and needs none; drop --source")
    job = Job(name, source, write, workers, content_keys or {})
    if is_own(name) and source is None:
        job = Job(name, usual_place(name, job.origin), write, workers, content_keys or {})
    with owned(out):
        return prepare_owned(job, out)


def usual_place(name: str, origin: Source) -> Path:
    """Return the place where the files are if nobody says otherwise.

    Raises:
        DataMissing: if there is no such place, saying how to get the files.
    """
    if origin.place is not None and origin.place.exists():
        return origin.place
    if origin.how_to_get is not None:
        raise DataMissing(
            f"{origin.place}: no {name} there; get it with: {origin.how_to_get}; or name another place with "
            f"dataset.source=DIR (acdc-data prepare {name} --source DIR)"
        )
    raise DataMissing(
        f"{name}: is data of your own; name it with dataset.source=PATH (acdc-data prepare {name} --source PATH)"
    )


@contextmanager
def owned(folder: Path) -> Iterator[None]:
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


def prepare_owned(job: Job, out: Path) -> Dataset:
    """Do what ``prepare`` does, in a folder that this process owns."""
    data = job.origin.data
    if isinstance(data, Arrays):
        return _prepare_arrays(job, data, out)
    write, workers = job.write or data.write, job.workers or cores()
    return prepare_images(job.name, data, job.source, out, write, workers, job.content_hash, job.journals)


def _prepare_arrays(job: Job, arrays: Arrays, out: Path) -> Dataset:
    samples = arrays.read(job.source)
    dataset = Dataset(out, _describe(job, arrays, samples))
    command = prepare_command(job.name, job.source, out, None, job.content_keys)
    require_content(dataset.info["source"], dataset.info["content_hash"], job.content_hash, command)
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


def _describe(job: Job, arrays: Arrays, samples: dict[str, Samples]) -> dict[str, Any]:
    train = samples["train"]
    mean, std = moments(level_counts(train.images)) if is_own(job.name) else _exact_moments(train.images)
    splits = {
        split: {
            "count": len(samples[split].labels),
            "content_sha256": array_hash(samples[split]),
            "samples": arrays.describe(split),
        }
        for split in SPLITS
    }
    classes = job.origin.classes or class_count(samples)
    return {
        "format": FORMAT,
        "name": job.name,
        **({"options": dict(job.content_keys)} if job.content_keys else {}),
        "source": None if job.source is None else str(job.source.resolve()),
        "classes": classes,
        "channels": train.images.shape[-1],
        "size": list(train.images.shape[1:3]),
        "mean": mean,
        "std": std,
        **splits,
        "content_hash": joined_hash(splits[split]["content_sha256"] for split in SPLITS),
        "beton_bytes": None,
        "beton_sha256": None,
        "beton_index_sha256": None,
    }


def class_count(samples: dict[str, Samples]) -> int:
    """Return the number of classes of samples whose set does not say it: the largest label of any split, plus 1."""
    return 1 + max(int(one.labels.max()) for one in samples.values())


def _exact_moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and deviation per channel of pixels in [0, 1], in floating point: what published sets had from the first."""
    scaled = images.reshape(-1, images.shape[-1]).astype(np.float64) / 255
    return scaled.mean(axis=0).tolist(), scaled.std(axis=0).tolist()
