"""The rows of the published tables at the papers' scale, beside table_recipes.yaml, which has what their sources state.

What no source states is not compared, but the row's table has to say that it is ours.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from acdc_cli.config.compose import dense_run_of
from acdc_cli.config.schedule import timeline_of
from acdc_cli.config.schema import Config, is_pruned_to_target
from acdc_cli.planning.method_setting import method_setting, no_passes
from acdc_cli.tables.composed import composed
from acdc_cli.tables.jobs import first_missing
from acdc_cli.tables.spec import TableRow, read_table, table_names
from acdc_cli.training.optim import learning_rate, peak_rate

FAMILIES: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).resolve().parent / "table_recipes.yaml").read_text()
)["families"]
STEPS_PER_EPOCH = 10
# A row has each of them, stated or unknown.
FIELDS = (
    *("model", "dataset", "epochs", "batch_size", "peak_rate", "rates", "momentum", "nesterov", "weight_decay"),
    *("decays", "label_smoothing", "precision", "method", "sparsity", "distribution", "dense_layers"),
)
NO_FIELDS = ("source", "like", "rows", "unknown", "is_in_doubt")


def family(name: str) -> dict[str, Any]:
    """A family with what it has of another; its rows are its own."""
    own = FAMILIES[name]
    inherited = family(own["like"]) if "like" in own else {}
    return {key: value for key, value in inherited.items() if key not in ("rows", "source")} | own


def listed() -> dict[tuple[str, str], dict[str, Any]]:
    """(table, label) -> what its source states."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in FAMILIES:
        whole = family(name)
        for table, rows in whole.get("rows", {}).items():
            for label, own in rows.items():
                assert (table, label) not in found, f"{table} {label} is in two families"
                found[table, label] = whole | (own if isinstance(own, dict) else {"sparsity": own})
    return found


LISTED = listed()


@cache
def runs() -> dict[tuple[str, str], tuple[TableRow, Config]]:
    """(table, label) -> the row and its config, of all rows that the program has at the scale of the papers."""
    found = {}
    for table in table_names():
        for row in read_table(table).rows:
            partner = (row.dense_partner or {}).get("paper")
            for label, overrides in ((row.label, row.overrides["paper"]), (f"{row.label}, partner", partner)):
                if overrides is not None and first_missing(overrides) is None:
                    found[table, label] = row, composed(overrides)
    return found


def facts(config: Config) -> dict[str, Any]:
    """A config in the words of table_recipes.yaml; ``rates`` as a function of the epoch."""
    optimizer, sparsity, rate = config.optimizer, config.sparsity, config.lr_schedule
    is_pruned, is_told = is_pruned_to_target(config), config.method.facts.decided_by is None
    stretched = max(1, config.epochs / config.schedule.epochs) if rate.stretch else 1
    return {
        "model": config.model.name,
        "dataset": config.dataset.name,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "peak_rate": peak_rate(config),
        "rates": lambda epoch: learning_rate(config, epoch * STEPS_PER_EPOCH, STEPS_PER_EPOCH),
        "shape": rate.shape,
        "milestones": [stretched * epoch for epoch in (rate.warmup_epochs, *(rate.milestones or []))],
        "momentum": optimizer.momentum,
        "nesterov": optimizer.nesterov,
        "weight_decay": optimizer.weight_decay,
        "decays": "all" if optimizer.decay_norms_and_biases else "weights",
        "label_smoothing": config.label_smoothing,
        "precision": config.precision.dtype,
        "method": config.method.name,
        "sparsity": sparsity.target if is_pruned and is_told else None,
        "distribution": sparsity.distribution if is_pruned and is_told else None,
        "dense_layers": [layer for layer, target in sparsity.rules or [] if target == 0] if is_pruned else None,
        "indivisible": sparsity.indivisible,
        "phases": phases(config),
        "prunes_at": prunes_at(config),
    }


def phases(config: Config) -> str:
    lengths = [(phase.kind[0].upper(), phase.end_epoch - phase.start_epoch) for phase in timeline_of(config).phases]
    shown = " ".join(f"{kind}{length}" for kind, length in lengths)
    return re.sub(r"(S\d+ D\d+ )\1+", lambda pairs: f"({pairs[1].strip()})x{pairs[0].count('S')} ", shown)


def prunes_at(config: Config) -> list[float]:
    """The epochs that begin with a pruning, of a method that prunes gradually."""
    if config.method.name == "woodfisher":
        return [epoch for epoch in range(config.epochs) if config.method.options.window(config.epochs).is_due(epoch)]
    if config.method.name != "gmp":
        return []
    per_epoch = -(-config.task.options.published_samples(config) // config.batch_size)
    window = config.method.options.window(method_setting(config, per_epoch * config.batch_size, no_passes))
    return [step / per_epoch for step in range(window.start, window.end + 1, window.interval)]


def test_every_row_that_the_program_has_is_listed_and_no_other() -> None:
    assert LISTED.keys() == runs().keys()


@pytest.mark.parametrize(("table", "label"), LISTED)
def test_a_row_is_what_its_source_states(table: str, label: str) -> None:
    stated, (row, config) = LISTED[table, label], runs()[table, label]
    run, unknown = facts(config), stated.get("unknown", [])
    assert stated["source"]
    expected = {key: value for key, value in stated.items() if key not in (*NO_FIELDS, *unknown)}
    assert {*expected, *unknown} >= {*FIELDS}
    assert {"phases", "prunes_at"} & {*expected, *unknown}
    if unknown or stated.get("is_in_doubt"):
        assert row.ours, f"{table}: {label}: its table has to say that these are ours: {unknown}"
    for epoch, rate in expected.pop("rates", {}).items():
        assert run["rates"](epoch) == pytest.approx(rate, rel=1e-5), epoch
    if (seeds := expected.pop("seeds", None)) is not None:
        assert row.seeds["paper"] == seeds
    is_finetuned = expected.pop("finetuned", None)
    assert is_finetuned in (None, row.is_finetuned)
    for key, value in expected.pop("settings", {}).items():
        assert getattr(config.method.options, key) == value, key
    if (dense := expected.pop("dense_run", None)) is not None:
        started_from = facts(dense_run_of(config))
        assert {key: started_from[key] for key in dense} == dense
    else:
        assert config.dense_run is None
    decay = expected.pop("weight_decay", None)
    assert decay is None or config.optimizer.weight_decay == pytest.approx(decay, rel=1e-8)
    assert {key: run[key] for key in expected} == expected


@pytest.mark.parametrize(("table", "label"), [key for key, stated in LISTED.items() if "unknown" in stated])
def test_what_a_label_says_of_sparsity_and_budget_is_run(table: str, label: str) -> None:
    """Where no source does: "global, 90%, 1000 epochs"."""
    config = runs()[table, label][1]
    sparsity, epochs = re.search(r"(\d+)%", label), re.search(r"(\d+) epochs$", label)
    if sparsity and config.method.facts.decided_by is None:
        assert config.sparsity.target == int(sparsity[1]) / 100
    if epochs and "phases of" not in label:
        assert config.epochs == int(epochs[1])


def test_the_published_milestones_of_woodfisher_are_every_sixth_epoch() -> None:
    """[40, 6, 90], at the end of epochs counted from 0: nine of them."""
    milestones = runs()["table1", "WoodFisher 90%"][1].lr_schedule.milestones
    assert milestones is not None
    assert (milestones[0], milestones[-1], len(milestones)) == (41, 89, 9)
    assert {later - earlier for earlier, later in pairwise(milestones)} == {6}
