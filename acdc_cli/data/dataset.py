"""A prepared data set on disk: train.beton and val.beton for FFCV, and dataset.json, which says what they hold."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_cli.data.image_files import ImageFiles, parse_samples
from acdc_cli.data.source import SPLITS, Arrays, Samples, Source, Tree, source_of
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import DataMissing
from acdc_cli.parts import DATASETS
from acdc_cli.records.files import NUMBER, Shape, check_shape, or_null, parse_object
from acdc_cli.system.files import canonical_sum

FORMAT = 1
SUM = "record_sha256"  # key of dataset.json: the SHA-256 of the rest, as canonical JSON; older files have none
_OF_SPLITS: Shape = {"count": int, "content_sha256": str}
_OF_FILES: Shape = {"samples": str, "samples_sha256": str, "source_bytes": int}
INFO: Shape = {
    **{"format": int, "name": str, "source": (str, None), "classes": int, "channels": int, "size": (list, None)},
    **{"mean": list, "std": list, "content_hash": str, f"{SUM}?": str, "kind?": str},
    **dict.fromkeys(SPLITS, _OF_SPLITS),
    "beton_bytes": or_null(dict.fromkeys(SPLITS, int)),
    "beton_sha256": or_null(dict.fromkeys(SPLITS, str)),
    "beton_index_sha256?": or_null(dict.fromkeys(SPLITS, str)),
    **{"options?": dict, "split?": str},
}
INFO_OF_FILES: Shape = {"class_names": list, "write": dict, **dict.fromkeys(SPLITS, _OF_FILES)}
OWN_IMAGES = "images"  # folder of an embedded set's image files, beside dataset.json


@dataclass(frozen=True)
class Dataset:
    """A prepared data set: its folder and the content of dataset.json."""

    folder: Path
    info: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name, by which a config chooses it."""
        return self.info["name"]

    @property
    def own_source(self) -> Source:
        """Where the samples came from."""
        return source_of(self.name, self.content_keys)

    @property
    def content_keys(self) -> dict[str, Any]:
        """The data set's own keys that the samples were made with, beside the files that they come from."""
        keys: dict[str, Any] = self.info.get("options", {})
        return keys

    @property
    def kind(self) -> str:
        """ "arrays": images of one size, which fit in memory; "files": image files of any size."""
        return self.info.get("kind", "arrays")

    @property
    def classes(self) -> int:
        """Number of labels."""
        return self.info["classes"]

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.info["channels"]

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a sample; of image files, at the set's usual resolution."""
        height, width = self.info["size"] or (self.own_source.sample_shape or (None, None, None))[1:]
        assert height and width, "a set of image files has a usual resolution"
        return self.channels, height, width

    @property
    def identity(self) -> list[Any]:
        """Everything about the data that can change a run's numbers: the samples, and how image files are stored."""
        return [self.info["content_hash"], self.info.get("write")]

    @property
    def content_hash(self) -> str:
        """SHA-256 of the samples, however they are stored."""
        return str(self.info["content_hash"])

    def count(self, split: str) -> int:
        """Samples in a split."""
        return self.info[split]["count"]

    def index_sum(self, split: str) -> str | None:
        """SHA-256 of the tables of a split's .beton; None for a set that an older version has prepared."""
        sums = self.info.get("beton_index_sha256")
        return None if sums is None else sums[split]

    def beton(self, split: str) -> Path:
        """FFCV's file of a split, whether or not it is there."""
        return self.folder / f"{split}.beton"

    @property
    def images_root(self) -> Path:
        """Folder that the image files' paths are relative to."""
        return Path(self.info["source"] or self.folder / OWN_IMAGES)

    @property
    def prepare_command(self) -> str:
        """The command that makes this folder again."""
        write = WriteOptions(**self.info["write"]) if self.kind == "files" else None
        return prepare_command(self.name, self.info["source"], self.folder, write, self.content_keys)

    def read_source(self) -> dict[str, Samples]:
        """The same samples from where they came from, for a set of arrays.

        Raises:
            DataMissing: if the source is gone, or is no longer what was prepared.
        """
        source = self.info["source"]
        arrays = self.own_source.data
        assert isinstance(arrays, Arrays), "of image files, read_files()"
        samples = arrays.read(Path(source) if source else None)
        for split in SPLITS:
            if array_hash(samples[split]) != self.info[split]["content_sha256"]:
                raise DataMissing(
                    f"{source or self.name}: not what {self.folder} was made from; run {self.prepare_command}"
                )
        return samples

    def read_files(self) -> dict[str, ImageFiles]:
        """The image files that the samples were made from; file i is sample i of the .beton.

        Every file's presence is checked, and their size in all; ``acdc-data check --source`` reads them too.

        Raises:
            DataMissing: if the list or the source is gone, or is no longer what was prepared.
        """
        return {split: self._read_files(split) for split in SPLITS}

    def _read_files(self, split: str) -> ImageFiles:
        path = self.folder / self.info[split]["samples"]
        again = f"run {self.prepare_command}"
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != self.info[split]["samples_sha256"]:
                raise ValueError("not the list that was written")
            files = parse_samples(content.decode(), self.images_root, self.info["class_names"])
        except (OSError, ValueError) as error:
            raise DataMissing(f"{path}: unreadable ({error}); {again}") from None
        try:
            size = sum((files.root / name).stat().st_size for name in files.paths)
        except OSError as error:
            raise DataMissing(f"{error.filename}: {error.strerror}; put the images back, or {again}") from None
        if size != self.info[split]["source_bytes"]:
            raise DataMissing(f"{files.root / split}: not the images that {self.folder} was made from; {again}")
        return files


