"""Where the samples of a data set come from, before they are prepared: what the file of each data set fills in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_cli.data.write_options import WriteOptions
from acdc_cli.parts import DATASETS

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Samples:
    """Images (N, height, width, channels) uint8 and labels (N,) int64, in the set's own order."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Arrays:
    """Images of one size, which fit into memory.

    Attributes:
        read: takes the folder or file that the samples come from, None for an embedded set, and returns the samples of
            "train" and "val". Raises DataMissing.
        describe: takes a split and returns what dataset.json says of its samples: their list, or the files they fill.
        files: of data of the user's own, takes the folder or file and returns every file that ``read`` reads. Raises
            DataMissing.
    """

    read: Callable[[Path | None], dict[str, Samples]]
    describe: Callable[[str], Any]
    files: Callable[[Path], list[Path]] | None = None


@dataclass(frozen=True)
class SplitRule:
    """How a tree without train/ and val/ is split; see ``acdc_cli.data.split``.

    Attributes:
        val_share: share of each class that is for validation, in (0, 1).
        split_seed: another seed is another split.
    """

    val_share: float
    split_seed: int


@dataclass(frozen=True)
class Tree:
    """Image files of any size in a folder tree, {train,val}/CLASS/.

    Attributes:
        make: for an embedded set, writes the tree into the folder that it is given. Raises DataMissing.
        write: how the images are stored, unless the command line says otherwise.
        mean: per channel, of pixels in [0, 1]; None: it is measured.
        std: per channel, likewise.
        split: how SOURCE/CLASS/ is split where there is neither train/ nor val/; None: both have to be there.
    """

    make: Callable[[Path], None] | None
    write: WriteOptions
    mean: list[float] | None = None
    std: list[float] | None = None
    split: SplitRule | None = None


@dataclass(frozen=True)
class Source:
    """What has to be known of a data set to prepare it, and to plan a run without having it.

    Attributes:
        data: the samples.
        sample_shape: (channels, height, width); of a tree, at the usual resolution of evaluation. None: only the data
            tell.
        classes: number of labels, as published. A prepared tree has as many as it has folders. None: only the data
            tell.
        train_samples: as published. A prepared tree has as many as it has files. None: only the data tell.
        place: where data of the user's own are looked for if ``dataset.source`` does not say.
        how_to_get: the command that puts them there.
    """

    data: Arrays | Tree
    sample_shape: tuple[int, int, int] | None = None
    classes: int | None = None
    train_samples: int | None = None
    place: Path | None = None
    how_to_get: str | None = None


def source_of(name: str, content_keys: Mapping[str, Any] | None = None) -> Source:
    """Return the source of a data set by its name alone. Keys that are not given are None.

    Args:
        name: of the data set.
        content_keys: the keys that decide, with the files, what the samples are.

    Raises:
        BadInput: with the nearest name, if there is no such data set.
    """
    options = DATASETS.part(name).options
    values: dict[str, Any] = dict.fromkeys(entry.name for entry in fields(options))
    source: Source = options(**values | dict(content_keys or {})).origin()
    return source


def is_own(name: str) -> bool:
    """Return True for data of the user's own, which ``dataset.source`` names."""
    return "source" in DATASETS.part(name).facts.content_keys
