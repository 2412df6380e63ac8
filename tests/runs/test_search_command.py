"""The search for a sparsity, with real runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import environment

from acdc_cli.commands import search as command
from acdc_cli.errors import BadInput
from acdc_cli.launch.search import try_value

SHORT = ["epochs=3", "threads=1", "loader=device", "tracker=none", "method=str", "method.s_init=-4", "sparsity=0.8"]
INTERVAL = ["--key", "method.s_weight_decay", "--low", "0.016", "--high", "0.022", "--log"]


def search(*arguments: str) -> subprocess.CompletedProcess[str]:
    """By ``python -m``; the console script is looked at in test_wheel.py."""
    line = [sys.executable, "-m", "acdc_cli.commands.search", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=environment())


@pytest.mark.exhaustive
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
    ("line", "said"),
    [
        ("--key method.s_init --low -9 --high -1 --log method=str", "leave out --log"),
        ("--key method.s_init --low -9 --high -1 method=str method.s_init=-4", "leave it out of the overrides"),
        ("--key method.s_in --low -9 --high -1 method=str", "did you mean method.s_init=-9?"),
        ("--key method.s_weight_decay --low 0.1 --high inf method=str", "s_weight_decay=inf: must be a finite"),
        ("--key method.s_init --low -9 --high -1 --tries 0 method=str", "--tries=0: below 1"),
        ("--key method.s_init --low -9 --high -1 --tolerance -1 method=str", "--tolerance=-1: below 0"),
        ("--key method.s_init --low -9 --high -1 method=gmp", "method=gmp: ends at the sparsity that is asked for"),
        ("--key method.s_init --low -9 --high -1 method=sparse_vd", "nearest: --key method.kl_weight"),
        ("--key sparsity.target --low 0.1 --high 0.9 method=str", "nearest: --key method.s_weight_decay"),
    ],
)
def test_bad_input_is_found_before_the_first_run(line: str, said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        command._run(command._parser().parse_args(line.split()))


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    ended = search("--key", "method.s_weight_decay", "--low", "0.1", "--high", "0.01", *SHORT, f"runs_dir={tmp_path}")
    assert (ended.returncode, ended.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert ended.stderr == "acdc-search: error: --low=0.1: not below --high=0.01; exchange them\n"


def test_it_runs_the_program_that_is_installed_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "acdc-train"
    program.write_text("#!/bin/sh\nexit 75\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "acdc-search")])
    with pytest.raises(SystemExit) as ended:
        try_value([], ["method=str"], 1.0)
    assert ended.value.code == 75
