"""hydra/launcher=submitit_local: submitit's jobs, their signals and their queue, on one machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers.support import Command
from helpers.training import equal_bits, model_state, train
from sweeping import begun, ended, left_in, process_of, start, states, wait_until

from acdc_cli.records.folder import run_folders

LOCAL = "hydra/launcher=submitit_local"


@pytest.mark.slow
def test_a_preempted_job_goes_on_with_the_same_bits_and_a_killed_one_leaves_its_output(
    tmp_path: Path, data_dir: Path
) -> None:
    process = start(tmp_path, data_dir, LOCAL, "epochs=12", "model.width=8", "seed=0,1")
    wait_until(process, lambda: len(begun(tmp_path)) == 2)
    preempted, killed = begun(tmp_path)
    first = process_of(preempted)
    os.kill(first, signal.SIGUSR2)
    wait_until(process, lambda: "interrupted" in states(tmp_path))
    os.kill(process_of(killed), signal.SIGKILL)
    done = ended(process)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stdout.count("done") == 1 and done.stdout.count("failed") == 1 and "interrupted" not in done.stdout
    assert preempted.is_done and process_of(preempted) != first
    alone = train(tmp_path / "alone", data_dir, "epochs=12", "model.width=8")
    for kind in ("sparse", "dense"):
        assert equal_bits(model_state(alone, kind), model_state(preempted, kind))
    (folder,) = (tmp_path / "runs" / ".submitit").iterdir()
    assert f"ended without a word; the same command goes on; its output: {folder}" in done.stderr
    logs = [log.read_text() for log in folder.glob("*_log.err")]
    assert len(logs) == 2 and all(" 1/12 " in log for log in logs)


@pytest.mark.exhaustive
def test_two_tasks_are_two_ranks_of_one_run_and_sigterm_stops_both(tmp_path: Path, data_dir: Path) -> None:
    two = [LOCAL, "hydra.launcher.tasks_per_node=2", "threads=2", "epochs=200", "seed=0"]
    process = start(tmp_path, data_dir, *two)
    wait_until(process, lambda: len(begun(tmp_path)) == 1)
    (run,) = run_folders(tmp_path)
    (folder,) = (tmp_path / "runs" / ".submitit").iterdir()
    assert len(list(folder.glob("*_log.out"))) == 2  # of two processes
    process.terminate()
    stopped = ended(process)
    assert stopped.returncode == 75, stopped.stderr
    assert "Traceback" not in stopped.stderr and stopped.stdout.count("interrupted") == 1
    assert run.read_status()["state"] == "interrupted"
    assert left_in(tmp_path) == ["runs", "runs/default"]


def test_what_submitit_refuses_is_one_line(program: Command, tmp_path: Path) -> None:
    refused = program("-m", LOCAL, "hydra.launcher.nodes=2", "seed=0,1")
    assert refused.returncode == 1 and "only one node" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
