"""A data set on disk: train.beton and val.beton for FFCV, and dataset.json, which says what they hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_cli.data.beton import file_hash, write_betons
from acdc_cli.data.ffcv_availability import ffcv_problem
from acdc_cli.data.sources import SOURCES, SPLITS, Samples, require_preparable
from acdc_cli.errors import BadInput, DataMissing, not_a_choice
from acdc_cli.records.folder import replace_json

FORMAT = 1
KEYS = {"name", "source", "classes", "channels", "size", "mean", "std", *SPLITS, "beton_bytes", "beton_sha256"}


@dataclass(frozen=True)
class Dataset:
    """A prepared data set: its folder and the content of dataset.json."""

    folder: Path
    info: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name in SOURCES."""
        return self.info["name"]

    @property
    def classes(self) -> int:
        """Number of labels."""
        return self.info["classes"]

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(channels, height, width), as the model sees a sample."""
        return (self.info["channels"], *self.info["size"])

    def count(self, split: str) -> int:
        """Samples in a split."""
        return self.info[split]["count"]

    def beton(self, split: str) -> Path:
        """FFCV's file of a split, whether or not it is there."""
        return self.folder / f"{split}.beton"

    @property
    def prepare_command(self) -> str:
        """The command that makes this folder again."""
        source = self.info["source"]
        option = "" if source is None else f" --source {source}"
        return f"acdc-data prepare {self.name}{option} --out {self.folder}"

    def read_source(self) -> dict[str, Samples]:
        """The same samples from where they came from.

        Raises:
            DataMissing: if the source is gone, or is no longer what was prepared.
        """
        source = self.info["source"]
        samples = SOURCES[self.name].read(Path(source) if source else None)
        for split in SPLITS:
            if content_hash(samples[split]) != self.info[split]["content_sha256"]:
                raise DataMissing(
                    f"{source or self.name}: not what {self.folder} was made from; run {self.prepare_command}"
                )
        return samples


def content_hash(samples: Samples) -> str:
    """SHA-256 over shape, pixels and labels: what the set holds, however it is stored."""
    digest = hashlib.sha256(str(samples.images.shape).encode())
    digest.update(np.ascontiguousarray(samples.images).data)
    digest.update(np.ascontiguousarray(samples.labels).data)
    return digest.hexdigest()


def prepare(name: str, source: Path | None, out: Path) -> Dataset:
    """Write a data set's folder. Either all of it is there afterwards, or what was there before.

    Args:
        name: one of SOURCES.
        source: folder of the published files; None for an embedded set.
        out: folder to write.

    Raises:
        BadInput: on an unknown name, or a source for a set that has none.
        DataMissing: if the source is missing or unreadable, or this version cannot read such sources yet.
    """
    require_preparable(name)
    if name not in SOURCES:
        raise not_a_choice("DATASET", name, SOURCES)
    if SOURCES[name].embedded and source is not None:
        raise BadInput(f"--source {source}: {name} is embedded and needs none; drop --source")
    samples = SOURCES[name].read(source)
    out.mkdir(parents=True, exist_ok=True)
    dataset = Dataset(out, _describe(name, source, samples))
    if ffcv_problem() is None:
        paths = {split: dataset.beton(split) for split in SPLITS}
        write_betons(samples, paths)
        dataset.info["beton_bytes"] = {split: path.stat().st_size for split, path in paths.items()}
        dataset.info["beton_sha256"] = {split: file_hash(path) for split, path in paths.items()}
    else:
        for split in SPLITS:
            dataset.beton(split).unlink(missing_ok=True)
    replace_json(out / "dataset.json", dataset.info)
    return dataset


