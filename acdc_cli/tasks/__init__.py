"""What is learned. One file a task; the loop, the checkpoints, the ranks, the reports and the tables know none of them.

A file registers a dataclass (see ``acdc_cli.register_task``). The fields are the keys that ``task`` has in a config.
The class has the following functions. ``config`` is the run's config, ``data`` what ``prepared`` returned, ``inputs``
whatever hashable description of the data the task's models are built for.

``headline``
    A class attribute, an ``acdc_cli.records.headline.Headline``: the metric that is shown first, and its direction.
``check(self, config)``
    Raise BadInput for keys of the model, the data set and the loader that do not go together.
``prepared(self, config, say)``
    Return the prepared data, an object like ``Data`` below. Raise DataMissing if there is none.
``inputs(self, config, data)``
    Return what a model is built for. ``data`` is None where a plan asks, which must not need the data.
``published_samples(self, config)``
    Return the number of training samples as far as it is known without the data.
``example_size(self, config, inputs, epoch)``
    Return a hashable size of one sample in an epoch (0-based; None: in evaluation), such as its resolution.
``example(self, inputs, size)``
    Return the model's arguments for one sample of that size, as tensors on the meta device. FLOPs are counted on them.
``check_model(self, config, inputs, model)``
    Raise BadInput unless a model (on the meta device) takes the samples of every epoch.
``check_batches(self, config, data, ranks)``
    Raise BadInput if the training set cannot be cut into batches that the model trains on.
``open(self, config, data, device, dtype)``
    Return a ``Feed``, which reads the batches.
``loss(self, config, outputs, targets)``
    Return the mean loss over a batch, a scalar tensor that training minimises.
``training_sums(self, outputs, targets)``
    Return further sums over a batch's samples, such as how many were right: name -> scalar tensor.
``training_metrics(self, sums, samples)``
    Return the row's further keys, such as ``train_top1``, from those sums over an epoch.
``evaluate(self, predict, batches, keep, joined)``
    Return the metrics over all batches, ``val_loss`` and the headline's key among them; and, if ``keep`` says so,
    whatever ``agreement`` compares of two models, else None. ``joined`` puts the parts of several ranks together.
``agreement(self, sparse, dense, joined)``
    Return ``top1``, the fraction of samples that two models decide alike, and ``cross_entropy``.
``row_facts(self, config, inputs, epoch)``
    Return further keys of an epoch's record that are known beforehand, such as ``resolution``.
``model_metadata(self, data)``
    Return what a reader of the model's file has to know about its input, as text: key -> text.
``inputs_of_model(self, config, metadata)``
    Return ``inputs`` for a model that was saved with such metadata.
``evaluation_loader(self, config, data)``
    Return the ``loader`` with which a saved model is evaluated.
``open_as_trained(self, config, data, device, dtype, metadata)``
    Return ``open`` for a saved model with such metadata. Raise BadInput if the model does not fit the data.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from acdc_cli.data.loading.batches import MicroBatch


class Data(Protocol):
    """Prepared data, as the program knows them. The first four are attributes or properties."""

    @property
    def name(self) -> str:
        """The data set's name."""
        ...

    @property
    def folder(self) -> Path:
        """Where the data lie."""
        ...

    @property
    def identity(self) -> Any:
        """Everything about the data that can change a run's numbers, as JSON values."""
        ...

    @property
    def content_hash(self) -> str:
        """The hash of the samples."""
        ...

    def count(self, split: str) -> int:
        """Return the number of samples of ``train`` or ``val``."""
        ...


class Feed(Protocol):
    """The batches of the prepared data, on the run's device."""

    def train_batches(
        self, epoch: int, batches: list[MicroBatch]
    ) -> Generator[tuple[Any, Any, MicroBatch], None, None]:
        """Yield (inputs, targets, batch) for each of an epoch's micro-batches."""
        ...

    def val_batches(self, rank: int, ranks: int) -> Iterator[tuple[Any, Any]]:
        """Yield (inputs, targets) for a rank's share of the validation set."""
        ...
