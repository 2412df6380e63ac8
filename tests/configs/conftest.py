"""acdc-train called in this process, in an empty folder, where its exit code and both streams are seen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from acdc_cli.commands.train import run_command_line

CONF = Path(__file__).resolve().parents[2] / "conf"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def acdc_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """``acdc_train("key=value", ...)``: what the console script would print and exit with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["acdc-train"])  # rewritten for Hydra
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # set by acdc-train itself; undone after the test

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run_command_line(list(arguments))
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def conf_options() -> Callable[[str], list[str]]:
    """``conf_options("schedule")``: the options that a group has files for."""
    return lambda group: sorted(path.stem for path in (CONF / group).glob("*.yaml"))
