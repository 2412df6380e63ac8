"""Runs side by side: those that differ by seed alone are one row, with what they reach and what they cost."""

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

NOT_TO_GROUP_BY = ("seed", "start_from_hash")  # the dense network that is pruned has the seed, too
HAS_A_COLUMN = ("method.name", "sparsity.target")
IN_EVERY_LABEL = ("model.name", "dataset.name", "epochs")
STEP_TIME_DEPENDS_ON = (
    "model", "dataset", "batch_size", "accumulation", "precision", "device", "loader", "threads", "sync_batch_norm",
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and the sample standard deviation, which one seed does not have."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value or more."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Row:
    """Runs of one config under several seeds.

    Attributes:
        setting: what else than method and target sets them apart from other rows, as typed on a command line.
        sparsity, sparsity_of_pruned_layers: reached, over all prunable weights and over the layers that are pruned.
        headline: the metric that the runs' task shows first; the next two are its values.
        inference_flops_fraction: of the sparse model where there is one.
        train_flops_fraction: of a dense run of the same epochs.
        seconds: a run's wall time, that of the run it goes on from included.
        step_time, memory: over those of ``method=dense`` in the same setting; None where no such run is among these.
    """

    method: str
    setting: str
    target: float | str | None
    seeds: int
    sparsity: float
    sparsity_of_pruned_layers: float
    headline: Headline
    sparse_metric: Spread | None
    dense_metric: Spread | None
    inference_flops_fraction: float
    train_flops_fraction: float
    seconds: float
    step_time: float | None
    memory: float | None

    @property
    def metric(self) -> Spread | None:
        """The headline metric of the sparse model, or of the only one."""
        return self.sparse_metric or self.dense_metric


@dataclass(frozen=True)
class _Finished:
    config: dict[str, Any]  # the part of it that the id is made of
    result: dict[str, Any]
    step_seconds: float  # a sample's, the median epoch's


def compare(folders: Iterable[RunFolder]) -> tuple[list[Row], dict[str, str]]:
    """Rows by target, the most accurate first, dense runs before all others; and the runs in none of them.

    Returns:
        The rows, and by folder of a run that is not done, or damaged, or a copy of another one, what it is.
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
        -row.headline.direction * row.metric.mean if row.metric is not None else 0.0,
    )


def _read(folder: RunFolder) -> _Finished:
    config, result, rows = read_config(folder), folder.read_result(), folder.read_metrics()
    require_same_run(folder, config, result["run_id"])
    if not rows or not all(row["samples_per_second"] > 0 for row in rows):
        raise Damaged(folder.metrics, "no epochs in it, or none that took any time", REMEDY)
    return _Finished(identity(config), result, statistics.median(1 / row["samples_per_second"] for row in rows))


def _without(config: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def _row(group: list[_Finished], setting: str, runs: list[_Finished]) -> Row:
    results = [run.result for run in group]
    first = results[0]
    dense = [run for run in runs if run.result["method"] == "dense" and _costs_like(run, group[0])]

    def mean(key: str) -> float:
        return statistics.fmean(result[key] for result in results)

    def memory(of: list[_Finished]) -> float:
        return statistics.fmean(run.result["peak_memory_bytes"] for run in of)

    return Row(
        method=first["method"],
        setting=setting,
        target=first["sparsity_target"],
        seeds=len(group),
        sparsity=mean("sparsity"),
        sparsity_of_pruned_layers=mean("sparsity_of_pruned_layers"),
        headline=headline_of(first),
        sparse_metric=_metric(results, "sparse"),
        dense_metric=_metric(results, "dense"),
        inference_flops_fraction=statistics.fmean(
            (result["sparse"] or result["dense"])["inference_flops_fraction"] for result in results
        ),
        train_flops_fraction=mean("train_flops_fraction"),
        seconds=statistics.fmean(result["seconds"] + result.get("seconds_before", 0) for result in results),
        step_time=_step_seconds(group) / _step_seconds(dense) if dense else None,
        memory=memory(group) / memory(dense) if dense else None,
    )


def _metric(results: list[dict[str, Any]], kind: str) -> Spread | None:
    if any(result[kind] is None for result in results):
        return None
    return Spread.of([result[kind][headline_of(result).val_key] for result in results])


def _step_seconds(runs: list[_Finished]) -> float:
    return statistics.median(run.step_seconds for run in runs)


def _costs_like(one: _Finished, other: _Finished) -> bool:
    return all(one.config.get(key) == other.config.get(key) for key in STEP_TIME_DEPENDS_ON)


def _settings(configs: list[dict[str, Any]]) -> list[str]:
    """For each config what tells it from others of its method, in as few keys as that takes, as they would be typed."""
    flat = [dict(_flat(_without(config, NOT_TO_GROUP_BY))) for config in configs]
    everywhere = [key for key in IN_EVERY_LABEL if len({own.get(key) for own in flat}) > 1]
    labels = []
    for own in flat:
        same_method = [other for other in flat if other["method.name"] == own["method.name"]]
        keys = everywhere + _telling_apart(same_method, [*HAS_A_COLUMN, *everywhere])
        labels.append(" ".join(f"{key}={own[key]}" for key in keys if key in own))
    return labels


def _telling_apart(configs: list[dict[str, str]], known: list[str]) -> list[str]:
    """Keys by which flat configs differ, without those that follow from the ones before; phase lengths come last."""
    candidates = dict.fromkeys(key for config in configs for key in config if key not in known)
    chosen = list[str]()
    for key in sorted(candidates, key=lambda key: key.startswith("schedule.")):
        if _distinct(configs, [*known, *chosen, key]) > _distinct(configs, [*known, *chosen]):
            chosen.append(key)
    return chosen


def _distinct(configs: list[dict[str, str]], keys: list[str]) -> int:
    return len({tuple(config.get(key) for key in keys) for config in configs})


def _flat(node: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _typed_rules(value) if key == "rules" else str(value)


def _typed_rules(rules: list[list[Any]]) -> str:
    """``{first:0,last:0}``, from pairs."""
    targets = ((pattern, int(target) if target == 0 else target) for pattern, target in rules)
    return "{" + ",".join(f"{pattern}:{target}" for pattern, target in targets) + "}"
