"""The optimizer and the learning rate, the latter as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from acdc_cli.config.schema import Config, OptimizerConfig


def build_optimizer(config: OptimizerConfig, model: nn.Module, dtype: str) -> torch.optim.Optimizer:
    """SGD, Adam, AdamW, NAdam or LAMB (timm's) over all parameters, by the fastest code there is for where they lie.

    ``decay_norms_and_biases=false`` takes weight decay off every tensor of fewer than two dimensions.

    Args:
        dtype: of ``precision``; fp16 means that a gradient scaler may skip steps.
    """
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if not config.decay_norms_and_biases:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    common |= implementation(config.name, parameters[0].device.type, dtype)
    if config.name == "sgd":
        assert config.momentum is not None  # checked with the rest of the config
        return torch.optim.SGD(groups, momentum=config.momentum, nesterov=bool(config.nesterov), **common)
    common["betas"] = (config.beta1, config.beta2)
    if config.name == "lamb":
        from timm.optim import Lamb  # optional; that it is there was checked with the rest of the config

        return Lamb(groups, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam}[config.name]
    return kind(groups, **common)


def implementation(name: str, device: str, dtype: str) -> dict[str, bool]:
    """Which of PyTorch's implementations of an optimizer to ask for: fused (one kernel), foreach (a few), or its own.

    On a CPU the choice is PyTorch's, one tensor at a time, whose bits are those that records were made with. NAdam has
    no fused implementation. SGD's is not used under a gradient scaler: PyTorch 2.15's goes on from a momentum buffer
    that nobody wrote if its first step is skipped, and after every reset of the moments there is such a first step.
    """
    if device != "cuda" or name == "lamb":
        return {}
    return {"foreach": True} if name == "nadam" or (name == "sgd" and dtype == "fp16") else {"fused": True}


def peak_rate(config: Config) -> float:
    """``optimizer.lr``, or with ``optimizer.lr_batch_size`` that rate times batch_size / lr_batch_size.

    The linear scaling rule of Goyal et al. 2017 (arXiv 1706.02677): k times the batch size, k times the rate.
    """
    optimizer = config.optimizer
    return optimizer.lr * (1 if optimizer.lr_batch_size is None else config.batch_size / optimizer.lr_batch_size)


def learning_rate(config: Config, step: int, steps_per_epoch: int) -> float:
    """The rate of a step (0-based, counted over the whole run).

    Warm-up rises linearly and reaches the peak (``peak_rate``) at its end: (t + 1) / warm-up; cosine and linear then
    fall from the peak to zero; step multiplies by gamma at each milestone. t counts steps or epochs,
    ``lr_schedule.unit``, so that AC/DC's ImageNet runs, which set the rate once an epoch, come out as published.
    Warm-up and milestones shrink with the run below the schedule's own length; above it they stay as they are, or with
    ``lr_schedule.stretch`` grow with it (RigL 2x, arXiv 1911.11134, section 4).
    """
    schedule, epochs = config.lr_schedule, config.epochs
    per_epoch = 1 if schedule.unit == "epoch" else steps_per_epoch
    t = step // steps_per_epoch if schedule.unit == "epoch" else step
    own = config.schedule.epochs
    scaled_to = epochs if schedule.stretch else min(epochs, own)

    def scaled(length_epochs: float) -> float:
        return length_epochs * scaled_to * per_epoch / own  # divided last: whole epochs come out whole

    peak = peak_rate(config)
    warmup, total = scaled(schedule.warmup_epochs), epochs * per_epoch
    if t < warmup:
        return peak * min(1.0, (t + 1) / warmup)
    progress = (t - warmup) / (total - warmup)
    if schedule.shape == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    elif schedule.shape == "linear":
        factor = 1 - progress
    elif schedule.shape == "step":
        assert schedule.gamma is not None and schedule.milestones is not None  # checked with the rest of the config
        factor = schedule.gamma ** sum(t >= scaled(milestone) for milestone in schedule.milestones)
    else:
        factor = 1.0
    return peak * factor


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
