"""Which run is which: an id from everything that changes the numbers, and a name to read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from acdc_cli.config import Config

# Where things lie, what they are called and how they are watched changes no number.
NOT_IN_ID = ("runs_dir", "data_dir", "run", "tracker", "workers", "plan")
# Keys that a method does not read: `method=dense sparsity=0.8,0.9` is one run.
UNREAD = {
    "dense": {
        "sparsity": True,
        "schedule": ("warmup_epochs", "sparse_epochs", "dense_epochs", "final_sparse_epochs", "phases"),
        "method": ("reset_moments",),
    }
}


def identity(config: Config) -> dict[str, Any]:
    """The part of a config that the id is made of: no place, no name, nothing unread, no null."""
    payload = {key: value for key, value in asdict(config).items() if key not in NOT_IN_ID}
    for section, keys in UNREAD.get(config.method.name, {}).items():
        if keys is True:
            del payload[section]
        else:
            payload[section] = {key: value for key, value in payload[section].items() if key not in keys}
    return _without_nulls(payload)


def _without_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_nulls(value) for key, value in node.items() if value is not None}
    return node


def run_id(config: Config) -> str:
    """8 hex digits. ``config`` must be complete and say which device, loader and threads it runs on."""
    canonical = json.dumps(identity(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def readable_name(config: Config) -> str:
    """model-dataset-method-sparsity-seed, or the name that the user gave."""
    if config.run.name:
        return config.run.name
    amount = [] if config.method.name == "dense" else [str(config.sparsity.target).replace(":", "of")]
    return "-".join([config.model.name, config.dataset.name, config.method.name, *amount, f"seed{config.seed}"])
