"""Runs whose records count otherwise than the first format's have ids of their own; all others keep theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import readable_name, run_id
from acdc_cli.config.retyped import as_overrides
from acdc_cli.config.schema import Config, with_values
from acdc_cli.config.text import to_yaml
from acdc_cli.errors import BadInput
from acdc_cli.planning.record_format import record_format
from acdc_cli.planning.settle import settle
from acdc_cli.records.folder import RunFolder, replace_json, replace_text
from acdc_cli.tables.found import FoundRuns
from acdc_cli.tables.jobs import settled_here

FIXED = ("precision=fp32", "device=cpu", "threads=1", "loader=torch")
VIT = ("model=torchvision", "model.name=vit_b_16", "dataset=imagenet")


def settled(*typed: str) -> Config:
    return settle(compose_config([*typed, *FIXED]), lambda line: None)


# Ids as version 6f20ac5 gave them, the last one of the first format.
UNCHANGED = {
    "model=resnet50 sparsity=0.9": "fa075cb5",
    "model=torchvision model.name=resnet18 dataset=imagenet": "00aa28a6",
    "model=timm model.name=test_resnet dataset=patches": "127baf79",
    "model=timm model.name=test_vit dataset=cifar10": "8f207c64",  # a transformer all of whose layers are called
    "model=timm model.name=mobileone_s0 dataset=imagenet": "af395748",
    "model=timm model.name=mobileone_s0 dataset=imagenet method=dense": "6d3dd03e",
    "model=timm model.name=resnet18 dataset=imagenet sparsity.rules={first:0,last:0}": "1696cf4e",
}


@pytest.mark.parametrize("typed", UNCHANGED)
def test_what_counts_as_before_keeps_its_id(typed: str) -> None:
    config = settled(*typed.split())
    assert config.record_format is None
    assert run_id(config) == UNCHANGED[typed]


CHANGED = {
    "model=torchvision model.name=vit_b_16 dataset=imagenet": "b561e47f",  # its attention's weights are prunable now
    "model=torchvision model.name=swin_t dataset=imagenet": "930d6f87",  # functions use its attention's weights
    # What ``first`` means has changed: two stems that lie side by side.
    "model=timm model.name=mobileone_s0 dataset=imagenet sparsity.rules={first:0}": "b9e248b8",
}


@pytest.mark.parametrize("typed", CHANGED)
def test_what_counts_otherwise_has_another_id(typed: str) -> None:
    config = settled(*typed.split())
    assert config.record_format == 2
    assert run_id(config) != CHANGED[typed]
    assert run_id(replace(config, record_format=None)) == CHANGED[typed]


def test_it_is_derived_and_cannot_be_chosen() -> None:
    with pytest.raises(BadInput, match="record_format=1: is derived from model; drop record_format"):
        compose_config(["record_format=1"])
    assert not any("record_format" in override for override in as_overrides(settled(*VIT)))


def finished(runs_dir: Path, config: Config) -> RunFolder:
    folder = RunFolder(runs_dir / "default" / f"{readable_name(config)}-{run_id(config)}")
    replace_text(folder.config, to_yaml(config))
    folder.write_status("done", 2)
    replace_json(folder.result, {"run_id": run_id(config)})
    return folder


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_table_takes_no_run_of_the_first_format_for_one_of_now(device: str, tmp_path: Path) -> None:
    """Wherever it was made: a run on a GPU is looked for by what was asked, also on a machine that has none."""
    asked = compose_config([*VIT, "precision=fp32", f"device={device}"])
    elsewhere = {"device": "cuda", "threads": 32, "precision.compile": True, "loader": "ffcv"}
    made = with_values(settled(*VIT), elsewhere)
    finished(tmp_path, replace(made, record_format=None))
    assert FoundRuns(tmp_path).of(asked, settled_here(asked)) is None
    now = finished(tmp_path, replace(made, record_format=2))
    found = FoundRuns(tmp_path).of(asked, settled_here(asked))
    assert found is not None and found.path == now.path


def test_a_network_that_does_not_fit_is_refused() -> None:
    typed = ["model=torchvision", "model.name=vit_b_16", "dataset=cifar10"]
    with pytest.raises(BadInput, match=r"model\.name=vit_b_16: cannot take images of 3 x 32 x 32"):
        record_format(compose_config(typed))
