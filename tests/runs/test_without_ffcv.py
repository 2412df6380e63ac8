"""A machine on which FFCV cannot be imported, or not be installed: everything goes on, and says how to mend it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import Command

from acdc_cli.records.folder import run_folders

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["epochs=2", "threads=1", "tracker=none"]


@pytest.fixture
def broken_ffcv(tmp_path: Path) -> str:
    """A folder for PYTHONPATH in which FFCV is as it is after a system library has gone."""
    package = tmp_path / "broken" / "ffcv"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('raise ImportError("libGL.so.1: cannot open shared object file")\n')
    return str(package.parent)


@pytest.mark.exhaustive
def test_training_goes_on_with_the_torch_loader(command: Command, broken_ffcv: str, tmp_path: Path) -> None:
    ended = command("acdc-train", *QUICK, PYTHONPATH=broken_ffcv)
    assert ended.returncode == 0
    assert "libGL.so.1" in ended.stderr and "loader=torch" in ended.stderr and "acdc-doctor" in ended.stderr
    (run,) = run_folders(tmp_path)
    assert "loader: torch" in run.config.read_text()
    assert not list(tmp_path.rglob("*.beton"))
    asked = command("acdc-train", *QUICK, "loader=ffcv", PYTHONPATH=broken_ffcv)
    assert asked.returncode == 2 and "loader=torch" in asked.stderr and "Traceback" not in asked.stderr


@pytest.mark.exhaustive
def test_the_embedded_set_is_written_for_ffcv_once_it_works_again(
    command: Command, broken_ffcv: str, tmp_path: Path
) -> None:
    assert command("acdc-train", *QUICK, PYTHONPATH=broken_ffcv).returncode == 0
    assert not list(tmp_path.rglob("*.beton"))
    assert command("acdc-train", *QUICK, "loader=ffcv").returncode == 0
    assert len(list(tmp_path.rglob("*.beton"))) == 2


@pytest.mark.exhaustive
def test_the_doctor_names_what_is_missing_and_the_line_that_mends_it(command: Command, broken_ffcv: str) -> None:
    ill = command("acdc-doctor", PYTHONPATH=broken_ffcv)
    assert ill.returncode == 0  # there is a way round
    assert "libGL.so.1" in ill.stdout and "FFCV: make setup" in ill.stdout


@pytest.mark.slow
def test_the_doctor_finds_this_environment_complete(command: Command, needs_ffcv: None) -> None:
    well = command("acdc-doctor")
    assert well.returncode == 0 and "missing" not in well.stdout
    for line in ("torch", "hydra-core", "FFCV", "W&B key", "wandb login"):
        assert line in well.stdout


def test_set_up_without_rights_prints_the_line_and_goes_on(tmp_path: Path, broken_ffcv: str) -> None:
    """As an account that may not install: apt-get is there, root and sudo are not."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {"id": "echo 1000", "apt-get": "exit 100", "dpkg-query": "exit 1"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    for name in ("dirname", "sh", "grep", "mktemp", "rm"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    ended = subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "install_ffcv.sh"), sys.executable],
        env={"PATH": str(tools), "PYTHONPATH": broken_ffcv, "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0
    assert "sudo apt-get update && sudo apt-get install -y --no-install-recommends g++ pkg-config" in ended.stderr
    assert "loader=torch" in ended.stderr
