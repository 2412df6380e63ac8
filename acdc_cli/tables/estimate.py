"""Estimate the cost of missing runs: training FLOPs by closed form, and time from finished runs of the same kind."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path

from acdc_cli.config.compose import dense_share
from acdc_cli.config.identity import identity
from acdc_cli.config.schema import Config
from acdc_cli.config.stored import read_config
from acdc_cli.errors import AcdcError
from acdc_cli.records.folder import RunFolder, run_folders

SAME_COST = ("model", "dataset", "batch_size", "accumulation", "precision", "device", "loader", "threads")


def epochs_to_go(config: Config) -> int:
    """Return the number of epochs that a run trains itself.

    A fine-tuning run begins at the epoch in which the last sparse phase of its parent began.
    """
    return config.epochs - (config.first_epoch or 0)


def cost_key(config: Config) -> str:
    """Return a key that is equal for runs of the same cost: runs that differ only by seed or by their start weights."""
    content = {key: value for key, value in identity(config).items() if key not in ("seed", "start_from_hash")}
    return json.dumps(content, sort_keys=True)


def flops_to_go(config: Config) -> float:
    """Return the training FLOPs of the epochs that a run trains itself.

    This is the number of ``acdc-train plan=true`` for the published number of training samples, without the FLOPs of
    the run that this one starts from (the dense run that it prunes, or the run that it fine-tunes).
    """
    from acdc_cli.planning.plan import plan

    planned = plan(config)
    total = planned["train_flops_per_sample"] * config.task.options.published_samples(config)
    dense_run = total / planned["train_flops_fraction"]
    if config.first_epoch is not None:
        return dense_run * epochs_to_go(config) / config.epochs
    return total - dense_run * dense_share(config)


class Clock:
    """Estimates the time of a run from finished runs whose epochs take as long.

    Args:
        runs_dir: the folder with the finished runs.
    """

    def __init__(self, runs_dir: Path) -> None:
        self._seconds_per_epoch: dict[tuple[str | None, ...], list[float]] = {}
        for folder in _finished(runs_dir):
            try:
                config = read_config(folder)
                seconds = statistics.fmean(row["seconds"] for row in folder.read_metrics())
            except (AcdcError, statistics.StatisticsError):
                continue  # damaged records are ignored here
            for method in (config.method.name, None):
                self._seconds_per_epoch.setdefault((method, *_kind(config)), []).append(seconds)

    def seconds(self, config: Config) -> float | None:
        """Return the estimated seconds of a run, or None if no comparable run has finished.

        Runs of the same method are used if there are any, otherwise runs of all methods.
        """
        for method in (config.method.name, None):
            if found := self._seconds_per_epoch.get((method, *_kind(config))):
                return statistics.median(found) * epochs_to_go(config)
        return None


def _finished(runs_dir: Path) -> Iterable[RunFolder]:
    return (folder for folder in run_folders(runs_dir) if folder.is_done) if runs_dir.is_dir() else ()


def _kind(config: Config) -> tuple[str, ...]:
    return tuple(str(getattr(config, key)) for key in SAME_COST)
