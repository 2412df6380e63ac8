"""The search for a sparsity, with real runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

SHORT = ["epochs=3", "threads=1", "loader=device", "tracker=none", "method=str", "method.s_init=-4", "sparsity=0.8"]
INTERVAL = ["--key", "method.s_weight_decay", "--low", "0.002", "--high", "0.1", "--log"]


def search(*arguments: str) -> subprocess.CompletedProcess[str]:
    """By ``python -m``; the console script is looked at in test_wheel.py."""
    command = [sys.executable, "-m", "acdc_cli.commands.search", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment())


@pytest.mark.slow
def test_it_finds_a_run_within_half_a_point_and_says_how_to_type_it(tmp_path: Path, data_dir: Path) -> None:
    ended = search(*INTERVAL, *SHORT, f"data_dir={data_dir}", f"runs_dir={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    *tries, last = ended.stdout.splitlines()
    results = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
    reached = [result["sparsity_of_pruned_layers"] for result in results]
    assert len(tries) == len(results) >= 3  # both ends and what lies between
    assert min(reached) < 0.795 and max(reached) > 0.805
    (found,) = [sparsity for sparsity in reached if abs(sparsity - 0.8) <= 0.005]
    assert last.startswith(f"{found:.4f} for 0.8: acdc-train epochs=3 ") and f"sparsity {found:.4f}" in tries[-1]
    assert last.split()[-1] == tries[-1].split()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--key", "method.s_weight_decay", "--low", "0.1", "--high", "0.01"], "not below --high"),
        (["--key", "method.s_init", "--low", "-9", "--high", "-1", "--log"], "leave out --log"),
        (["--key", "method.s_init", "--low", "-9", "--high", "-1"], "leave it out of the overrides"),
        (["--key", "method.s_in", "--low", "-9", "--high", "-1"], "did you mean method.s_init=-9?"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    ended = search(*arguments, *SHORT, f"runs_dir={tmp_path}")
    assert ended.returncode == 2 and said in ended.stderr, ended.stderr
    assert ended.stderr.startswith(("acdc-search: error: ", "acdc-train: error: "))
    assert ended.stderr.count("\n") == 1 and ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_the_console_script_runs_the_program_that_is_installed_beside_it(tmp_path: Path) -> None:
    script, program = tmp_path / "acdc-search", tmp_path / "acdc-train"
    script.write_text("from acdc_cli.commands.search import main\nmain()\n")
    program.write_text('#!/bin/sh\necho "$@"\necho beside >&2\nexit 75\n')
    program.chmod(0o755)
    command = [sys.executable, str(script), *INTERVAL, *SHORT]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert (ended.returncode, ended.stderr) == (75, "beside\n")
