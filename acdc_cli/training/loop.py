"""The training loop. Read this first: a method acts at the start of an epoch and through the optimizer's own hooks."""

from __future__ import annotations

import math
import time
from contextlib import closing
from typing import Any

import torch
import torch.nn.functional as F

from acdc_cli.errors import AcdcError
from acdc_cli.measure.accuracy import measure
from acdc_cli.measure.dynamics import dead_channels, starved_layers, stayed_zero
from acdc_cli.measure.flops import inference_flops, nonzeros, step_flops
from acdc_cli.measure.memory import peak_memory_bytes
from acdc_cli.sparsity.prunable import prunable_weights
from acdc_cli.training.machine import autocast
from acdc_cli.training.optim import learning_rate, set_learning_rate
from acdc_cli.training.progress import Progress
from acdc_cli.training.run import Run


def train_epoch(run: Run, epoch: int, progress: Progress) -> dict[str, Any]:
    """One epoch of steps. Returns its mean loss, top-1, last learning rate and the seconds it took."""
    config, optimizer, scaler = run.config, run.optimizer, run.scaler
    start = time.perf_counter()
    run.method.begin_epoch(epoch)
    starved = _report_starved(run, epoch, progress)
    run.model.train()
    loss_sum = torch.zeros((), device=run.device)
    correct = torch.zeros((), device=run.device)
    with closing(run.train_batches(epoch)) as batches:
        for index, (images, labels) in enumerate(batches):
            rate = learning_rate(config, epoch * run.steps_per_epoch + index, run.steps_per_epoch)
            set_learning_rate(optimizer, rate)
            with autocast(config):
                logits = run.forward(images)
                loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            # Sums stay on the device: reading one here would make the host wait for every step.
            loss_sum += loss.detach() * len(labels)
            correct += (logits.detach().argmax(dim=1) == labels).sum()
            progress.step()
    count = run.loaders["train"].count
    means = {"train_loss": float(loss_sum) / count, "train_top1": float(correct) / count}
    return {**means, "lr": rate, "starved_layers": starved, "train_seconds": time.perf_counter() - start}


def _report_starved(run: Run, epoch: int, progress: Progress) -> dict[str, int] | None:
    """Name the layers that a new mask leaves next to nothing: a network without a layer learns no more."""
    if run.method.masks is None or run.timeline.phase(epoch).kind == "dense" or not run.timeline.begins(epoch):
        return None
    starved = starved_layers(run.method.masks, run.config.run.starved_below)
    if starved:
        named = ", ".join(f"{name} ({left} left)" for name, left in starved.items())
        progress.say(
            f"epoch {epoch + 1}: fewer than run.starved_below={run.config.run.starved_below} weights left in {named}; "
            "sparsity.min_layer_density keeps a share of every layer"
        )
    return starved


def evaluate(run: Run, keep_logits: bool = False) -> tuple[dict[str, float | None], torch.Tensor | None]:
    """Validation loss, top-1 and top-5 of the model as it is; if they are to be kept, its logits (N, classes)."""
    run.model.eval()
    return measure(run.predict, run.val_batches(), keep_logits)


def run_epoch(run: Run, progress: Progress) -> dict[str, Any]:
    """Train one epoch, evaluate, charge its FLOPs. Returns the epoch's record, a row of metrics.jsonl."""
    epoch, start = run.epoch, time.perf_counter()
    progress.begin(epoch, run.timeline.phase(epoch).kind)
    trained = train_epoch(run, epoch, progress)
    train_seconds = trained.pop("train_seconds")
    measured, _ = evaluate(run)
    starved = trained.pop("starved_layers")
    for name, value in (trained | measured).items():
        if value is not None and not math.isfinite(value):
            raise AcdcError(f"training diverged in epoch {epoch}: {name} is {value}; try a lower optimizer.lr")
    samples = run.loaders["train"].count
    sizes, train_sizes, left = run.sizes(), run.sizes(epoch), nonzeros(run.model)
    charged = step_flops(run.method.work(), inference_flops(train_sizes), inference_flops(train_sizes, left))
    total_before = run.rows[-1]["train_flops_total"] if run.rows else run.flops_before
    prunable = sum(size.weights for size in sizes.values())
    weights, masks = prunable_weights(run.model), run.method.masks
    is_dense = run.timeline.phase(epoch).kind == "dense"
    return {
        "epoch": epoch,
        "phase": run.timeline.phase(epoch).kind,
        **trained,
        **measured,
        "resolution": run.view(epoch).resolution,
        "sparsity": (prunable - sum(left.values())) / prunable,
        "mask_change": run.method.mask_change,
        "stayed_zero": stayed_zero(weights, masks) if is_dense and masks is not None else None,
        "dead_channels": sum(dead_channels(weights).values()),
        "starved_layers": starved,
        "inference_flops": inference_flops(sizes, left),
        "train_flops": charged,
        "train_flops_total": total_before + charged * samples,
        "samples_per_second": samples / train_seconds,
        "seconds": time.perf_counter() - start,
        "peak_memory_bytes": peak_memory_bytes(run.device),
        "layer_sparsity": {name: (size.weights - left[name]) / size.weights for name, size in sizes.items()},
    }
