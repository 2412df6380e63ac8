"""The optimizer and the learning rate, the latter as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from acdc_cli.config import Config, OptimizerConfig, known


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW over all parameters.

    ``decay_norms_and_biases=false`` takes weight decay off every tensor of fewer than two dimensions.
    """
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if not config.decay_norms_and_biases:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=known(config.momentum), nesterov=bool(config.nesterov), **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(groups, betas=(config.beta1, config.beta2), **common)


def learning_rate(config: Config, step: int, steps_per_epoch: int) -> float:
    """The rate of a step (0-based, counted over the whole run).

    Warm-up rises linearly and reaches the peak at its end: (t + 1) / warm-up; cosine and linear then fall from the
    peak to zero; step multiplies by gamma at each milestone. t counts steps or epochs, ``lr_schedule.unit``, so that
    AC/DC's ImageNet runs, which set the rate once an epoch, come out as published. Warm-up and milestones shrink
    with the run below the schedule's own length and stay as they are above it.
    """
    schedule, epochs = config.lr_schedule, known(config.epochs)
    per_epoch = 1 if schedule.unit == "epoch" else steps_per_epoch
    t = step // steps_per_epoch if schedule.unit == "epoch" else step
    own, shorter = config.schedule.epochs, min(epochs, config.schedule.epochs)

    def scaled(length_epochs: float) -> float:
        return length_epochs * shorter * per_epoch / own  # divided last: whole epochs come out whole

    warmup, total = scaled(schedule.warmup_epochs), epochs * per_epoch
    if t < warmup:
        return config.optimizer.lr * min(1.0, (t + 1) / warmup)
    progress = (t - warmup) / (total - warmup)
    if schedule.shape == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    elif schedule.shape == "linear":
        factor = 1 - progress
    elif schedule.shape == "step":
        factor = known(schedule.gamma) ** sum(t >= scaled(milestone) for milestone in known(schedule.milestones))
    else:
        factor = 1.0
    return config.optimizer.lr * factor


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
