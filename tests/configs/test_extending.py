"""docs/extending.md: every block is a file or commands, and run in order in an empty folder they all work."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.parts import own_parts
from helpers.support import BIN, environment

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")
MOST_LINES = 40


def write_file(folder: Path, block: str) -> None:
    name = FILE.match(block)
    assert name is not None
    path = folder / name[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block)


def test_there_are_blocks_of_two_kinds_alone() -> None:
    kinds = ["sh" if kind == "sh" else "file" if FILE.match(block) else "other" for kind, block in BLOCKS]
    assert "other" not in kinds and {"sh", "file"} == set(kinds)
    assert not [block for kind, block in BLOCKS if kind == "python" and len(block.splitlines()) > MOST_LINES]


@pytest.fixture
def forgotten() -> Iterator[None]:
    with own_parts():
        yield


def run_here(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """A command of the document in this process: its exit code."""
    from acdc_cli.commands import eval as evaluation
    from acdc_cli.commands import report
    from acdc_cli.commands.train import run_command_line

    program, *words = shlex.split(line)
    arguments = [match for word in words for match in (map(str, Path.cwd().glob(word)) if "*" in word else [word])]
    if program == "acdc-train":
        return run_command_line(arguments)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        {"acdc-eval": evaluation.main, "acdc-report": report.main}[program]()
    return int(ended.value.code or 0)


def test_the_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: None) -> None:
    """In this process. The next test runs them as a reader does."""
    monkeypatch.chdir(tmp_path)
    for kind, block in BLOCKS:
        if kind != "sh":
            write_file(tmp_path, block)
            continue
        for line in block.splitlines():
            assert run_here(line, monkeypatch) == 0, line
    assert len(list((tmp_path / "runs" / "default").iterdir())) == 6
    assert (tmp_path / "runs" / "tables" / "small" / "mine.md").is_file()


@pytest.mark.exhaustive
def test_the_examples_work_in_a_shell(tmp_path: Path) -> None:
    import subprocess

    for kind, block in BLOCKS:
        if kind != "sh":
            write_file(tmp_path, block)
            continue
        variables = environment(PATH=f"{BIN}:/usr/bin:/bin")
        done = subprocess.run(["bash", "-ec", block], cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, block + done.stderr
