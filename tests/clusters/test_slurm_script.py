"""scripts/slurm.sh as SLURM runs it: with an srun that starts two ranks here, and an scontrol that takes notes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.support import BIN, environment
from sweeping import begun, ended, states, wait_until

from acdc_cli.records.folder import run_folders

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "slurm.sh"
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=1 SLURM_STEP_NODELIST=127.0.0.1 SLURM_STEP_ID=0
for rank in 0 1; do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" &
    echo $! >> tasks
done
code=0
for task in $(jobs -p); do
    wait "$task"
    own=$?
    (( own > code )) && code=$own
done
exit $code
"""
SCONTROL = """#!/bin/bash
echo "$@" >> scontrol.called
"""


@pytest.fixture
def cluster(tmp_path: Path) -> str:
    """A PATH on which SLURM's programs are."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return f"{folder}:{BIN}:{os.environ['PATH']}"


@pytest.mark.exhaustive
def test_the_script_queues_itself_again_until_the_run_is_done(cluster: str, tmp_path: Path, data_dir: Path) -> None:
    def submit(job: int) -> subprocess.Popen[str]:
        (tmp_path / "tasks").unlink(missing_ok=True)
        small = ["epochs=8", "threads=2", "loader=device", "tracker=none", f"data_dir={data_dir}"]
        return subprocess.Popen(
            ["bash", str(SCRIPT), *small],
            cwd=tmp_path,
            env=environment(PATH=cluster, SLURM_JOB_ID=str(job), SLURM_CPUS_PER_TASK="1", OMP_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    process = submit(4242)
    wait_until(process, lambda: bool(begun(tmp_path)))
    for task in (tmp_path / "tasks").read_text().split():  # SLURM signals the tasks, and not the script
        os.kill(int(task), signal.SIGUSR1)
    stopped = ended(process)
    assert stopped.returncode == 75, stopped.stderr
    assert states(tmp_path) == ["interrupted"]
    assert (tmp_path / "scontrol.called").read_text() == "requeue 4242\n"
    done = ended(submit(4243))
    assert done.returncode == 0, done.stderr
    (run,) = run_folders(tmp_path)
    assert run.is_done and "resuming" in done.stderr
    assert (tmp_path / "scontrol.called").read_text() == "requeue 4242\n"


def test_the_script_is_sound(tmp_path: Path) -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    if shellcheck := shutil.which("shellcheck", path=f"{BIN}:{os.environ['PATH']}"):
        checked = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout
