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
    """

    sample_shape: tuple[int, int, int]
    classes: int
    train_samples: int


def image_facts(config: Config) -> ImageFacts:
    """Return what is known of the images that a config names, without preparing them.

    Raises:
        DataMissing: if only the data tell, and they are not there or cannot be read.
    """
    dataset = config.dataset
    source: Source = dataset.options.origin()
    if source.sample_shape and source.classes and source.train_samples:
        return ImageFacts(source.sample_shape, source.classes, source.train_samples)
    from acdc_cli.data.preparing.own import own_facts

    return ImageFacts(*own_facts(dataset.name, dataset.options, config.data_dir, dataset.content_hash))


def reads_files(config: Config) -> bool:
    """Return True if the samples are image files of any size."""
    return isinstance(config.dataset.options.origin().data, Tree)


def check_dataset(config: Config) -> None:
    """Raise BadInput if the loader keeps samples of one size, and the images have any size; or for a derived key."""
    if config.dataset.content_hash is not None:
        typed = f"dataset.content_hash={config.dataset.content_hash}"
        raise BadInput(f"{typed}: is derived from the data; drop dataset.content_hash")
    if config.loader == "device" and reads_files(config):
        raise BadInput(
            f"loader=device: keeps samples of one size, and dataset={config.dataset.name} is image files of any size; "
            "use loader=ffcv or loader=torch"
        )
