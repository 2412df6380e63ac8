"""What missing runs will cost: training FLOPs by the closed form, time by finished runs of the same kind."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

from acdc_cli.compose import from_yaml
from acdc_cli.config import Config
from acdc_cli.data.sources import SOURCES
from acdc_cli.errors import AcdcError
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.tables.jobs import Job

SAME_COST = ("model", "dataset", "batch_size", "accumulation", "precision", "device", "loader", "threads")


def train_flops(job: Job) -> float:
    """Of a whole run, in FLOPs: what ``acdc-train plan=true`` says, over the published number of training samples."""
    from acdc_cli.training.plan import plan

    planned = plan(job.config)
    return planned["train_flops_per_sample"] * SOURCES[job.config.dataset.name].train_samples


class Clock:
    """Seconds of a run, from those of finished ones that cost as much a step.

    Args:
        runs_dir: where the finished runs lie.
    """

    def __init__(self, runs_dir: Path) -> None:
        self._seconds_per_epoch: dict[tuple[str | None, ...], list[float]] = {}
        for folder in _finished(runs_dir):
            try:
                config = from_yaml(folder.config.read_text())
                seconds = statistics.fmean(row["seconds"] for row in folder.read_metrics())
            except (AcdcError, statistics.StatisticsError):
                continue  # damaged records tell no time
            for method in (config.method.name, None):
                self._seconds_per_epoch.setdefault((method, *_kind(config)), []).append(seconds)

    def seconds(self, job: Job) -> float | None:
        """By runs of the same method, or else of any; None where no such run has finished yet."""
        for method in (job.config.method.name, None):
            if found := self._seconds_per_epoch.get((method, *_kind(job.config))):
                return statistics.median(found) * (job.config.epochs or 0)
        return None


def _finished(runs_dir: Path) -> Iterable[RunFolder]:
    return (folder for folder in run_folders(runs_dir) if folder.is_done) if runs_dir.is_dir() else ()


def _kind(config: Config) -> tuple[str, ...]:
    return tuple(str(getattr(config, key)) for key in SAME_COST)
