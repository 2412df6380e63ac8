"""A write that fails half-way: a limit on file size makes the kernel refuse it as a full disk would."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest
from helpers.support import BIN, environment, messages

from acdc_cli.records.folder import run_folders

QUICK = ["epochs=2", "threads=1", "loader=device", "tracker=none"]


def train_with_files_below(limit_bytes: int, folder: Path, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "acdc-train"), *QUICK, f"data_dir={data_dir}"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit_bytes", "file"),
    [(100_000, "last.pt"), pytest.param(300, "config.yaml", marks=pytest.mark.exhaustive)],
    ids=["checkpoint", "first file"],
)
def test_a_failed_write_is_one_line_and_leaves_no_piece(
    limit_bytes: int, file: str, tmp_path: Path, data_dir: Path
) -> None:
    ended = train_with_files_below(limit_bytes, tmp_path, data_dir)
    lines = messages(ended.stderr)
    assert ended.returncode == 1 and len(lines) == 1 and file in lines[0], ended.stderr
    assert not list(tmp_path.rglob("*.tmp"))
    (status,) = tmp_path.rglob("status.json")
    assert '"failed"' in status.read_text()


@pytest.mark.exhaustive
def test_the_same_command_finishes_once_there_is_room(tmp_path: Path, data_dir: Path) -> None:
    assert train_with_files_below(100_000, tmp_path, data_dir).returncode == 1
    assert train_with_files_below(resource.RLIM_INFINITY, tmp_path, data_dir).returncode == 0
    (run,) = run_folders(tmp_path)
    assert run.is_done
