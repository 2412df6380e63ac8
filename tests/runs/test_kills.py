"""A process that is killed between any two renames loses nothing: the same command ends with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.support import environment
from helpers.training import check_same, train
from killed_run import KILLED, TYPED

from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.system.files import file_sum

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> RunFolder:
    return train(tmp_path_factory.mktemp("undisturbed"), data_dir, *TYPED)


def killed_at(numbers: list[int], runs: Path, data_dir: Path, overwrite: str = "false") -> list[dict[str, Any]]:
    """How it ended for each of the renames: exit codes of the run that was killed and of the one that went on."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed_run.py")), runs, data_dir, overwrite, *map(str, numbers)],
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def check(ended: list[dict[str, Any]], runs: Path, undisturbed: RunFolder) -> None:
    for each in ended:
        assert each["resumed"] == 0, each
        (run,) = run_folders(runs / str(each["number"]))
        check_same(run, undisturbed)
        assert run.faults() == [] and not list(run.path.rglob("*.tmp"))
        recorded = json.loads(run.sums.path.read_text())
        assert recorded == {name: file_sum(run.path / name) for name in recorded}


@pytest.mark.slow
def test_killed_at_some_renames(tmp_path: Path, data_dir: Path, undisturbed: RunFolder) -> None:
    """At the previous checkpoint's name and the last one's, and at the models."""
    ended = killed_at([9, 10, 20], tmp_path, data_dir)
    assert {each["killed"] for each in ended} == {KILLED}
    check(ended, tmp_path, undisturbed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("overwrite", ["false", "true"])
def test_killed_at_any_rename(overwrite: str, tmp_path: Path, data_dir: Path, undisturbed: RunFolder) -> None:
    """With run.overwrite=true a finished run lies there, and some of it is gone already."""
    numbers = list(range(1, 40))
    ended = killed_at(numbers, tmp_path, data_dir, overwrite)
    codes = [each["killed"] for each in ended]
    assert len(codes) == len(numbers) and codes.count(KILLED) > 20 and codes[-1] == 0  # more than there are renames
    assert codes == sorted(codes, reverse=True)
    check(ended, tmp_path, undisturbed)
