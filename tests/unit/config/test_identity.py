"""Which run is which: the 8 hex digits, computed here a second time from the contract's words."""

from __future__ import annotations

import hashlib
import json
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import readable_name, run_id
from acdc_cli.config.schema import Config
from acdc_cli.config.text import to_yaml
from acdc_cli.data.beton.availability import ffcv_problem
from acdc_cli.planning.settle import cores, settle
from acdc_cli.training.execute import execute


def settled(*arguments: str) -> Config:
    """The config that a run's id is made of, device, loader and threads resolved."""
    return settle(compose_config(list(arguments)), lambda line: None)


def id_of(*arguments: str) -> str:
    return run_id(settled(*arguments))


def without_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: without_nulls(child) for key, child in node.items() if child is not None}
    return node


def id_by_the_contract(config_yaml: str) -> str:
    """contract.md, "Identity", from a run's config.yaml. ``plan`` is no part of a run: with it there is none."""
    config = yaml.safe_load(config_yaml)
    for key in ("runs_dir", "data_dir", "run", "tracker", "workers", "plan", "checkpoint"):
        del config[key]
    if config["method"]["name"] == "dense":  # reads neither a sparsity nor phases, and never prunes
        del config["sparsity"]
        config["schedule"] = {"epochs": config["schedule"]["epochs"]}  # what the learning rate scales by
        config["method"] = {"name": "dense"}
    canonical = json.dumps(without_nulls(config), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:8]


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "sparsity=2:4",
        "sparsity=uniform sparsity.target=0.8",
        "model=resnet20 optimizer=adamw precision=fp32",
        "schedule.phases=[[dense,0,3],[sparse,3,10]]",
        "method=dense sparsity=0.8",
        "runs_dir=/elsewhere run.name=mine workers=1 tracker=none device=cpu threads=3",
    ],
)
def test_id_is_the_hash_of_the_canonical_json(typed: str) -> None:
    config = settled(*typed.split())
    assert run_id(config) == id_by_the_contract(to_yaml(config))


def test_a_run_folder_is_named_by_its_own_config(tmp_path: Path, data_dir: Path) -> None:
    typed = ["epochs=2", "model.width=1", "batch_size=720", "threads=1", "loader=device", "tracker=none"]
    folder = execute(compose_config([*typed, f"data_dir={data_dir}", f"runs_dir={tmp_path}"]), lambda line: None)
    name, _, digits = folder.path.name.rpartition("-")
    assert digits == id_by_the_contract(folder.config.read_text()) == folder.read_result()["run_id"]
    assert folder.path.parent == tmp_path / "default"
    assert {"resnet8", "digits", "acdc", "0.9"} <= set(name.split("-"))


@pytest.mark.parametrize(
    "typed",
    [
        "runs_dir=/elsewhere",
        "data_dir=/elsewhere",
        "run.name=mine",
        "run.experiment=mine",
        "run.overwrite=true",
        "tracker=none",
        "tracker.mode=offline",
        "tracker.project=mine",
        "workers=1",
        # Other words for the same run.
        "epochs=40",
        "schedule.warmup_epochs=4 schedule.final_sparse_epochs=6",
        "sparsity=0.90",
        "sparsity.target=9e-1",
        "model=resnet8",
        "lr_schedule.warmup_epochs=2",
    ],
)
def test_what_changes_no_number_does_not_enter(typed: str) -> None:
    assert id_of(*typed.split()) == id_of()


def test_an_experiments_name_does_not_enter() -> None:
    assert id_of("experiment=digits_95") == id_of("sparsity=0.95")


def test_auto_never_enters() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = "torch" if ffcv_problem() else "ffcv"
    assert id_of() == id_of(f"device={device}", f"loader={loader}", f"threads={cores()}")
    assert id_of("threads=1") != id_of("threads=2")
    assert id_of("loader=torch") != id_of("loader=device")


def test_fp16_on_a_cpu_is_recorded_as_what_auto_picks_there() -> None:
    assert id_of("precision=fp16", "device=cpu") == id_of("precision=auto", "device=cpu")


def test_everything_else_enters() -> None:
    typed = [
        "", "seed=1", "epochs=41", "batch_size=65", "label_smoothing=0.1", "sparsity=0.8", "sparsity=2:4",
        "sparsity=uniform", "sparsity.min_layer_density=0.01", "schedule.sparse_epochs=1", "method=dense",
        "method.reset_moments=false", "optimizer=adamw", "optimizer.lr=0.2", "optimizer.weight_decay=0",
        "optimizer.nesterov=false", "lr_schedule=linear", "lr_schedule.warmup_epochs=1", "precision=fp64",
        "precision.channels_last=false", "precision.compile=true", "optimizer.lr_batch_size=64",
        "model.width=16", "model.shortcut=conv", "dataset.crop_padding=0",
        "dataset.flip=true", f"threads={cores() + 1}", "loader=device",
    ]  # fmt: skip
    ids = {id_of(*words.split()) for words in typed}
    assert len(ids) == len(typed)


def test_what_dense_does_not_read_does_not_enter() -> None:
    unread = ["sparsity=0.8", "sparsity=0.9", "sparsity=2:4", "sparsity=uniform", "sparsity.min_layer_density=0.01"]
    unread += ["schedule.sparse_epochs=3", "schedule.warmup_epochs=1", "method.reset_moments=true"]
    assert {id_of("method=dense", words) for words in unread} == {id_of("method=dense")}
    assert id_of("method=dense", "epochs=41") != id_of("method=dense")
    assert id_of("method=dense", "seed=1") != id_of("method=dense")


def test_ids_of_the_first_version_are_what_they_were() -> None:
    """Ids are public: a key that is added, or a default that is derived, must not rename anyone's runs."""
    first = ("device=cpu", "threads=1", "loader=torch", "precision=bf16")  # which was the default
    assert id_of(*first) == "7cafc718"
    assert id_of(*first, "precision.compile=false") == "7cafc718"


def test_a_key_that_comes_later_with_null_keeps_old_ids() -> None:
    later = make_dataclass(
        "Later", [("coming", int | None, field(default=None))], bases=(Config,), frozen=True, kw_only=True
    )
    config = settled()
    assert run_id(later(**vars(config))) == run_id(config)
    assert run_id(later(**vars(config), coming=1)) != run_id(config)


def test_readable_name_tells_runs_apart_and_is_a_folder_name() -> None:
    assert {"resnet8", "digits", "acdc"} <= set(readable_name(settled("sparsity=2:4")).split("-"))
    assert not set(readable_name(settled("sparsity=2:4"))) & set(":/ ")
    assert readable_name(settled("method=dense", "sparsity=0.8")) == readable_name(settled("method=dense"))
    assert readable_name(settled("run.name=mine")) == "mine"
