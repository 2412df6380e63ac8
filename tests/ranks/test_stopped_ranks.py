"""SIGTERM as srun, a cluster or torchrun hand it on: all ranks stop after the same step, and the run goes on later."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.support import BIN, environment
from helpers.training import position, train
from torchrun_job import DIGITS, END_SECONDS, Job, only_run

pytestmark = pytest.mark.slow


def start_as_srun_does(rank: int, *overrides: str) -> subprocess.Popen:
    """One of the two tasks of a SLURM step on this machine."""
    step = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
    }
    return subprocess.Popen(
        [str(BIN / "acdc-train"), "device=cpu", "threads=1", "tracker=none", *overrides],
        env=environment(OMP_NUM_THREADS="1", **step),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_inside(runs: Path, epoch: int) -> bool:
    done, steps = position(runs)
    return (done, steps or 0) >= (epoch, 1)


def check_interrupted(runs: Path, at_least: int) -> None:
    status = only_run(runs).read_status()
    assert status["state"] == "interrupted" and at_least <= status["epoch"] < 6
    assert "the same command goes on" in status["error"]
    assert not list(runs.rglob("*.tmp"))


def stop_step(told: dict[int, int], at_epoch: int, *overrides: str, runs: Path) -> list[str]:
    """Start both tasks, send some of them a signal inside the epoch (0-based). Returns what each has said."""
    tasks = [start_as_srun_does(rank, *overrides) for rank in range(2)]
    try:
        while not is_inside(runs, at_epoch):
            assert [task.poll() for task in tasks] == [None, None], [task.communicate()[1] for task in tasks]
            time.sleep(0.005)
        for rank, number in told.items():
            tasks[rank].send_signal(number)
        start = time.monotonic()
        errors = [task.communicate(timeout=END_SECONDS)[1] for task in tasks]
    finally:
        for task in tasks:
            task.kill()
    assert [task.returncode for task in tasks] == [75, 75], errors
    assert time.monotonic() - start < END_SECONDS
    return errors


@pytest.mark.exhaustive
def test_stopped_ranks_exit_75_and_the_run_goes_on(data_dir: Path, tmp_path: Path) -> None:
    """The tasks of an srun, then one of them, then torchrun, which ends its ranks; one process does the rest."""
    typed = [*DIGITS, f"data_dir={data_dir}", f"runs_dir={tmp_path}", "checkpoint.every_minutes=0"]
    errors = stop_step({0: signal.SIGTERM, 1: signal.SIGTERM}, 1, *typed, runs=tmp_path)
    assert "SIGTERM: finishing the step" in errors[0] and errors[0].count("the same command goes on") == 1
    assert errors[1] == ""  # the first rank speaks for all
    check_interrupted(tmp_path, at_least=1)

    errors = stop_step({1: signal.SIGUSR1}, 2, *typed, runs=tmp_path)
    assert goes_on_inside_an_epoch(errors[0]) and errors[0].count("the same command goes on") == 1
    assert errors[1] == ""
    check_interrupted(tmp_path, at_least=2)

    with Job(*typed) as job:
        job.wait_until(lambda: is_inside(tmp_path, 3))
        job.signal(signal.SIGTERM)
        ended = job.end()
    assert ended.code != 0 and ended.seconds < END_SECONDS
    assert goes_on_inside_an_epoch(ended.errors)
    check_interrupted(tmp_path, at_least=3)

    train(tmp_path, data_dir, *DIGITS)
    assert only_run(tmp_path).is_done
    assert only_run(tmp_path).read_result()["sparse"]["val_top1"] > 0.9


def goes_on_inside_an_epoch(errors: str) -> bool:
    (line,) = (line for line in errors.splitlines() if "acdc-train: resuming" in line)
    return re.search(r"after epoch \d/6, step \d+/12 of the next$", line) is not None
