"""The training loop. Read this first: a method acts at the start of an epoch and through the optimizer's own hooks."""

from __future__ import annotations

import math
import time
from contextlib import closing
from typing import Any, cast

import torch

from acdc_cli.errors import AcdcError
from acdc_cli.measure.dynamics import dead_channels, starved_layers, stayed_zero
from acdc_cli.measure.flops import inference_flops, nonzeros
from acdc_cli.measure.ledger import step_cost
from acdc_cli.measure.memory import peak_memory_bytes
from acdc_cli.records.epoch_row import EpochRow
from acdc_cli.sparsity.prunable import prunable_weights, weight_layouts
from acdc_cli.training.machine import autocast, seed_step
from acdc_cli.training.optim import learning_rate, set_learning_rate
from acdc_cli.training.pauses import Pauses
from acdc_cli.training.progress import Progress
from acdc_cli.training.run import Part, Run


def train_epoch(run: Run, epoch: int, progress: Progress, pauses: Pauses) -> tuple[dict[str, Any], Part]:
    """Do an epoch's steps, or what is left of them. Return its mean loss, metrics and last rate; and how it went."""
    config, task, optimizer, scaler = run.config, run.task, run.optimizer, run.scaler
    batches = run.epoch_batches(epoch)
    if run.part is None:
        began = time.perf_counter()  # pruning is part of the epoch's time
        _begin_epoch(run, epoch)
        run.part = Part(0, {}, time.perf_counter() - began, _report_starved(run, epoch, progress))
    part, start = run.part, time.perf_counter() - run.part.seconds
    run.model.train()
    with closing(run.feed.train_batches(epoch, batches)) as loaded:
        for inputs, targets, batch in loaded:
            if batch.begins_step:
                rate = learning_rate(config, epoch * run.steps_per_epoch + part.step, run.steps_per_epoch)
                set_learning_rate(optimizer, rate)
                seed_step(config.seed, epoch, part.step, run.group.ranks.rank)
            with run.gradients(are_complete=batch.ends_step):
                with autocast(config):
                    outputs = run.train_forward(inputs)
                    loss = task.loss(config, outputs, targets)
                scaler.scale(loss * batch.weight).backward()
            part.add(loss.detach() * batch.count, task.training_sums(outputs.detach(), targets), batch.count > 0)
            if batch.ends_step:
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                progress.step()
                part.step += 1
                part.seconds = time.perf_counter() - start
                pauses.after_step()
    if not part.starved:  # masks that are chosen by a step
        part.starved = _report_starved(run, epoch, progress)
    return _means(run, part, epoch), part


def _begin_epoch(run: Run, epoch: int) -> None:
    try:
        run.method.begin_epoch(epoch)
    except torch.OutOfMemoryError:
        raise AcdcError(
            f"method={run.config.method.name}: the device's memory is full in epoch {epoch + 1}, where it prunes; use "
            f"{run.config.method.facts.memory_advice} (accumulation=2)"
        ) from None
    except (FloatingPointError, MemoryError, torch.linalg.LinAlgError) as error:  # of a method's own passes
        raise AcdcError(f"method={run.config.method.name} cannot prune in epoch {epoch + 1}: {error}") from None


def _means(run: Run, part: Part, epoch: int) -> dict[str, Any]:
    """Return means over the epoch's samples on all ranks."""
    sums = dict(zip(part.sums, map(float, run.group.sum(*part.sums.values())), strict=True))
    last_step = epoch * run.steps_per_epoch + part.step - 1
    rate = learning_rate(run.config, last_step, run.steps_per_epoch)
    loss = sums.pop("loss") / run.samples
    return {"train_loss": loss, **run.task.training_metrics(sums, run.samples), "lr": rate}


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


def evaluate(run: Run, keep: bool = False) -> tuple[dict[str, float | None], Any]:
    """Return the task's metrics of the model as it is, and with ``keep`` what two models are compared by."""
    run.model.eval()
    measured: tuple[dict[str, float | None], Any] = run.task.evaluate(
        run.predict, run.val_batches(), keep, run.group.joined
    )
    return measured


def _check_finite(epoch: int, figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if value is not None and not math.isfinite(value):
            raise AcdcError(f"training diverged in epoch {epoch}: {name} is {value}; try a lower optimizer.lr")


def run_epoch(run: Run, progress: Progress, pauses: Pauses) -> EpochRow:
    """Train one epoch, evaluate, charge its FLOPs. Returns the epoch's record, a row of metrics.jsonl."""
    epoch = run.epoch
    progress.begin(epoch, run.timeline.phase(epoch).kind)
    trained, part = train_epoch(run, epoch, progress, pauses)
    start = time.perf_counter()
    run.group.spread(run.model.buffers())
    measured, _ = evaluate(run)
    run.part = None
    run.group.together(lambda: _check_finite(epoch, trained | measured))
    left = nonzeros(run.model)
    cost = step_cost(run.method.work(), left, run.sizes(epoch)) + round(run.extra_flops / run.samples)
    run.extra_flops = 0
    total_before = run.rows[-1]["train_flops_total"] if run.rows else run.flops_before
    weights, masks = prunable_weights(run.model), run.method.masks
    prunable = sum(weight.numel() for weight in weights.values())
    is_dense = run.timeline.phase(epoch).kind == "dense"
    row = {
        "epoch": epoch,
        "phase": run.timeline.phase(epoch).kind,
        **trained,
        **measured,
        **run.task.row_facts(run.config, run.inputs, epoch),
        "sparsity": (prunable - sum(left[name] for name in weights)) / prunable,
        "mask_change": run.method.mask_change,
        "stayed_zero": stayed_zero(weights, masks) if is_dense and masks is not None else None,
        "dead_channels": sum(dead_channels(weights, weight_layouts(run.model)).values()),
        "starved_layers": part.starved,
        "inference_flops": inference_flops(run.sizes(), left),
        "train_flops": cost,
        "train_flops_total": total_before + cost * run.samples,
        "samples_per_second": run.samples / part.seconds,
        "seconds": part.seconds + time.perf_counter() - start,
        "peak_memory_bytes": peak_memory_bytes(run.device),
        "layer_sparsity": {name: 1 - left[name] / weight.numel() for name, weight in weights.items()},
    }
    return cast(EpochRow, row)  # the task adds keys of its own
