"""A table finds its runs by what was asked for, on whatever machine they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.fake_records import RESULT
from safetensors.torch import save_file

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import readable_name, run_id
from acdc_cli.config.schema import Config, with_values
from acdc_cli.config.text import to_yaml
from acdc_cli.planning.settle import settle
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.system.files import replace_json, replace_text
from acdc_cli.tables.found import FoundRuns

ASKED = ("sparsity=0.9", "precision=fp16")
ON_A_GPU = {"device": "cuda", "loader": "ffcv", "threads": 32, "precision.compile": True}
ON_ANOTHER_CPU = {
    "device": "cpu",
    "loader": "torch",
    "threads": 64,
    "precision.compile": False,
    "precision.dtype": "bf16",
}


def config_with(typed: tuple[str, ...], settled: dict[str, Any]) -> Config:
    return with_values(compose_config(list(typed)), settled)


def made(runs_dir: Path, config: Config, state: str = "done") -> RunFolder:
    """A folder as the run of ``config`` leaves it, as far as a table looks for one."""
    folder = RunFolder(runs_dir / "default" / f"{readable_name(config)}-{run_id(config)}")
    replace_text(folder.config, to_yaml(config))
    folder.write_status(state, 2)
    if state == "done":
        replace_json(folder.result, RESULT | {"run_id": run_id(config)})
        folder.models.mkdir()
        save_file({}, folder.models / "sparse.safetensors")
    return folder


def found(runs_dir: Path, *typed: str) -> Path | None:
    asked = compose_config([*ASKED, *typed])
    folder = FoundRuns(runs_dir).of(asked, settle(asked, lambda line: None))
    return None if folder is None else folder.path


@pytest.mark.parametrize("machine", [ON_A_GPU, ON_ANOTHER_CPU], ids=["GPU", "CPU"])
def test_what_another_machine_made_is_found(machine: dict[str, Any], tmp_path: Path) -> None:
    folder = made(tmp_path, config_with(ASKED, machine))
    assert found(tmp_path) == folder.path


@pytest.mark.parametrize(("device", "dtype"), [("cpu", "fp32"), ("cpu", "bf16"), ("cuda", "bf16"), ("cuda", "fp16")])
def test_what_auto_became_elsewhere_is_found(device: str, dtype: str, tmp_path: Path) -> None:
    folder = made(tmp_path, config_with((), {**ON_A_GPU, "device": device, "precision.dtype": dtype}))
    asked = compose_config([])
    found_folder = FoundRuns(tmp_path).of(asked, settle(asked, lambda line: None))
    assert found_folder is not None and found_folder.path == folder.path


def test_what_auto_cannot_become_is_not_found(tmp_path: Path) -> None:
    made(tmp_path, config_with((), {**ON_A_GPU, "precision.dtype": "fp64"}))
    asked = compose_config([])
    assert FoundRuns(tmp_path).of(asked, settle(asked, lambda line: None)) is None


def test_what_was_asked_for_has_to_be_so(tmp_path: Path) -> None:
    folder = made(tmp_path, config_with(ASKED, ON_A_GPU))
    assert found(tmp_path, "threads=32") == folder.path
    for other in ("threads=2", "device=cpu", "loader=torch", "lr_schedule=linear", "precision=bf16", "epochs=39"):
        assert found(tmp_path, other) is None, other


def test_a_run_that_is_done_comes_before_one_that_is_not(tmp_path: Path) -> None:
    own = made(tmp_path, settle(compose_config(list(ASKED)), lambda line: None), "failed")
    assert found(tmp_path) == own.path
    elsewhere = made(tmp_path, config_with(ASKED, ON_A_GPU))
    assert found(tmp_path) == elsewhere.path


def test_one_whose_result_is_damaged_is_not_done(tmp_path: Path) -> None:
    folder = made(tmp_path, config_with(ASKED, ON_A_GPU))
    for damage in ("{", "{}", ""):
        folder.result.write_text(damage)
        assert folder.state() == "interrupted"


def test_what_wandb_leaves_in_a_run_is_no_run(tmp_path: Path) -> None:
    folder = made(tmp_path, config_with(ASKED, ON_A_GPU))
    replace_text(folder.path / "wandb" / "run-20261121_180000-abc" / "files" / "config.yaml", "wandb_version: 1\n")
    assert [each.path for each in run_folders(tmp_path)] == [folder.path]
