"""The record of one epoch, a line of metrics.jsonl. A task adds metrics of its own, under keys of its own."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict, cast


class EpochRow(TypedDict):
    """The keys that every task's rows have. Keys that older versions did not write are not required.

    Attributes:
        epoch: counted from 0.
        train_loss, val_loss: means over samples.
        lr: learning rate of the last step.
        resolution: of training images, in pixels; null for other data.
        sparsity: fraction of the prunable weights that are zero.
        mask_change: fraction of the prunable weights whose mask differs from that of the sparse phase before.
        stayed_zero: in a dense phase, the fraction of the pruned weights that are still zero.
        dead_channels: number of output channels without a weight.
        starved_layers: layer -> number of weights that a new mask leaves it, for layers that it leaves too few.
        inference_flops, train_flops: FLOPs per sample.
        train_flops_total: FLOPs of training up to the end of this epoch.
        seconds: wall time; ``samples_per_second`` is of the training part alone.
        layer_sparsity: layer -> fraction of its weights that are zero.
    """

    epoch: int
    phase: Literal["dense", "sparse"]
    train_loss: float
    val_loss: float
    lr: float
    resolution: NotRequired[int | None]
    sparsity: float
    mask_change: float | None
    stayed_zero: NotRequired[float | None]
    dead_channels: NotRequired[float | None]
    starved_layers: NotRequired[dict[str, int] | None]
    inference_flops: float
    train_flops: float
    train_flops_total: float
    samples_per_second: float
    seconds: float
    peak_memory_bytes: float
    layer_sparsity: dict[str, float]


def metric_of(row: EpochRow, key: str) -> float | None:
    """Return a number of a row by its key, which may be a task's own; None if the row has no such number."""
    value: float | None = cast(dict[str, Any], row).get(key)
    return value
