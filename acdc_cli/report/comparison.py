"""Compare runs: one row for the seeds of each config, with the accuracy that they reach and their cost."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from acdc_cli.config.identity import identity
from acdc_cli.config.stored import read_config, require_same_run
from acdc_cli.errors import AcdcError
from acdc_cli.records.checksums import REMEDY
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.headline import Headline, headline_of
from acdc_cli.records.run_result import RunResult, final_model, model_metric, model_of
from acdc_cli.system.nested import leaves

NOT_TO_GROUP_BY = ("seed", "start_from_hash")  # the dense network that a run prunes differs by seed too
HAS_A_COLUMN = ("method.name", "sparsity.target")
IN_EVERY_LABEL = ("model.name", "dataset.name", "epochs")
STEP_TIME_DEPENDS_ON = (
    "model", "dataset", "batch_size", "accumulation", "precision", "device", "loader", "threads", "sync_batch_norm",
)  # fmt: skip


@dataclass(frozen=True)
class MeanOverSeeds:
    """The mean over seeds and the sample standard deviation, which is None for a single seed."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanOverSeeds:
        """Return mean and deviation of one or more values."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Row:
    """Runs of one config under several seeds. Numbers are means over these runs.

    Attributes:
        setting: the settings that distinguish this row from others of its method, as ``key=value`` overrides.
        target: the sparsity target, or None for dense runs.
        seeds: number of runs.
        sparsity: fraction of all prunable weights that are zero.
        sparsity_of_pruned_layers: fraction of the weights of the pruned layers that are zero.
        headline: the headline metric of the runs' task.
        sparse_metric: the headline metric of the sparse models; None without sparse models.
        dense_metric: the headline metric of the dense models; None without dense models.
        inference_flops_fraction: of the sparse model, or of the dense one if there is no sparse model.
        train_flops_fraction: training FLOPs over those of a dense run with the same number of epochs.
        seconds: wall time of a run, including the run that it continues from.
        step_time: time of a step over that of ``method=dense`` in the same setting; None without such a run.
        memory: peak memory over that of ``method=dense`` in the same setting; None without such a run.
    """

    method: str
    setting: str
    target: float | str | None
    seeds: int
    sparsity: float
    sparsity_of_pruned_layers: float
    headline: Headline
    sparse_metric: MeanOverSeeds | None
    dense_metric: MeanOverSeeds | None
    inference_flops_fraction: float
    train_flops_fraction: float
    seconds: float
    step_time: float | None
    memory: float | None

    @property
    def metric(self) -> MeanOverSeeds | None:
        """The headline metric of the sparse model, or of the dense one if there is no sparse model."""
        return self.sparse_metric or self.dense_metric


@dataclass(frozen=True)
class _Finished:
    config: dict[str, Any]  # the part of the config that enters the run's id
    result: RunResult
    step_seconds: float  # seconds per sample in the median epoch


def compare(folders: Iterable[RunFolder]) -> tuple[list[Row], dict[str, str]]:
    """Group finished runs into rows, and list the runs that are left out.

    Returns:
        The rows, and folder -> reason for each run that is left out because it is not done, damaged, or a copy of
        another run. Rows are sorted by target, dense runs first, and within a target by accuracy, the best first.
    """
    runs, left_out, seen = list[_Finished](), dict[str, str](), dict[str, RunFolder]()
    for folder in folders:
        try:
            if not folder.is_done:
                left_out[str(folder.path)] = folder.reason()
                continue
            run = _read(folder)
        except AcdcError as error:
            left_out[str(folder.path)] = str(error)
            continue
        if (same := seen.setdefault(run.result["run_id"], folder)) is folder:
            runs.append(run)
        else:
            left_out[str(folder.path)] = f"a copy of {same.path}: the same run counts once"
    groups: dict[str, list[_Finished]] = {}
    for run in runs:
        key = json.dumps(_without(run.config, NOT_TO_GROUP_BY), sort_keys=True)
        groups.setdefault(key, []).append(run)
    settings = _settings([group[0].config for group in groups.values()])
    rows = [_row(group, setting, runs) for group, setting in zip(groups.values(), settings, strict=True)]
    return sorted(rows, key=_position), left_out


def _position(row: Row) -> tuple[bool, str, float]:
    return (
        row.target is not None,
        str(row.target),
        -row.headline.sign * row.metric.mean if row.metric is not None else 0.0,
    )


def _read(folder: RunFolder) -> _Finished:
    config, result, rows = read_config(folder), folder.read_result(), folder.read_metrics()
    require_same_run(folder, config, result["run_id"])
    if not rows or not all(row["samples_per_second"] > 0 for row in rows):
        raise Damaged(folder.metrics, "no epochs in it, or an epoch with samples_per_second=0", REMEDY)
    return _Finished(identity(config), result, statistics.median(1 / row["samples_per_second"] for row in rows))


def _without(config: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def _row(group: list[_Finished], setting: str, runs: list[_Finished]) -> Row:
    results = [run.result for run in group]
    first = results[0]
    dense = [run for run in runs if run.result["method"] == "dense" and _costs_like(run, group[0])]

    def memory(of: list[_Finished]) -> float:
        return statistics.fmean(run.result["peak_memory_bytes"] for run in of)

    return Row(
        method=first["method"],
        setting=setting,
        target=first["sparsity_target"],
        seeds=len(group),
        sparsity=statistics.fmean(result["sparsity"] for result in results),
        sparsity_of_pruned_layers=statistics.fmean(result["sparsity_of_pruned_layers"] for result in results),
        headline=headline_of(first),
        sparse_metric=_metric(results, "sparse"),
        dense_metric=_metric(results, "dense"),
        inference_flops_fraction=statistics.fmean(
            final_model(result)["inference_flops_fraction"] for result in results
        ),
        train_flops_fraction=statistics.fmean(result["train_flops_fraction"] for result in results),
        seconds=statistics.fmean(result["seconds"] + result.get("seconds_before", 0) for result in results),
        step_time=_step_seconds(group) / _step_seconds(dense) if dense else None,
        memory=memory(group) / memory(dense) if dense else None,
    )


def _metric(results: list[RunResult], kind: str) -> MeanOverSeeds | None:
    models = [(model, headline_of(result)) for result in results if (model := model_of(result, kind)) is not None]
    if len(models) < len(results):
        return None
    return MeanOverSeeds.of([model_metric(model, headline.val_key) for model, headline in models])


def _step_seconds(runs: list[_Finished]) -> float:
    return statistics.median(run.step_seconds for run in runs)


def _costs_like(one: _Finished, other: _Finished) -> bool:
    return all(one.config.get(key) == other.config.get(key) for key in STEP_TIME_DEPENDS_ON)


def _settings(configs: list[dict[str, Any]]) -> list[str]:
    """Return for each config the overrides that distinguish it from others of its method, in as few keys as needed."""
    flat = [_flat(_without(config, NOT_TO_GROUP_BY)) for config in configs]
    everywhere = [key for key in IN_EVERY_LABEL if len({own.get(key) for own in flat}) > 1]
    labels = []
    for own in flat:
        same_method = [other for other in flat if other["method.name"] == own["method.name"]]
        keys = everywhere + _telling_apart(same_method, [*HAS_A_COLUMN, *everywhere])
        labels.append(" ".join(f"{key}={own[key]}" for key in keys if key in own))
    return labels


def _telling_apart(configs: list[dict[str, str]], known: list[str]) -> list[str]:
    """Return keys that distinguish flat configs beyond the known keys.

    A key that adds no distinction is left out. The keys of ``schedule`` come last.
    """
    candidates = dict.fromkeys(key for config in configs for key in config if key not in known)
    chosen = list[str]()
    for key in sorted(candidates, key=lambda key: key.startswith("schedule.")):
        if _distinct(configs, [*known, *chosen, key]) > _distinct(configs, [*known, *chosen]):
            chosen.append(key)
    return chosen


def _distinct(configs: list[dict[str, str]], keys: list[str]) -> int:
    return len({tuple(config.get(key) for key in keys) for config in configs})


def _flat(config: dict[str, Any]) -> dict[str, str]:
    return {
        key: _rules_text(value) if key.rpartition(".")[2] == "rules" else str(value) for key, value in leaves(config)
    }


def _rules_text(rules: list[list[Any]]) -> str:
    """Return the rules, given as pairs, in the form of an override: ``{first:0,last:0}``."""
    targets = ((pattern, int(target) if target == 0 else target) for pattern, target in rules)
    return "{" + ",".join(f"{pattern}:{target}" for pattern, target in targets) + "}"