def with_sum(info: dict[str, Any]) -> dict[str, Any]:
    """The content of dataset.json with the sum of everything else in it."""
    rest = {key: value for key, value in info.items() if key != SUM}
    return rest | {SUM: canonical_sum(rest)}


def prepare_command(
    name: str,
    source: str | Path | None,
    folder: Path,
    write: WriteOptions | None,
    content_keys: Mapping[str, Any] | None = None,
) -> str:
    """The command that makes a data set's folder, with the options that are not the set's own."""
    words = ["acdc-data", "prepare", name, *([] if source is None else ["--source", str(source)])]
    for key, value in (content_keys or {}).items():
        words += [] if value is None else ["--set", f"{key}={value}"]
    usual = source_of(name, content_keys).data
    if write is not None and isinstance(usual, Tree):
        for key, value in asdict(write).items():
            if value != getattr(usual.write, key):
                words += [f"--{key.replace('_', '-')}", "none" if value is None else str(value)]
    return shlex.join([*words, "--out", str(folder)])


def array_hash(samples: Samples) -> str:
    """SHA-256 over shape, pixels and labels: what the set holds, however it is stored."""
    digest = hashlib.sha256(str(samples.images.shape).encode())
    digest.update(np.ascontiguousarray(samples.images).data)
    digest.update(np.ascontiguousarray(samples.labels).data)
    return digest.hexdigest()


def joined_hash(hashes: Iterable[str]) -> str:
    """Return a data set's content hash from those of its splits, in the order of SPLITS."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def require_content(source: str | None, found: str, wanted: str | None, command: str) -> None:
    """Raise DataMissing if samples that were read to be prepared are not the ones that were meant.

    Args:
        source: that they were read from.
        found: their content hash.
        wanted: that of the samples that were meant; None: any.
        command: prepares what is there now.
    """
    if wanted not in (None, found):
        raise DataMissing(f"{source}: has other content than this run began with; to take what is there now: {command}")


def read_dataset(folder: Path) -> Dataset:
    """A prepared folder. Raises DataMissing if its dataset.json is missing or unreadable."""
    path = folder / "dataset.json"
    try:
        info = parse_object(path.read_bytes(), INFO)
        if info["format"] != FORMAT or info["name"] not in DATASETS.names():
            raise ValueError(f"format {info['format']}, name {info['name']}")
        if SUM in info and info[SUM] != with_sum(info)[SUM]:
            raise ValueError(f"not what was written: {SUM} is not that of the rest")
        source = source_of(info["name"], info.get("options"))
        kind = "arrays" if isinstance(source.data, Arrays) else "files"
        if info.get("kind", "arrays") != kind:
            raise ValueError(f"kind {info.get('kind')} of {info['name']}")
        if not len(info["mean"]) == len(info["std"]) == info["channels"] or not all(
            isinstance(number, NUMBER) for number in [*info["mean"], *info["std"]]
        ):
            raise ValueError("mean and std are not a number a channel")
        if kind == "files":
            check_shape(info, INFO_OF_FILES)
            WriteOptions(**info["write"])
            if len(info["class_names"]) != info["classes"]:
                raise ValueError(f"{info['classes']} classes, but names of {len(info['class_names'])}")
    except FileNotFoundError:
        raise DataMissing(
            f"{path}: missing; make it with: acdc-data prepare DATASET --source DIR --out {shlex.quote(str(folder))}"
        ) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataMissing(f"{path}: unreadable ({error}); make it again with acdc-data prepare") from None
    return Dataset(folder, info)
