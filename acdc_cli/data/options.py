"""What is known of a config's images without preparing them, and whether the loader can read them."""

from __future__ import annotations

from dataclasses import dataclass

from acdc_cli.config.schema import Config
from acdc_cli.data.source import Source, Tree
from acdc_cli.errors import BadInput


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
    """Return what is known of the images that a config names, without preparing them."""
    source: Source = config.dataset.options.origin()
    assert source.sample_shape and source.classes and source.train_samples
    reads_files = isinstance(source.data, Tree)
    return ImageFacts(source.sample_shape, source.classes, source.train_samples, reads_files)


def check_dataset(config: Config) -> None:
    """Raise BadInput if the loader keeps samples of one size, and the images have any size."""
    if config.loader == "device" and isinstance(config.dataset.options.origin().data, Tree):
        raise BadInput(
            f"loader=device: keeps samples of one size, and dataset={config.dataset.name} is image files of any size; "
            "use loader=ffcv or loader=torch"
        )
