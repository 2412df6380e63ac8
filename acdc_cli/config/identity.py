"""Which run is which: an id from everything that changes the numbers, and a name to read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from acdc_cli.config.schema import Config, is_pruned_to_target, plain
from acdc_cli.parts import DATASETS
from acdc_cli.records.folder import RunFolder

DEFAULT_EXPERIMENT = "default"  # the folder of runs that belong to no experiment

# Where things lie, what they are called and how they are watched changes no number. Of start_from, its hash enters.
NOT_IN_ID = (
    *("runs_dir", "data_dir", "run", "tracker", "plugins"),
    *("checkpoint", "workers", "os_cache", "plan", "start_from"),
)
_SPARSITY_AND_PHASES = (
    "sparsity",
    "schedule.warmup_epochs",
    "schedule.sparse_epochs",
    "schedule.dense_epochs",
    "schedule.final_sparse_epochs",
    "schedule.phases",
)


def identity(config: Config) -> dict[str, Any]:
    """The part of a config that the id is made of: no place, no name, nothing unread, no null."""
    # Keys that a method does not read: `method=dense sparsity=0.8,0.9` is one run.
    unread = () if is_pruned_to_target(config) else _SPARSITY_AND_PHASES
    unread = unread if config.method.facts.makes_sparse_model else (*unread, "bn_recalibration")
    if config.dataset.content_hash is not None:  # which stands for the place, and for how the samples were made
        keys = DATASETS.part(config.dataset.name).facts.content_keys
        unread = (*unread, *(f"dataset.{key}" for key in keys))
    return _prune(plain(config), (*NOT_IN_ID, *unread), "")


def _prune(node: dict[str, Any], left_out: tuple[str, ...], prefix: str) -> dict[str, Any]:
    pruned: dict[str, Any] = {}
    for key, value in node.items():
        if value is None or f"{prefix}{key}" in left_out:
            continue
        pruned[key] = _prune(value, left_out, f"{prefix}{key}.") if isinstance(value, dict) else value
    return pruned


def run_id(config: Config) -> str:
    """8 hex digits. ``config`` must be complete and say which device, loader and threads it runs on."""
    canonical = json.dumps(identity(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def readable_name(config: Config) -> str:
    """model-dataset-method-sparsity-seed, or the name that the user gave."""
    if config.run.name:
        return config.run.name
    method = [config.method.name]
    if config.finetune is not None:
        method = ["dense", "finetuned", *(["best"] if config.finetune_start == "best" else [])]
    elif is_pruned_to_target(config):
        sparsity = config.sparsity
        method.append(str(sparsity.target).replace(":", "of"))
        method += [sparsity.distribution] if sparsity.distribution != "global" else []
        method += ["block" + "x".join(map(str, sparsity.block))] if sparsity.block else []
        method += ["rules"] if sparsity.rules else []
    return "-".join([config.model.name, config.dataset.name, *method, f"seed{config.seed}"])


def run_folder(config: Config) -> RunFolder:
    """Return the folder that the run of a settled config has, whether it is there or not."""
    experiment = config.run.experiment or DEFAULT_EXPERIMENT
    return RunFolder(Path(config.runs_dir) / experiment / f"{readable_name(config)}-{run_id(config)}")
