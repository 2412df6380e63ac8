"""The record of a finished run, result.json."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class HeadlineRecord(TypedDict):
    """The metric that the program shows first, see ``records.headline``."""

    name: str
    direction: Literal["up", "down"]
    label: str
    train_name: str | None
    digits: int


class ModelResult(TypedDict):
    """One of the run's two models. The metrics of the task stand beside these keys, ``best_val_*`` among them.

    Attributes:
        sparsity: fraction of the prunable weights that are zero.
        inference_flops: of the weights that are not zero, per sample.
        inference_flops_fraction: the same over those of the dense network.
        attention_flops: of products without a weight.
        uncovered_flops: weight -> its FLOPs per sample, for weights that no mask covers.
        best_epoch: the epoch with the best headline metric; null if no epoch was of this kind.
    """

    val_loss: NotRequired[float]
    sparsity: NotRequired[float]
    dead_channels: NotRequired[int]
    inference_flops: NotRequired[float]
    inference_flops_fraction: float
    attention_flops: NotRequired[float]
    uncovered_flops: NotRequired[dict[str, float]]
    best_epoch: NotRequired[int | None]


class Agreement(TypedDict):
    """How far two models agree on the validation samples (AC/DC, section 4.3).

    Attributes:
        top1: fraction of samples that both put into the same class.
        cross_entropy: of the sparse model's predictions with the dense model's as the reference, in nats.
    """

    top1: float
    cross_entropy: float


class PluginRecord(TypedDict):
    """A plug-in that the run's process had imported."""

    name: str
    file: str
    sha256: str


class RunResult(TypedDict):
    """Every key of result.json. Keys that older versions did not write are not required.

    Attributes:
        sparsity_target: null for a run that does not read it.
        sparsity_of_pruned_layers: fraction of zeros in the layers that are pruned.
        prunable_by_kind: kind of layer -> number of its prunable weights.
        sparse, dense: the two models; null for one that the method does not make.
        dense_inference_flops: FLOPs of the dense network, per sample.
        train_samples: samples of an epoch.
        train_flops_fraction: training FLOPs over those of a dense run of the same epochs.
        seconds_before: seconds of the run that this one went on from.
        checksums: whether there has to be a checksums.json.
    """

    run_id: str
    method: str
    model: str
    dataset: str
    task: NotRequired[str]
    headline: NotRequired[HeadlineRecord]
    seed: int
    epochs: int
    sparsity_target: float | str | None
    distribution: NotRequired[str | None]
    block: NotRequired[Any]  # [outputs, inputs] or null
    rules: NotRequired[Any]  # [[layer, target], ...] or null
    sparsity: float
    sparsity_of_pruned_layers: float
    prunable_weights: int
    prunable_by_kind: NotRequired[dict[str, int]]
    nonzero_weights: NotRequired[int]
    sparse: ModelResult | None
    dense: ModelResult | None
    dense_inference_flops: float
    train_samples: NotRequired[int]
    train_flops_total: float
    train_flops_fraction: float
    agreement: Agreement | None
    seconds: float
    seconds_before: NotRequired[float]
    samples_per_second: NotRequired[float]
    peak_memory_bytes: float
    layer_sparsity: dict[str, float]
    versions: dict[str, str | None]
    git_commit: NotRequired[str | None]
    plugins: NotRequired[list[PluginRecord]]
    started_from: NotRequired[str | None]
    finetuned: NotRequired[bool]
    dataset_hash: NotRequired[str]
    device: str
    checksums: NotRequired[bool]


def model_metric(model: ModelResult, key: str) -> float:
    """Return a number of a model's record by its key, which may be a task's own. Raises KeyError if it has none."""
    value: float = dict[str, Any](model)[key]
    return value


def model_of(result: RunResult, kind: str) -> ModelResult | None:
    """Return the record of the run's ``sparse`` or ``dense`` model; None for one that its method does not make."""
    return result["sparse"] if kind == "sparse" else result["dense"]


def final_model(result: RunResult) -> ModelResult:
    """Return the record of the sparse model, or of the dense one where there is no sparse model."""
    final = result["sparse"] or result["dense"]
    assert final is not None, "whoever reads a result has refused one without a model"
    return final
