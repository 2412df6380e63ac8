"""Configs are values: they do not change, and each step knows more than the one before."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import get_type_hints

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import run_folder
from acdc_cli.config.schema import OPEN_SCHEMA, SettledConfig, narrowed, plain, with_values


def test_no_key_of_a_config_can_be_set() -> None:
    config = compose_config([])
    with pytest.raises(FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
    for entry in fields(config):
        if is_dataclass(group := getattr(config, entry.name)):
            with pytest.raises(FrozenInstanceError):
                setattr(group, fields(group)[0].name, None)


def test_other_values_are_those_of_a_copy() -> None:
    config = compose_config(["seed=3"])
    before = plain(config)
    other = with_values(config, {"seed": 4, "run.name": "mine", "tracker.mode": None})
    assert (other.seed, other.run.name, other.tracker.mode) == (4, "mine", None)
    assert plain(config) == before
    assert plain(other) == before | {
        "seed": 4,
        "run": before["run"] | {"name": "mine"},
        "tracker": before["tracker"] | {"mode": None},
    }


def test_a_type_that_knows_more_has_the_same_keys_and_values() -> None:
    config = compose_config(["threads=2", "workers=1"])
    settled = narrowed(SettledConfig, config, threads=2, workers=1)
    assert list(plain(settled)) == list(plain(config))
    assert plain(settled) == plain(config)


def test_the_processes_of_a_launcher_get_the_schema_itself() -> None:
    """A copy of it would have other objects for "no default", which OmegaConf takes for values."""
    for schema in (OPEN_SCHEMA, *filter(is_dataclass, get_type_hints(OPEN_SCHEMA).values())):
        assert pickle.loads(pickle.dumps(schema)) is schema


def test_the_folder_of_a_run_is_its_experiment_and_its_name_with_the_id() -> None:
    config = compose_config(["runs_dir=/there", "run.experiment=mine", "run.name=this"])
    folder = run_folder(config).path
    assert str(folder.parent) == "/there/mine" and folder.name.startswith("this-")
    nameless = with_values(config, {"run.experiment": None})
    assert str(run_folder(nameless).path.parent) == "/there/default"
