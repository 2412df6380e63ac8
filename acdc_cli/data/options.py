"""Whether the keys of a data set fit it and each other."""

from __future__ import annotations

from acdc_cli.config.schema import Config, DatasetConfig, known
from acdc_cli.data.sources import SOURCES, Tree
from acdc_cli.errors import BadInput

RAMP = ("ramp_start", "ramp_end", "resolution_multiple")


def check_dataset(config: Config) -> None:
    """Raise BadInput where keys contradict each other, or ask of image files what only arrays have, or the reverse."""
    dataset = config.dataset
    is_files = isinstance(SOURCES[dataset.name].data, Tree)
    if dataset.crop_padding is None and not is_files:
        raise BadInput(f"dataset.crop_padding=null: dataset={dataset.name} needs a number; 0 for no crops")
    if dataset.crop_padding is not None and is_files:
        raise BadInput(
            f"dataset.crop_padding={dataset.crop_padding}: dataset={dataset.name} does not read it; "
            "use dataset.crop_padding=null"
        )
    _check_resolutions(dataset, is_files)
    if is_files and config.loader == "device":
        raise BadInput(
            f"loader=device: keeps samples of one size, and dataset={dataset.name} is image files of any size; "
            "use loader=ffcv or loader=torch"
        )


def _check_resolutions(dataset: DatasetConfig, is_files: bool) -> None:
    keys = ("resolution", "resize_ratio", "crop_scale_min", "train_resolution_start", "train_resolution_end", *RAMP)
    given = {key: getattr(dataset, key) for key in keys}
    if not is_files:
        for key, value in given.items():
            if value is not None:
                raise BadInput(
                    f"dataset.{key}={value}: dataset={dataset.name} has images of one size; use dataset.{key}=null, "
                    "or dataset=patches"
                )
        return
    for key in ("resolution", "resize_ratio", "crop_scale_min"):
        if given[key] is None:
            example = {"resolution": 224, "resize_ratio": 0.875, "crop_scale_min": 0.08}[key]
            raise BadInput(f"dataset.{key}=null: dataset={dataset.name} needs it, such as dataset.{key}={example}")
    start, end = dataset.train_resolution_start, dataset.train_resolution_end
    if (start is None) != (end is None):
        missing, there = ("start", end) if start is None else ("end", start)
        raise BadInput(
            f"dataset.train_resolution_{missing}=null: both ends of the ramp or none; nearest: "
            f"dataset.train_resolution_{missing}={there}"
        )
    if start is None:
        for key in RAMP[:2]:
            if given[key] is not None:
                raise BadInput(
                    f"dataset.{key}={given[key]}: there is no ramp without both its ends; "
                    "add dataset.train_resolution_start and dataset.train_resolution_end, such as 160 and 192"
                )
        return
    for key, example in zip(RAMP, (0.74, 0.86, 32), strict=True):
        if given[key] is None:
            raise BadInput(f"dataset.{key}=null: a training resolution needs it, such as dataset.{key}={example}")
    if known(dataset.ramp_start) > known(dataset.ramp_end):
        raise BadInput(
            f"dataset.ramp_start={dataset.ramp_start}: after dataset.ramp_end={dataset.ramp_end}; nearest: "
            f"dataset.ramp_start={dataset.ramp_end}"
        )
