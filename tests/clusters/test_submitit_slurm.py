"""hydra/launcher=submitit_slurm up to SLURM's own programs: an sbatch and an srun that start the job here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import BIN, environment
from sweeping import left_in

from acdc_cli.records.folder import run_folders

SBATCH = """#!/bin/bash
cp "$1" submitted
for task in 0 1; do
    SLURM_JOB_ID=$((777 + task)) SLURM_ARRAY_JOB_ID=777 SLURM_ARRAY_TASK_ID=$task bash "$1" > /dev/null 2>&1 &
done
echo "Submitted batch job 777"
"""
SRUN = """#!/bin/bash
[[ "$1 $2 $4" == "--unbuffered --output --error" ]] || exit 1
shift 5
exec "$@"
"""
SACCT = """#!/bin/bash
printf 'JobID|State|NodeList\\n777_0|RUNNING|here\\n777_1|RUNNING|here\\n'
"""


@pytest.mark.exhaustive
def test_a_sweep_is_one_array_whose_jobs_report_through_runs_dir(tmp_path: Path, data_dir: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    slurm = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=30"]
    small = ["epochs=2", "threads=1", "loader=device", "tracker=none", f"data_dir={data_dir}"]
    done = subprocess.run(
        [str(BIN / "acdc-train"), "-m", *slurm, *small, "seed=0,1"],
        cwd=tmp_path,
        env=environment(PATH=f"{folder}:{os.environ['PATH']}", OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "777_0, 777_1" in done.stderr and done.stdout.count("done") == 2
    assert len(run_folders(tmp_path)) == 2
    assert [name for name in left_in(tmp_path) if not name.startswith("bin")] == ["runs", "runs/default", "submitted"]
    submitted = (tmp_path / "submitted").read_text()
    for line in ("--array=0-1%2", "--partition=gpu", "--time=30", "--signal=USR2@120", "--ntasks-per-node=1"):
        assert f"#SBATCH {line}\n" in submitted, submitted
    assert f"{tmp_path}/runs/.submitit/" in submitted  # which all nodes see


@pytest.mark.parametrize(
    ("launcher", "package"), [("joblib", "hydra-joblib-launcher"), ("submitit_slurm", "hydra-submitit-launcher")]
)
def test_a_launcher_that_is_not_installed_is_one_line_with_what_to_install(
    launcher: str, package: str, tmp_path: Path
) -> None:
    program = (
        "import sys; plugins = ('hydra_joblib_launcher', 'hydra_submitit_launcher'); "
        "sys.modules |= dict.fromkeys(f'hydra_plugins.{name}' for name in plugins); "
        "from acdc_cli.commands.train import run_command_line; "
        f"sys.exit(run_command_line(['-m', 'hydra/launcher={launcher}', 'seed=0,1']))"
    )
    refused = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    line = f"acdc-train: error: hydra/launcher={launcher}: is not installed; run: pip install {package}\n"
    assert refused.stderr == line
