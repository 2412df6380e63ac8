"""hydra/launcher=joblib: a sweep in parallel processes on one machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers.support import Command
from helpers.training import equal_bits, model_state, train
from sweeping import begun, ended, left_in, start, states, sweep, wait_until

from acdc_cli.records.folder import run_folders

JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.mark.exhaustive
def test_jobs_in_parallel_give_one_table_the_bits_of_single_runs_and_leave_nothing(
    tmp_path: Path, data_dir: Path
) -> None:
    done = sweep(tmp_path, data_dir, *JOBLIB, "epochs=4", "model.width=8", "sparsity=0.9,1.5", "seed=0")
    assert done.returncode == 1  # one is done, one could not start
    assert done.stdout.count("sweep") == 1 and "Traceback" not in done.stderr
    assert "sparsity.target=1.5" in done.stderr.splitlines()[-1]
    (run,) = run_folders(tmp_path)
    assert f"run 1 of 2: {run.path.name}" in done.stderr
    kept = [line for line in done.stderr.splitlines() if line.startswith(f"{run.path.name}  ")]
    assert [line.split()[1] for line in kept] == ["epoch", "1/4", "2/4", "3/4", "4/4"]  # each line names its run
    alone = train(tmp_path / "alone", data_dir, "epochs=4", "model.width=8")
    assert equal_bits(model_state(alone), model_state(run))
    assert [name for name in left_in(tmp_path) if not name.startswith("alone")] == ["runs", "runs/default"]


@pytest.mark.exhaustive
def test_ctrl_c_ends_every_job_after_its_step(tmp_path: Path, data_dir: Path) -> None:
    process = start(tmp_path, data_dir, *JOBLIB, "epochs=200", "seed=0,1,2")
    wait_until(process, lambda: len(begun(tmp_path)) == 2)
    os.killpg(process.pid, signal.SIGINT)  # a terminal's reaches every process
    stopped = ended(process)
    assert stopped.returncode == 75, stopped.stderr
    assert "Traceback" not in stopped.stderr, stopped.stderr
    assert states(tmp_path) == ["interrupted", "interrupted"]
    assert stopped.stdout.count("interrupted") == 3  # the one that had not begun too
    assert left_in(tmp_path) == ["runs", "runs/default"]


def test_an_unknown_launcher_is_one_line(program: Command) -> None:
    refused = program("-m", "hydra/launcher=jobliib", "seed=0,1")
    assert refused.returncode == 2 and "did you mean hydra/launcher=joblib?" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
