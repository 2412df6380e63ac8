"""What can be wrong with a file of a run folder, and the commands that meet it there."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acdc_cli.commands import eval as evaluate
from acdc_cli.commands import report
from acdc_cli.commands.train import run_command_line
from acdc_cli.records.folder import RunFolder

QUICK = ("epochs=2", "batch_size=512", "model.width=2", "precision=fp32", "threads=1", "loader=device", "tracker=none")
FILES = (
    *("config.yaml", "status.json", "metrics.jsonl", "result.json", "checksums.json", "checkpoints/last.pt"),
    *("models/sparse.safetensors", "models/dense.safetensors", "models/masks.safetensors"),
    "masks/epoch_001.safetensors",
)
NESTED = b"[" * 100_000


def make_old(run: RunFolder) -> None:
    """Turn a run's folder into one of before there were sums."""
    run.sums.path.unlink()
    result = json.loads(run.result.read_text())
    del result["checksums"]
    run.result.write_text(json.dumps(result))


def flip(path: Path, other: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def make_folder(path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").touch()


def take_other(path: Path, other: Path) -> None:
    shutil.copyfile(other, path)


def mistype(path: Path, other: Path) -> None:
    """Every value is a list; of what is not JSON the first line is one."""
    text = path.read_bytes()
    if path.suffix not in (".json", ".jsonl"):
        path.write_bytes(b"[x]: [y]\n" + text)
        return
    lines = [text] if path.suffix == ".json" else text.splitlines()
    path.write_text("\n".join(json.dumps({key: ["x"] for key in json.loads(line)}) for line in lines))


def lose_a_key(path: Path, other: Path) -> None:
    """The first one, or of YAML the first line."""
    text = path.read_bytes()
    if path.suffix == ".json":
        path.write_text(json.dumps(dict(list(json.loads(text).items())[1:])))
    else:
        path.write_bytes(b"\n".join(text.split(b"\n")[1:]))


def put_nan(path: Path, other: Path) -> None:
    """In place of the first number."""
    text = path.read_bytes()
    digits = next((each for each in (b"0.", b"1.", b"2", b"0", b"1") if each in text), b"\n")
    path.write_bytes(text.replace(digits, b"NaN", 1))


def with_content(content: bytes) -> Callable[[Path, Path], None]:
    return lambda path, other: path.write_bytes(content) and None


# Each changes one file; ``other`` is the same file of another run.
DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "missing": lambda path, other: path.unlink(),
    "empty": with_content(b""),
    "half": cut,
    "null": with_content(b"null\n"),
    "list": with_content(b"[]\n"),
    "object": with_content(b"{}\n"),
    "number": with_content(b"3\n"),
    "wrong types": mistype,
    "a key less": lose_a_key,
    "not UTF-8": with_content(b"\xff\xfe{\x00}"),
    "random bytes": with_content(random.Random(0).randbytes(3000)),
    "a folder": make_folder,
    "another run's": take_other,
    "nested": with_content(NESTED),
    "NaN": put_nan,
    "one bit": flip,
}


class Ended:
    """How a command ended in this process, and what it printed."""

    def __init__(self, code: int, out: str, error: str) -> None:
        self.code, self.out, self.error = code, out, error

    def check(self, name: str, case: str) -> None:
        """No traceback; an error is one line, and it names the file or the run that it is in."""
        assert "Traceback" not in self.error and self.code in (0, 1, 2, 3), f"{case}: {self.error}"
        lines = [line for line in self.error.splitlines() if ": error: " in line]
        assert len(lines) == (self.code != 0), f"{case}: {self.error}"
        assert all(name in line for line in lines), f"{case}: {lines}"


def in_process(capfd: pytest.CaptureFixture[str], main: Callable[[], int]) -> Ended:
    """Whatever gets out of ``main`` but SystemExit would have been a traceback."""
    capfd.readouterr()
    try:
        code = main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capfd.readouterr()
    return Ended(code, printed.out, printed.err)


def console_script(main: Callable[[], Any], arguments: list[str]) -> Callable[[], int]:
    def run() -> int:
        before, sys.argv = sys.argv, ["command", *arguments]
        try:
            main()
        finally:
            sys.argv = before
        return 0

    return run


def commands(run: RunFolder, data_dir: Path) -> dict[str, Callable[[], int]]:
    """Everything that reads a run folder, by what it is called here."""
    runs = run.path.parent.parent
    where = [f"data_dir={data_dir}", f"runs_dir={runs}"]

    def train(*more: str) -> Callable[[], int]:
        return lambda: run_command_line([*where, *more])

    elsewhere = f"runs_dir={runs.with_name('others')}"
    machine = [word for word in QUICK if word.startswith(("threads", "loader", "tracker"))]
    return {
        "eval": console_script(evaluate.main, [str(run.path), "--json", "--data-dir", str(data_dir)]),
        "report run": console_script(report.main, [str(run.path)]),
        "report sweep": console_script(report.main, [str(run.path.parent), "--format", "csv"]),
        "report runs": console_script(report.main, [str(run.path.parent), "--runs", "--format", "csv"]),
        "start from": train(*QUICK, elsewhere, f"start_from={run.path}", "plan=true"),
        "finetune": train(*machine, elsewhere, "finetune=dense", f"start_from={run.path}", "plan=true"),
        "train again": train(*QUICK),
        "overwrite": train(*QUICK, "run.overwrite=true"),
    }
