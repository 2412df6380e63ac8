"""scripts/wandb_sync.py: W&B's own reader finds in the rebuilt folder what the run's records hold, once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import BIN, environment
from helpers.training import train

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "wandb_sync.py"


def sync(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=environment(), timeout=300
    )


@pytest.mark.exhaustive
def test_a_run_without_wandb_is_rebuilt_and_a_second_time_is_no_duplicate(tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "epochs=2", "batch_size=256")
    assert not (run.path / "wandb").exists()
    for _ in range(2):
        done = sync(str(tmp_path), "--mode", "offline")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout == f"1/1 {run.path.name}: in step with its records\n"
    (offline,) = (run.path / "wandb").glob("offline-run-*")
    read = [str(BIN / "wandb"), "leet", "inspect", "--json", str(offline)]
    text = subprocess.run(read, capture_output=True, text=True, check=True, env=environment()).stdout
    lines = [json.loads(line) for line in text.splitlines()]
    history = [line["history"]["item"] for line in lines if line.get("type") == "history"]
    assert [item["val_top1"] for item in history] == [row["val_top1"] for row in run.read_metrics()]
    assert {line["artifact"]["name"] for line in lines if line.get("type") == "artifact"} == {"masks", "models"}


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    done = sync(str(tmp_path))
    assert done.returncode == 2 and "no run folder in it" in done.stderr
