"""The W&B mirror: the offline run holds what the run folder holds, and W&B can break nothing."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.support import BIN, Command, environment
from helpers.training import train

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import plain, with_values
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.records.tracker import WandbMirror
from acdc_cli.training.execute import execute

QUICK = ["epochs=3", "threads=1", "loader=device"]


def offline_folder(run: RunFolder) -> Path:
    (folder,) = (run.path / "wandb").glob("offline-run-*")
    return folder


def inspect(run: RunFolder, *flags: str) -> str:
    """What W&B's own reader finds in the run's only offline folder."""
    read = [str(BIN / "wandb"), "leet", "inspect", *flags, "--json", str(offline_folder(run))]
    return subprocess.run(read, capture_output=True, text=True, check=True, env=environment()).stdout


def records(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in inspect(run).splitlines()]
    return [line[kind] for line in lines if line.get("type") == kind]


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def assert_mirrors(run: RunFolder) -> None:
    history = [record["item"] for record in records(run, "history")]
    assert [item["_step"] for item in history] == list(range(len(run.read_metrics())))
    for item, row in zip(history, run.read_metrics(), strict=True):
        assert {key: item[key] for key in flat(row)} == pytest.approx(flat(row), nan_ok=False)


@pytest.mark.slow
def test_offline_records_hold_history_config_summary_and_artifacts(program: Command, tmp_path: Path) -> None:
    ended = program(*QUICK, "keep_best=true")
    assert ended.returncode == 0 and "wandb" not in ended.stderr.lower(), ended.stderr
    (run,) = run_folders(tmp_path)
    assert_mirrors(run)
    summary = json.loads(inspect(run, "--summary"))
    result = run.read_result()
    assert summary["run_id"] == result["run_id"]
    assert summary["config"] == yaml.safe_load(run.config.read_text())
    known = {key: value for key, value in flat(result).items() if value is not None}  # W&B keeps no null
    assert flat(summary["summary"]) | known == flat(summary["summary"])
    files = {
        artifact["name"]: {entry["path"]: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
        for artifact in records(run, "artifact")
    }
    assert files["masks"].keys() == {"masks.safetensors", "epoch_002.safetensors"}
    kinds = ("sparse", "dense", "sparse_best", "dense_best")
    assert files["models"].keys() == {f"{kind}.safetensors" for kind in kinds}
    for name, staged in files["models"].items():
        assert staged.is_relative_to(run.path / "wandb")  # the folder can be copied and synced elsewhere
        assert staged.read_bytes() == (run.models / name).read_bytes()


@pytest.mark.slow
def test_a_resumed_run_has_one_offline_folder_with_the_whole_history(tmp_path: Path, data_dir: Path) -> None:
    overrides = ["tracker=wandb", "tracker.mode=offline"]
    run = train(tmp_path, data_dir, *overrides, "epochs=3")
    first = offline_folder(run).name
    run.write_status("running", 3)  # as if it had been killed before its end
    train(tmp_path, data_dir, *overrides, "epochs=3")
    assert offline_folder(run).name != first
    assert_mirrors(run)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "variables",
    [
        {"WANDB_MODE": "online"},  # no key: W&B refuses at once
        {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"},  # a key, and nobody who answers
    ],
    ids=["no key", "no network"],
)
def test_wandb_that_cannot_be_reached_is_said_once_and_mirrored_offline(
    variables: dict[str, str], command: Command, tmp_path: Path
) -> None:
    check_goes_on_offline(command, tmp_path, variables)


@pytest.mark.exhaustive
def test_a_wandb_server_that_never_answers_does_not_hold_up_the_run(command: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and says nothing
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        check_goes_on_offline(command, tmp_path, {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": url})


def check_goes_on_offline(command: Command, tmp_path: Path, variables: dict[str, str]) -> None:
    ended = command("acdc-train", *QUICK, "epochs=2", **variables)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("W&B is not reachable") == 1
    (run,) = run_folders(tmp_path)
    assert run.is_done
    assert_mirrors(run)


def test_what_wandb_refuses_does_not_stop_the_run(tmp_path: Path, data_dir: Path) -> None:
    config = compose_config([*QUICK, "epochs=2", f"data_dir={data_dir}", f"runs_dir={tmp_path}"])
    refused = "a/b:c"  # a name that W&B refuses
    config = with_values(config, {"tracker.mode": "offline", "tracker.project": refused})
    said: list[str] = []
    run = execute(config, said.append)
    assert run.is_done
    assert [line.startswith("W&B") for line in said if ", precision=" not in line and line != run.path.name] == [True]


@pytest.mark.slow
def test_after_an_error_the_next_run_of_a_process_has_a_wandb_run_of_its_own(tmp_path: Path, data_dir: Path) -> None:
    said: list[str] = []
    base = [*QUICK, "epochs=2", "tracker.mode=offline", f"data_dir={data_dir}", f"runs_dir={tmp_path}"]
    first = compose_config(base)
    folder = RunFolder(tmp_path / "first")
    folder.path.mkdir()
    broken = WandbMirror(plain(first), folder, "firstrun", said.append)
    broken.start([])
    broken.log({"epoch": object()})  # what W&B cannot take
    assert len(said) == 1
    run = execute(compose_config([*base, "seed=1"]), said.append)
    assert_mirrors(run)
    assert json.loads(inspect(run, "--summary"))["run_id"] == run.read_result()["run_id"]
