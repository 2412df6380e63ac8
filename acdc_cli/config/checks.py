"""From a composed config to a complete one: what is left open is filled in, then a list of checks is gone through."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import Field, fields, replace
from typing import Any

from acdc_cli.config.method import check_method, resolve_method
from acdc_cli.config.schedule import resolve_schedule
from acdc_cli.config.schema import PART_GROUPS, ComposedConfig, Config, MethodConfig, schema_keys
from acdc_cli.config.sparsity import resolve_sparsity
from acdc_cli.errors import BadInput, not_a_choice
from acdc_cli.options import optional
from acdc_cli.packages import require_package
from acdc_cli.parts import DATASETS, FIXED_MASKS, METHODS, MODELS

Check = Callable[[Config], None]


def check_ranges(config: ComposedConfig) -> None:
    """Raise BadInput for the first value outside its choices or its range."""
    for key, entry in schema_keys().items():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        _check_value(key, value, entry)
    for group in PART_GROUPS:
        options = getattr(config, group).options
        for entry in fields(options):
            _check_value(f"{group}.{entry.name}", getattr(options, entry.name), entry)


def _check_value(key: str, value: Any, entry: Field[Any]) -> None:
    if value is None:
        return
    if "choices" in entry.metadata and value not in entry.metadata["choices"]:
        raise not_a_choice(key, value, entry.metadata["choices"])
    if "range" in entry.metadata:
        _check_range(key, value, *entry.metadata["range"])


def _check_range(key: str, value: float, low: float, high: float, above: bool, below: bool) -> None:
    inside = (value > low if above else value >= low) and (value < high if below else value <= high)
    if not math.isfinite(value):
        raise BadInput(f"{key}={value}: must be a finite number{f' above {low}' if above else ''}")
    if not inside:
        left, right = "(" if above else "[", ")" if below or high == math.inf else "]"
        end, open_end = (high, below) if value >= high else (low, above)
        hint = f"use a number {'below' if end == high else 'above'} {end}" if open_end else f"nearest: {key}={end}"
        raise BadInput(f"{key}={value}: outside {left}{low}, {high}{right}; {hint}")


def resolve_start(config: ComposedConfig) -> ComposedConfig:
    """Return the config with static masks for ``masks=from_weights``, whatever the method was.

    Raises:
        BadInput: for a key that needs weights to start from and has none, or one that cannot be typed.
    """
    if config.start_from == "":
        raise BadInput("start_from=: is empty; start_from=RUN_OR_FILE, or leave it out")
    for key, source in {"start_from_hash": "start_from", "first_epoch": "start_from", "record_format": "model"}.items():
        if getattr(config, key) is not None:
            raise BadInput(f"{key}={getattr(config, key)}: is derived from {source}; drop {key}")
    if config.finetune_start == "best" and config.finetune is None:
        raise BadInput("finetune_start=best: says where finetune=dense starts; add finetune=dense, or drop it")
    if config.masks is None:
        return config
    if config.start_from is None:
        raise BadInput("masks=from_weights: needs weights to read them off; add start_from=RUN_OR_FILE")
    if config.finetune is not None:
        raise BadInput("masks=from_weights: finetune=dense trains without masks; drop one of the two")
    return replace(config, method=MethodConfig(name=FIXED_MASKS, options=METHODS.part(FIXED_MASKS).options()))


def check_optimizer(config: Config) -> None:
    """Raise BadInput for an optimizer without a value that it needs, or without its package."""
    optimizer = config.optimizer
    if optimizer.name == "sgd" and optimizer.momentum is None:
        raise BadInput("optimizer.momentum=null: optimizer.name=sgd needs a number; 0 for none")
    if optimizer.name == "sgd" and optimizer.nesterov and not optimizer.momentum:
        raise BadInput(f"optimizer.nesterov=true: needs momentum, not optimizer.momentum={optimizer.momentum}; use 0.9")
    if optimizer.name != "sgd" and None in (optimizer.beta1, optimizer.beta2):
        raise BadInput(f"optimizer.name={optimizer.name}: needs optimizer.beta1 and beta2; choose optimizer=adamw")
    if optimizer.name == "lamb":
        require_package("timm", "optimizer.name=lamb")


def check_lr_schedule(config: Config) -> None:
    """Raise BadInput for steps without milestones, and for milestones that do not rise."""
    lr_schedule = config.lr_schedule
    if lr_schedule.shape == "step" and not (lr_schedule.milestones and lr_schedule.gamma):
        raise BadInput(
            "lr_schedule.shape=step: needs lr_schedule.milestones and lr_schedule.gamma, such as [20,30] and 0.1"
        )
    milestones = lr_schedule.milestones or []
    if milestones != sorted(milestones) or any(epoch <= 0 for epoch in milestones):
        nearest_valid = sorted(epoch for epoch in milestones if epoch > 0)
        raise BadInput(f"lr_schedule.milestones={milestones}: not rising epochs above 0; nearest: {nearest_valid}")


def check_names(config: Config) -> None:
    """Raise BadInput for a name that cannot be a folder's, and for a tracker that is not told where to."""
    for key, name in (("run.name", config.run.name), ("run.experiment", config.run.experiment)):
        if name is not None and not re.fullmatch(r"[\w.+=,-]*\w[\w.+=,-]*", name):
            raise BadInput(
                f"{key}={name}: names a folder: letters, digits and . _ - only; nearest: {key}={_as_name(name)}"
            )
    if config.tracker.name == "wandb" and config.tracker.mode is None:
        raise BadInput("tracker.mode=null: tracker.name=wandb needs auto, online or offline")


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "-", text).strip("-.") or "run"


