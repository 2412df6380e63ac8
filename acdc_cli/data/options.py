"""A data set's own keys, and whether they fit each other."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from acdc_cli.config.schema import Config, DatasetConfig
from acdc_cli.data.keys import ImageFileKeys
from acdc_cli.data.source import Source, Tree
from acdc_cli.errors import BadInput
from acdc_cli.parts import DATASETS

RAMP = ("ramp_start", "ramp_end", "resolution_multiple")
OF_ALL_SETS = ("name", "content_hash")


def options_of(dataset: DatasetConfig) -> Any:
    """Return the data set's own keys, as its file declares them, out of the composed ones.

    Raises:
        BadInput: with the nearest name, if there is no such data set.
    """
    options = DATASETS.part(dataset.name, "dataset.name").options
    return options(**{entry.name: getattr(dataset, entry.name) for entry in fields(options)})


@dataclass(frozen=True)
class ImageFacts:
    """What a plan has to know of a data set's images.

    Attributes:
        sample_shape: (channels, height, width); of image files, at the usual resolution of evaluation.
        classes: number of labels.
        train_samples: training images.
        reads_files: the images are files of any size.
    """

    sample_shape: tuple[int, int, int]
    classes: int
    train_samples: int
    reads_files: bool


def image_facts(config: Config) -> ImageFacts:
    """Return what is known of the images that a config names, without preparing them.

    Raises:
        DataMissing: if only the data tell, and they are not there or cannot be read.
    """
    dataset, options = config.dataset, options_of(config.dataset)
    source: Source = options.origin()
    reads_files = isinstance(source.data, Tree)
    if source.sample_shape and source.classes and source.train_samples:
        return ImageFacts(source.sample_shape, source.classes, source.train_samples, reads_files)
    from acdc_cli.data.own import own_facts

    return ImageFacts(*own_facts(dataset.name, options, config.data_dir, dataset.content_hash), reads_files)


def check_dataset(config: Config) -> None:
    """Raise BadInput where keys contradict each other, or ask of image files what only arrays have, or the reverse."""
    dataset, options = config.dataset, options_of(config.dataset)
    is_files = isinstance(options.origin().data, Tree)
    if dataset.content_hash is not None:
        raise BadInput(
            f"dataset.content_hash={dataset.content_hash}: is derived from the data; drop dataset.content_hash"
        )
    _check_unread(dataset, options)
    _check_needed(dataset, options)
    if isinstance(options, ImageFileKeys):
        _check_ramp(options)
    if is_files and config.loader == "device":
        raise BadInput(
            f"loader=device: keeps samples of one size, and dataset={dataset.name} is image files of any size; "
            "use loader=ffcv or loader=torch"
        )


def _check_unread(dataset: DatasetConfig, options: Any) -> None:
    own = {entry.name for entry in fields(options)}
    of_files = {entry.name for entry in fields(ImageFileKeys)}
    for entry in fields(dataset):
        key, value = entry.name, getattr(dataset, entry.name)
        if value is None or key in own or key in OF_ALL_SETS:
            continue
        if key in of_files:
            raise BadInput(
                f"dataset.{key}={value}: dataset={dataset.name} has images of one size; use dataset.{key}=null, "
                "or dataset=patches"
            )
        raise BadInput(f"dataset.{key}={value}: dataset={dataset.name} does not read it; use dataset.{key}=null")


def _check_needed(dataset: DatasetConfig, options: Any) -> None:
    for entry in fields(options):
        if getattr(options, entry.name) is not None or entry.default is None:
            continue
        if entry.name == "crop_padding":
            raise BadInput(f"dataset.crop_padding=null: dataset={dataset.name} needs a number; 0 for no crops")
        example = entry.metadata.get("example")
        such_as = "" if example is None else f", such as dataset.{entry.name}={example}"
        raise BadInput(f"dataset.{entry.name}=null: dataset={dataset.name} needs it{such_as}")


def _check_ramp(keys: ImageFileKeys) -> None:
    start, end = keys.train_resolution_start, keys.train_resolution_end
    if (start is None) != (end is None):
        missing, there = ("start", end) if start is None else ("end", start)
        raise BadInput(
            f"dataset.train_resolution_{missing}=null: both ends of the ramp or none; nearest: "
            f"dataset.train_resolution_{missing}={there}"
        )
    if start is None:
        for key in RAMP[:2]:
            if (value := getattr(keys, key)) is not None:
                raise BadInput(
                    f"dataset.{key}={value}: there is no ramp without both its ends; "
                    "add dataset.train_resolution_start and dataset.train_resolution_end, such as 160 and 192"
                )
        return
    for key, example in zip(RAMP, (0.74, 0.86, 32), strict=True):
        if getattr(keys, key) is None:
            raise BadInput(f"dataset.{key}=null: a training resolution needs it, such as dataset.{key}={example}")
    if keys.ramp_start > keys.ramp_end:  # type: ignore[operator]
        raise BadInput(
            f"dataset.ramp_start={keys.ramp_start}: after dataset.ramp_end={keys.ramp_end}; nearest: "
            f"dataset.ramp_start={keys.ramp_end}"
        )