def _describe(name: str, source: Path | None, samples: dict[str, Samples]) -> dict[str, Any]:
    train = samples["train"]
    scaled = train.images.reshape(-1, train.images.shape[-1]).astype(np.float64) / 255
    splits = {
        split: {
            "count": len(samples[split].labels),
            "content_sha256": content_hash(samples[split]),
            "samples": SOURCES[name].describe(split),
        }
        for split in SPLITS
    }
    together = "".join(splits[split]["content_sha256"] for split in SPLITS)
    return {
        "format": FORMAT,
        "name": name,
        "source": None if source is None else str(source.resolve()),
        "classes": SOURCES[name].classes,
        "channels": train.images.shape[-1],
        "size": list(train.images.shape[1:3]),
        "mean": scaled.mean(axis=0).tolist(),  # per channel, of the training images in [0, 1]
        "std": scaled.std(axis=0).tolist(),
        **splits,
        "content_hash": hashlib.sha256(together.encode()).hexdigest(),
        "beton_bytes": None,
        "beton_sha256": None,
    }


def open_dataset(name: str, data_dir: str | Path) -> Dataset:
    """The data set in DATA_DIR/<name>/; an embedded one is prepared on first use.

    Raises:
        DataMissing: if it is not there, naming the command that makes it.
    """
    require_preparable(name)
    folder = Path(data_dir) / name
    if SOURCES[name].embedded:
        try:
            return read_dataset(folder)
        except DataMissing:  # never made, or damaged: making it takes a second
            return prepare(name, None, folder)
    if not (folder / "dataset.json").is_file():
        raise DataMissing(
            f"{folder}: no data set {name}; make it with: acdc-data prepare {name} --source DIR --out {folder}"
        )
    return read_dataset(folder)


def read_dataset(folder: Path) -> Dataset:
    """A prepared folder. Raises DataMissing if its dataset.json is missing or unreadable."""
    path = folder / "dataset.json"
    try:
        info = json.loads(path.read_text())
        if info["format"] != FORMAT or info["name"] not in SOURCES:
            raise ValueError(f"format {info['format']}, name {info['name']}")
        if missing := KEYS - info.keys():
            raise ValueError(f"no {', '.join(sorted(missing))}")
    except FileNotFoundError:
        raise DataMissing(
            f"{path}: missing; make it with: acdc-data prepare DATASET --source DIR --out {folder}"
        ) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataMissing(f"{path}: unreadable ({error}); make it again with acdc-data prepare") from None
    return Dataset(folder, info)


def require_beton(dataset: Dataset) -> Dataset:
    """Make sure that both .beton files are there and whole; embedded sets are made again if not.

    Raises:
        DataMissing: naming the file and the command that makes it.
    """
    expected = dataset.info["beton_bytes"]
    for split in SPLITS:
        path = dataset.beton(split)
        size = path.stat().st_size if path.is_file() else None
        if expected and size == expected[split]:
            continue
        if SOURCES[dataset.name].embedded:
            return prepare(dataset.name, None, dataset.folder)
        what = "missing" if size is None else f"{size} bytes, dataset.json says {expected and expected[split]}"
        raise DataMissing(f"{path}: {what}; make it with: {dataset.prepare_command}")
    return dataset


def check(dataset: Dataset) -> list[str]:
    """Re-read everything and compare with dataset.json.

    Returns:
        One line per fault; empty if all is as it was written.
    """
    faults = []
    if dataset.info["beton_bytes"] is None:
        try:
            dataset.read_source()
        except DataMissing as error:
            faults.append(str(error))
        return faults
    from acdc_cli.data.ffcv_loader import read_beton

    for split in SPLITS:
        path = dataset.beton(split)
        size = path.stat().st_size if path.is_file() else None
        if size != dataset.info["beton_bytes"][split]:
            faults.append(f"{path}: {size} bytes, dataset.json says {dataset.info['beton_bytes'][split]}")
        elif file_hash(path) != dataset.info["beton_sha256"][split]:
            faults.append(f"{path}: not the bytes that were written")
        elif content_hash(read_beton(path)) != dataset.info[split]["content_sha256"]:
            faults.append(f"{path}: its samples are not those that were written")
    return faults