def check_task(config: Config) -> None:
    """Raise BadInput for a data set of another task, and let the task check what belongs together."""
    learned_by = DATASETS.part(config.dataset.name).facts.task
    if learned_by != config.task.name:
        raise BadInput(
            f"task={config.task.name}: dataset={config.dataset.name} is learned by task={learned_by}; nearest: "
            f"task={learned_by}"
        )
    config.task.options.check(config)


def check_parts(config: Config) -> None:
    """Let the chosen model and data set check their own keys."""
    optional(config.dataset.options, "check")
    optional(config.model.options, "check")


def written_one_way(config: Config) -> Config:
    """Write keys that ask for the same run in the same way, so that it has one id; expand ``~`` in folders."""
    return replace(
        config,
        keep_best=config.keep_best or None,
        finetune_start=None if config.finetune_start == "last" else config.finetune_start,
        runs_dir=os.path.expanduser(config.runs_dir),
        data_dir=os.path.expanduser(config.data_dir),
    )


def check_model_name(config: Config, overrides: list[str]) -> None:
    """Raise BadInput for a typed ``model.name`` of a family that is no library: it would only rename the model."""
    if MODELS.part(config.model.family).facts.is_library:
        return
    if any(typed.lstrip("+").startswith("model.name=") for typed in overrides):
        libraries = [f"model={name}" for name in MODELS.names() if MODELS.part(name).facts.is_library]
        raise BadInput(
            f"model.name={config.model.name}: model.family={config.model.family} takes no name; add "
            f"{' or '.join(libraries)} to choose one of theirs, or use run.name to name the run"
        )


# In this order: the error of an earlier check is the one that a user sees.
CHECKS: tuple[Check, ...] = (
    check_method,
    check_parts,
    check_task,
    check_optimizer,
    check_lr_schedule,
    check_names,
)


def checked(composed: ComposedConfig) -> Config:
    """Return the complete config. Raises BadInput for the first thing that cannot be."""
    check_ranges(composed)
    started = resolve_method(resolve_start(composed))
    config = resolve_sparsity(resolve_schedule(started))
    for check in CHECKS:
        check(config)
    return written_one_way(config)
