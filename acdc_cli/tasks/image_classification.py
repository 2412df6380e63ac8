"""Image classification: which class does an image belong to?"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from acdc_cli.config.schema import Config, SettledConfig
from acdc_cli.data.keys import ImageFileKeys
from acdc_cli.data.options import check_dataset, image_facts
from acdc_cli.data.resolution import enlarged, keys_of_size, view_of
from acdc_cli.errors import BadInput
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.parts import register_task
from acdc_cli.records.headline import TOP1, Headline

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from acdc_cli.data.dataset import Dataset
    from acdc_cli.data.loading.batches import MicroBatch
    from acdc_cli.data.loading.input_step import Augmentation, Normalization
    from acdc_cli.data.loading.loaders import BatchLoader


@register_task("image_classification")
@dataclass(kw_only=True)
class ImageClassification:
    """Image classification has no keys of its own: what it reads is in ``dataset`` and ``label_smoothing``."""

    headline: ClassVar[Headline] = TOP1

    def check(self, config: Config) -> None:
        """Raise BadInput where the data set's keys contradict each other or the loader."""
        check_dataset(config)

    def prepared(self, config: Config, say: Callable[[str], None]) -> Dataset:
        """Return the prepared data set; ``loader=ffcv`` needs its .beton files too."""
        from acdc_cli.data.preparing.find import open_dataset, require_beton

        keys, content_hash = config.dataset.options, config.dataset.content_hash
        dataset = open_dataset(config.dataset.name, config.data_dir, say, keys, content_hash)
        if config.loader == "ffcv":
            dataset = require_beton(dataset, say)
        if dataset.kind == "files" and (warning := enlarged(config, dataset.info["write"]["max_resolution"])):
            say(warning)
        return dataset

    def inputs(self, config: Config, data: Dataset | None) -> ImageInputs:
        """Return channels, resolution of evaluation, and classes; as published, where there are no data yet."""
        if data is None:
            facts = image_facts(config)
            (channels, height, width), classes = facts.sample_shape, facts.classes
        else:
            (channels, height, width), classes = data.sample_shape, data.classes
        pixels = getattr(config.dataset.options, "resolution", None)
        return ImageInputs(channels, pixels or height, pixels or width, classes)

    def published_samples(self, config: Config) -> int:
        """Return the number of training samples as published."""
        return image_facts(config).train_samples

    def example_size(self, config: Config, inputs: ImageInputs, epoch: int | None) -> int:
        """Return the resolution in pixels."""
        return view_of(config, epoch, inputs.width).resolution

    def example(self, inputs: ImageInputs, size: int) -> tuple[Tensor]:
        """Return one image of zeros (1, channels, size, size)."""
        import torch

        return (torch.zeros(1, inputs.channels, size, size, device="meta"),)

    def check_model(self, config: Config, inputs: ImageInputs, model: nn.Module) -> None:
        """Raise BadInput unless the model turns images of every resolution of the run into logits."""
        from acdc_cli.models.fit import require_fit

        epochs = range(config.epochs)
        for pixels in dict.fromkeys(self.example_size(config, inputs, epoch) for epoch in (None, *epochs)):
            shape = inputs.channels, pixels, pixels
            require_fit(config.model.name, model, shape, inputs.classes, keys_of_size(config, pixels))

    def check_batches(self, config: Config, data: Dataset, ranks: int) -> None:
        """Raise BadInput if a pass has one sample and batch norm so one value a channel."""
        from acdc_cli.data.last_batch import require_last_batch

        inputs = self.inputs(config, data)
        sizes = [self.example_size(config, inputs, epoch) for epoch in range(config.epochs)]
        require_last_batch(config, inputs, data.count("train"), min(sizes), ranks)

    def open(self, config: SettledConfig, data: Dataset, device: torch.device, dtype: torch.dtype) -> ImageFeed:
        """Return what reads, augments and normalises the images."""
        from acdc_cli.data.loading.crops import Crops
        from acdc_cli.data.loading.input_step import Augmentation, Normalization
        from acdc_cli.data.loading.loaders import open_loaders

        keys, crops = config.dataset.options, None
        if isinstance(keys, ImageFileKeys):
            crops = Crops(config.seed, keys.crop_scale_min, keys.resize_ratio)
        keeps = config.os_cache is not False
        loaders = open_loaders(config.loader, data, config.workers, device, crops, keeps, config.shuffle_window)
        augment = Augmentation(getattr(keys, "crop_padding", 0), keys.flip, config.seed)
        normalize = Normalization(data.info["mean"], data.info["std"], config.precision.channels_last, dtype)
        return ImageFeed(config, self.inputs(config, data), loaders, device, augment, normalize)

    def loss(self, config: Config, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (N, classes) and labels (N,)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets, label_smoothing=config.label_smoothing)

    def training_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return how many samples were classified rightly."""
        return {"correct": (outputs.argmax(dim=1) == targets).sum()}

    def training_metrics(self, sums: Mapping[str, float], samples: int) -> dict[str, float]:
        """Return the top-1 accuracy on the training batches as they were seen."""
        return {"train_top1": sums["correct"] / samples}

    def evaluate(
        self,
        predict: Callable[[Tensor], Tensor],
        batches: Iterable[tuple[Tensor, Tensor]],
        keep: bool,
        joined: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, float | None], Tensor | None]:
        """Return validation loss, top-1 and top-5; with ``keep`` the logits (N, classes) of this rank's samples too."""
        from acdc_cli.measure.accuracy import measure

        return measure(predict, batches, keep, joined)

    def agreement(self, sparse: Tensor, dense: Tensor, joined: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return how far the predictions of two models agree, from their logits (N, classes)."""
        from acdc_cli.measure.accuracy import agreement

        return agreement(sparse, dense, joined)

    def row_facts(self, config: Config, inputs: ImageInputs, epoch: int) -> dict[str, Any]:
        """Return the resolution of the epoch's training images."""
        return {"resolution": self.example_size(config, inputs, epoch)}

    def model_metadata(self, data: Dataset) -> dict[str, str]:
        """Return the shape of the input, and how it is normalised."""
        mean, std = str(data.info["mean"]), str(data.info["std"])
        shape = {"channels": str(data.channels), "classes": str(data.classes)}
        return {**shape, "input": "(pixel / 255 - mean) / std", "mean": mean, "std": std}

    def inputs_of_model(self, config: Config, metadata: Mapping[str, str]) -> ImageInputs:
        """Return what a saved model was built for; old files do not say it, and mean the data set's usual shape."""
        usual = self.inputs(config, None)
        channels, classes = metadata.get("channels", usual.channels), metadata.get("classes", usual.classes)
        return ImageInputs(int(channels), usual.height, usual.width, int(classes))

    def evaluation_loader(self, config: Config, data: Dataset) -> str:
        """Return the loader for an evaluation: the run's own for files, because a .beton encodes them once more."""
        return "torch" if data.kind == "arrays" else config.loader

    def open_as_trained(
        self,
        config: SettledConfig,
        data: Dataset,
        device: torch.device,
        dtype: torch.dtype,
        metadata: Mapping[str, str],
    ) -> ImageFeed:
        """Return what reads these images for a saved model: normalised as the images that it was trained on.

        Raises:
            BadInput: if the model was built for images of another shape.
            ValueError: if the metadata lack the normalisation.
        """
        feed, expected = self.open(config, data, device, dtype), self.inputs_of_model(config, metadata)
        if (expected.channels, expected.classes) != (data.channels, data.classes):
            raise BadInput(
                f"--dataset {data.name}: {data.channels} channels and {data.classes} classes; the model has "
                f"{expected.channels} and {expected.classes}"
            )
        try:
            mean, std = ([float(each) for each in json.loads(metadata[key])] for key in ("mean", "std"))
        except (KeyError, TypeError, RecursionError, ValueError):
            raise ValueError("no mean and std of the training images in it") from None
        return replace(feed, normalize=replace(feed.normalize, mean=mean, std=std))


@dataclass
class ImageFeed:
    """Reads images by the run's loader, augments and normalises them."""

    config: SettledConfig
    inputs: ImageInputs
    loaders: dict[str, BatchLoader]
    device: torch.device
    augment: Augmentation
    normalize: Normalization

    def train_batches(
        self, epoch: int, batches: list[MicroBatch]
    ) -> Generator[tuple[Tensor, Tensor, MicroBatch], None, None]:
        """Yield augmented, normalised images and their labels."""
        from acdc_cli.data.loading.loaders import to_device

        chosen, view = [batch.samples for batch in batches], view_of(self.config, epoch, self.inputs.width)
        with closing(self.loaders["train"].batches(chosen, view)) as loaded:
            for (images, labels, samples), batch in zip(to_device(loaded, self.device), batches, strict=True):
                yield self.normalize(self.augment(images, samples, epoch)), labels, batch

    def val_batches(self, rank: int, ranks: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images and labels of a rank's share of the validation set."""
        from acdc_cli.data.loading.batches import evaluation_batches
        from acdc_cli.data.loading.loaders import to_device

        share = evaluation_batches(self.loaders["val"].count, self.config.batch_size, rank, ranks)
        with closing(self.loaders["val"].batches(share, view_of(self.config, None, self.inputs.width))) as batches:
            for images, labels, _ in to_device(batches, self.device):
                yield self.normalize(images), labels
