"""Sweeps as a user starts them, and what disturbs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.support import BIN, environment

from acdc_cli.records.folder import RunFolder, run_folders

PATIENCE = 120  # seconds


def start(folder: Path, data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    """A sweep of small runs in a process group of its own, as a terminal has it."""
    small = ["threads=1", "loader=device", "tracker=none", f"data_dir={data_dir}"]
    return subprocess.Popen(
        [str(BIN / "acdc-train"), "-m", *small, *arguments],
        cwd=folder,
        env=environment(OMP_NUM_THREADS="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for it; nothing of it outlives a test that fails."""
    try:
        out, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"still there after {PATIENCE} s:\n{process.communicate()[1]}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def sweep(folder: Path, data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start one and wait for it."""
    return ended(start(folder, data_dir, *arguments))


def wait_until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait while the sweep runs; what it does not come to is an error."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"did not come to it:\n{ended(process).stderr}")
        time.sleep(0.02)


def begun(folder: Path, epochs: int = 1) -> list[RunFolder]:
    """The runs that have that many epochs behind them."""
    return [run for run in run_folders(folder) if int(_status(run).get("epoch", 0)) >= epochs]


def states(folder: Path) -> list[str]:
    return [_status(run)["state"] for run in run_folders(folder)]


def process_of(run: RunFolder) -> int:
    return int(_status(run)["pid"])


def _status(run: RunFolder) -> dict:
    try:
        return run.read_status()
    except json.JSONDecodeError:
        pytest.fail("status.json was read half-written")


def left_in(folder: Path) -> list[str]:
    """Everything that is not a run or data."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not any((parent / "status.json").is_file() for parent in path.parents)
        and not (path / "status.json").is_file()
    )
