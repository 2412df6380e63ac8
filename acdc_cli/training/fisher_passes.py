"""Forward and backward passes for a Fisher matrix, between two steps, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING

import torch.nn.functional as F

from acdc_cli.config.schema import Config, known
from acdc_cli.data.batches import training_batches
from acdc_cli.data.order import hash_of, sample_order
from acdc_cli.measure.flops import inference_flops, nonzeros, train_flops
from acdc_cli.training.machine import autocast

if TYPE_CHECKING:  # which imports this module
    from acdc_cli.training.run import Run

ORDER_KEY = 2004_14340  # keeps the sample's order apart from the epochs'


def fisher_passes(run: Run) -> Iterator[None]:
    """The mean gradient of ``method.fisher_batch`` training samples after another, at the weights there are.

    The loss is the plain cross-entropy, the images are augmented as in the coming epoch: so the paper's code has it. A
    batch is split over the ranks, and into passes no larger than those of training: in evaluation mode a mean does not
    depend on that. A sample costs what one of a training step does, three times the forward pass of the network at this
    moment, before it is pruned.
    """
    config, method, epoch, ranks = run.config, run.config.method, run.epoch, run.group.ranks
    batch_size, count = known(method.fisher_batch), known(method.fisher_samples) * known(method.fisher_batch)
    order = sample_order(hash_of(config.seed, ORDER_KEY), epoch, run.loaders["train"].count)[:count]
    largest_pass = config.batch_size // (config.accumulation or 1)
    batches = training_batches(order, batch_size, -(-batch_size // largest_pass), ranks.rank, ranks.count)
    weights = nonzeros(run.model) | (run.method.work().forward_weights or {})
    forward = inference_flops(run.sizes(epoch), weights)
    run.extra_flops += train_flops(forward, forward, forward) * count
    with closing(run.train_batches(epoch, batches)) as loaded:
        for images, labels, batch in loaded:
            with _precision(config):
                loss = F.cross_entropy(run.model(images), labels)
            (loss * batch.weight).backward()
            if batch.ends_step:
                yield


def _precision(config: Config) -> AbstractContextManager[object]:
    """The run's, but for fp16: without a scaled loss the gradients of single samples would vanish in it."""
    return nullcontext() if config.precision.dtype == "fp16" else autocast(config)
