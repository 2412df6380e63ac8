"""Forward and backward passes between two steps, for a method that asks for them, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace

from acdc_cli.config.schema import SettledConfig
from acdc_cli.data.loading.batches import training_batches
from acdc_cli.data.order import hash_of, sample_order
from acdc_cli.measure.flops import inference_flops, nonzeros, train_flops
from acdc_cli.training.machine import autocast
from acdc_cli.training.run import Run

ORDER_KEY = 2004_14340  # keeps the order of these samples apart from the epochs' own


def gradient_passes(run: Run, batches: int, batch_size: int) -> Iterator[None]:
    """Do a forward and a backward pass over each of some batches of training samples; yield after each batch.

    The gradient is that of the mean loss, without label smoothing, at the weights there are. The samples are augmented
    as in the coming epoch (so the code of WoodFisher has it). A batch is divided among the ranks, and into passes no
    larger than those of training: in evaluation mode a mean does not depend on that. A sample is charged as one of a
    training step, three forward passes of the network at this moment.
    """
    config, epoch, ranks, count = run.config, run.epoch, run.group.ranks, batches * batch_size
    plain = replace(config, label_smoothing=0.0)
    order = sample_order(hash_of(config.seed, ORDER_KEY), epoch, run.samples)[:count]
    largest_pass = config.batch_size // (config.accumulation or 1)
    parts = training_batches(order, batch_size, -(-batch_size // largest_pass), ranks.rank, ranks.count)
    weights = nonzeros(run.model) | (run.method.work().forward_weights or {})
    forward = inference_flops(run.sizes(epoch), weights)
    run.extra_flops += train_flops(forward, forward, forward) * count
    with closing(run.feed.train_batches(epoch, parts)) as loaded:
        for inputs, targets, batch in loaded:
            with _precision(config):
                loss = run.task.loss(plain, run.model(inputs), targets)
            (loss * batch.weight).backward()
            if batch.ends_step:
                yield


def _precision(config: SettledConfig) -> AbstractContextManager[object]:
    """Return the run's autocast context, but none for fp16: gradients of single samples vanish in it unscaled."""
    return nullcontext() if config.precision.dtype == "fp16" else autocast(config)
