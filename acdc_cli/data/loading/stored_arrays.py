"""The samples of a set of arrays in memory, from its own .beton files where these hold them."""

from __future__ import annotations

import numpy as np

from acdc_cli.data.beton.index import read_index
from acdc_cli.data.dataset import Dataset, array_hash
from acdc_cli.data.source import SPLITS, Samples
from acdc_cli.errors import DataMissing


def read_arrays(dataset: Dataset) -> dict[str, Samples]:
    """The samples of each split. Reading a .beton is quicker than the library or the archive that they came from.

    Raises:
        DataMissing: if they are in no .beton, and the source is gone or is no longer what was prepared.
    """
    try:
        return {split: _stored(dataset, split) for split in SPLITS}
    except DataMissing:  # never written, or damaged
        return dataset.read_source()


def _stored(dataset: Dataset, split: str) -> Samples:
    path = dataset.beton(split)
    index = read_index(path, dataset.classes, dataset.count(split))
    channels, height, width = dataset.sample_shape
    images = np.empty((len(index.labels), height, width, channels), np.uint8)
    size = images[0].size
    if not (index.sizes == size).all():
        raise DataMissing(f"{path}: holds images of other sizes than {height}x{width}")
    for image, start in zip(images.reshape(-1, size), index.starts.tolist(), strict=True):
        image[:] = index.content[start : start + size]
    samples = Samples(images, index.labels.copy())
    if array_hash(samples) != dataset.info[split]["content_sha256"]:
        raise DataMissing(f"{path}: not the samples that were prepared")
    return samples
