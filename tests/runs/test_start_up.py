"""What acdc-train imports before it answers: a budget of modules, for seconds differ from machine to machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import environment

from acdc_cli.records.folder import RunFolder, run_folders

# Runs acdc-train and writes down the modules that are there at its end, or when the first optimizer step begins.
PROGRAM = """
import os, sys
from pathlib import Path

def write_down(*_):
    Path(sys.argv[1]).write_text("\\n".join(sys.modules))

if sys.argv[2] == "first_step":
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    register_optimizer_step_pre_hook(lambda *_: (write_down(), os._exit(0)))
from acdc_cli.commands.train import run_command_line

code = run_command_line(sys.argv[3:])
write_down()
sys.exit(code)
"""
HEAVY = {
    *("torch", "torch._dynamo", "sympy", "scipy", "numpy", "numba", "cv2", "PIL"),
    *("matplotlib", "sklearn", "wandb", "pandas", "torchvision", "timm"),
}
# PyTorch's compiler, and sympy with it: every optimizer of PyTorch imports it when it is made.
BY_TORCH = {"torch", "torch._dynamo", "sympy"}
QUICK = ["epochs=1", "method=dense", "threads=1", "tracker=none", "model.width=8"]


def modules(folder: Path, *arguments: str, until: str = "end") -> set[str]:
    """The modules that acdc-train has imported, in a process of its own."""
    out = folder / "modules"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out), until, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return set(out.read_text().split())


@pytest.mark.parametrize(
    ("arguments", "may_be", "at_most"),
    [
        (["--help"], set(), 420),
        (["--cfg", "job", "--resolve"], set(), 500),
        (["plan=true"], BY_TORCH | {"numpy"}, 2700),
    ],
)
def test_what_answers_without_a_run(arguments: list[str], may_be: set[str], at_most: int, tmp_path: Path) -> None:
    imported = modules(tmp_path, *arguments)
    assert imported & HEAVY <= may_be
    assert len(imported) <= at_most


def test_a_run_up_to_its_first_step(data_dir: Path, tmp_path: Path, needs_ffcv: None) -> None:
    """Nothing that draws, that prepares the digits or that watches: the report is for the end of a run."""
    imported = modules(tmp_path, *QUICK, "loader=torch", f"data_dir={data_dir}", until="first_step")
    assert imported & HEAVY <= BY_TORCH | {"numpy", "PIL"}
    assert len(imported) <= 3100


@pytest.fixture
def finished(data_dir: Path, tmp_path: Path) -> RunFolder:
    """A run that is done, in ``tmp_path``."""
    modules(tmp_path, *QUICK, f"data_dir={data_dir}")
    return run_folders(tmp_path)[0]


@pytest.mark.slow
def test_a_finished_run_is_shown_without_torch(finished: RunFolder, data_dir: Path, tmp_path: Path) -> None:
    before = finished.result.stat().st_mtime_ns
    imported = modules(tmp_path, *QUICK, f"data_dir={data_dir}")
    assert imported & HEAVY <= {"numpy"}
    assert len(imported) <= 680
    assert finished.result.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_finished_pruning_is_shown_without_torch(data_dir: Path, tmp_path: Path) -> None:
    """Its id has the hash of the dense model's tensors in it, and that model is of another run, made first."""
    pruning = [*QUICK, "method=magnitude", f"data_dir={data_dir}"]
    modules(tmp_path, *pruning)
    assert len(run_folders(tmp_path)) == 2
    assert modules(tmp_path, *pruning) & HEAVY <= {"numpy"}
    assert len(run_folders(tmp_path)) == 2


@pytest.mark.slow
def test_a_damaged_run_is_made_again_as_before(finished: RunFolder, data_dir: Path, tmp_path: Path) -> None:
    finished.model("dense").unlink()
    assert "torch" in modules(tmp_path, *QUICK, f"data_dir={data_dir}")
    assert finished.is_done and not finished.faults()
