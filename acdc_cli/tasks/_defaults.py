"""What a task does unless its own file says otherwise: it learns from arrays of any shape, one target for each sample.

``register_task`` gives a task each of these functions that it lacks. Two are missing here, which a task has to have:
``loss(self, config, outputs, targets)``, and ``scores(self, outputs, targets)``, which returns a value (N,) for each
sample by the name of its mean, such as ``{"val_loss": ..., "val_mae": ...}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_cli.config.schema import Config, SettledConfig
from acdc_cli.errors import BadInput, reason

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from acdc_cli.data.loading.batches import MicroBatch
    from acdc_cli.data.source import Samples


@dataclass(frozen=True)
class ArrayInputs:
    """What a model of arrays is built for.

    Attributes:
        features: shape of a sample.
        targets: shape of a sample's target; empty for a number.
    """

    features: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class ArrayData:
    """A data set of arrays, as it was read. See ``acdc_cli.tasks.Data``."""

    name: str
    folder: Path
    samples: Mapping[str, Samples]
    content_hash: str

    @property
    def identity(self) -> str:
        """The hash of the samples: nothing else of them can change a run's numbers."""
        return self.content_hash

    def count(self, split: str) -> int:
        """Return the number of samples of a split."""
        return len(self.samples[split].labels)


def check(self: Any, config: Config) -> None:
    """Arrays go with every loader: the whole set is kept on the device."""


def prepared(self: Any, config: Config, say: Callable[[str], None]) -> ArrayData:
    """Read the arrays of the data set."""
    import hashlib

    from acdc_cli.data.dataset import array_hash

    samples = config.dataset.options.origin().data.read(None)
    together = "".join(array_hash(samples[split]) for split in ("train", "val"))
    digest = hashlib.sha256(together.encode()).hexdigest()
    return ArrayData(config.dataset.name, Path(config.data_dir) / config.dataset.name, samples, digest)


def inputs(self: Any, config: Config, data: ArrayData | None) -> ArrayInputs:
    """Return the shapes of a sample and of its target."""
    train = (data or prepared(self, config, print)).samples["train"]
    return ArrayInputs(train.images.shape[1:], train.labels.shape[1:])


def published_samples(self: Any, config: Config) -> int:
    """Return the number of training samples."""
    return prepared(self, config, print).count("train")


def example_size(self: Any, config: Config, inputs: ArrayInputs, epoch: int | None) -> tuple[int, ...]:
    """Return the shape of a sample, which is the same in every epoch."""
    return inputs.features


def example(self: Any, inputs: ArrayInputs, size: tuple[int, ...]) -> tuple[Tensor]:
    """Return one sample of zeros."""
    import torch

    return (torch.zeros(1, *size, device="meta"),)


def check_model(self: Any, config: Config, inputs: ArrayInputs, model: nn.Module) -> None:
    """Raise BadInput if the model cannot take a sample."""
    import torch

    try:
        with torch.no_grad():
            model.eval()(*self.example(inputs, inputs.features))
    except Exception as error:  # every layer raises its own
        shape = "x".join(map(str, inputs.features))
        raise BadInput(
            f"model.name={config.model.name}: cannot take samples of {shape} of dataset={config.dataset.name} "
            f"({reason(error)}); choose another model"
        ) from None


def check_batches(self: Any, config: Config, data: ArrayData, ranks: int) -> None:
    """Any number of samples can be cut into batches."""


def open(self: Any, config: SettledConfig, data: ArrayData, device: torch.device, dtype: torch.dtype) -> ArrayFeed:
    """Put the arrays on the device."""
    import torch

    tensors = {
        split: tuple(torch.from_numpy(array) for array in (samples.images, samples.labels))
        for split, samples in data.samples.items()
    }
    placed = {
        split: tuple(each.to(device, dtype if each.is_floating_point() else None) for each in both)
        for split, both in tensors.items()
    }
    return ArrayFeed(placed, config.batch_size)


@dataclass(frozen=True)
class ArrayFeed:
    """Batches of arrays that lie on the device. See ``acdc_cli.tasks.Feed``."""

    tensors: Mapping[str, tuple[Tensor, ...]]
    batch_size: int

    def train_batches(
        self, epoch: int, batches: list[MicroBatch]
    ) -> Generator[tuple[Tensor, Tensor, MicroBatch], None, None]:
        """Yield the samples and targets of each micro-batch."""
        samples, targets = self.tensors["train"]
        for batch in batches:
            yield samples[batch.samples], targets[batch.samples], batch

    def val_batches(self, rank: int, ranks: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a rank's share of the validation set."""
        from acdc_cli.data.loading.batches import evaluation_batches

        samples, targets = self.tensors["val"]
        for chosen in evaluation_batches(len(targets), self.batch_size, rank, ranks):
            yield samples[chosen], targets[chosen]


def training_sums(self: Any, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Nothing but the loss is added up while the run trains."""
    return {}


def training_metrics(self: Any, sums: Mapping[str, float], samples: int) -> dict[str, float]:
    """Nothing but the loss is known of the training batches."""
    return {}


def evaluate(
    self: Any,
    predict: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    keep: bool,
    joined: Callable[[Tensor], Tensor],
) -> tuple[dict[str, float], Tensor | None]:
    """Return the mean of each of the task's ``scores`` over all samples, and with ``keep`` the outputs."""
    import torch

    scores: dict[str, list[Tensor]] = {}
    kept: list[Tensor] = []
    with torch.no_grad():
        for samples, targets in batches:
            outputs = predict(samples)
            for name, values in self.scores(outputs.float(), targets).items():
                scores.setdefault(name, []).append(values)
            if keep:
                kept.append(outputs.cpu())
    means = {name: joined(torch.cat(parts)).double().mean().item() for name, parts in scores.items()}
    return means, torch.cat(kept) if keep else None


def agreement(self: Any, sparse: Any, dense: Any, joined: Callable[[Tensor], Tensor]) -> None:
    """Two models that decide nothing do not agree or disagree."""
    return None


def row_facts(self: Any, config: Config, inputs: Any, epoch: int) -> dict[str, Any]:
    """Arrays have no resolution."""
    return {"resolution": None}


def model_metadata(self: Any, data: ArrayData) -> dict[str, str]:
    """Return the shapes that ``inputs_of_model`` reads."""
    return {name: json.dumps(shape) for name, shape in asdict(self.inputs(None, data)).items()}


def inputs_of_model(self: Any, config: Config, metadata: Mapping[str, str]) -> ArrayInputs:
    """Return the shapes that a saved model was built for."""
    features, targets = (tuple(json.loads(metadata[name])) for name in ("features", "targets"))
    return ArrayInputs(features, targets)


def evaluation_loader(self: Any, config: Config, data: ArrayData) -> str:
    """Return the run's own loader, as no loader changes the samples."""
    return config.loader


def open_as_trained(
    self: Any,
    config: SettledConfig,
    data: ArrayData,
    device: torch.device,
    dtype: torch.dtype,
    metadata: Mapping[str, str],
) -> Any:
    """Return ``open``. Raises BadInput if the model was built for samples of another shape."""
    built_for, found = self.inputs_of_model(config, metadata), self.inputs(config, data)
    if built_for != found:
        raise BadInput(f"--dataset {data.name}: its samples are of {found}; the model was built for {built_for}")
    return self.open(config, data, device, dtype)
