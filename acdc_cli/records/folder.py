"""The run folder: every file in it is replaced whole, so a crash leaves the old one or the new one, never a piece."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acdc_cli.errors import AcdcError, BadInput


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary neighbour, put it on the disk, then rename it over ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # named after the file that was meant, not after the temporary one
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def replace_json(path: Path, value: Any) -> None:
    """Write a JSON file whole. NaN and infinity are refused: they are not JSON."""
    replace_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


MODELS = ("sparse", "dense", "sparse_best", "dense_best")  # that a run can leave; the last two with keep_best=true
SILENT_SECONDS = 3600  # after which a run on another machine is taken for dead

_locks: set[int] = set()  # descriptors of the folders that this process owns


def _let_go() -> None:
    """In a forked child: a lock lasts as long as any process has it open, and a reader can outlive a killed run."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_let_go)


class RunFolder:
    """Paths and records of one run, ``RUNS_DIR/<experiment>/<readable name>-<8 hex>/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.metrics = path / "metrics.jsonl"
        self.result = path / "result.json"
        self.report = path / "report.html"
        self.agreements = path / "agreements.json"
        self.checkpoint = path / "checkpoints" / "last.pt"
        self.best_epochs = path / "checkpoints" / "best"
        self.models = path / "models"
        self.masks = path / "masks"

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run's folder. Raises BadInput if there is none."""
        folder = cls(Path(path))
        if not folder.config.is_file():
            raise BadInput(f"{path}: not a run folder (no config.yaml in it); runs lie in RUNS_DIR/<experiment>/")
        return folder

    def model(self, kind: str) -> Path:
        """The file of one of ``MODELS``."""
        return self.models / f"{kind}.safetensors"

    def best_candidate(self, epoch: int) -> Path:
        """Where ``keep_best`` puts an epoch's model while the run may still name it the best."""
        return self.best_epochs / f"epoch_{epoch:03d}.safetensors"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the folder for the length of a run; the lock goes with the process, however it ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AcdcError(
                f"{self.path}: another process (pid {self.read_status().get('pid')}) is running it"
            ) from None
        except OSError:
            pass  # a file system without locks, as some network ones are: on with it, unguarded
        for stale in self.path.rglob(".*.tmp"):
            stale.unlink(missing_ok=True)  # of a run that was killed while it wrote
        _locks.add(descriptor)
        try:
            yield
        finally:
            _locks.discard(descriptor)
            os.close(descriptor)

    def is_running(self) -> bool:
        """Whether a process owns the folder now, here or on another machine that shares it.

        Locks do not reach across every network file system: there, a status of less than an hour ago counts, which a
        run writes anew with every checkpoint.
        """
        if not self.path.is_dir():
            return False
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        finally:
            os.close(descriptor)
        status = self.read_status()
        is_elsewhere = status.get("state") == "running" and status["host"] != socket.gethostname()
        return is_elsewhere and time.time() - status["updated"] < SILENT_SECONDS

    def clear(self) -> None:
        """Remove everything in the folder, to start over; first what says that there was anything."""
        for path in (self.status, self.checkpoint):
            path.unlink(missing_ok=True)
        for child in self.path.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()

    def read_status(self) -> dict[str, Any]:
        """status.json, or an empty dict before there is one."""
        return _parse(self.status, self.status.read_text()) if self.status.is_file() else {}

    def write_status(self, state: str, epoch: int, error: str | None = None) -> None:
        """Replace status.json. ``epoch`` = epochs completed."""
        status = {"state": state, "epoch": epoch, "error": error}
        status |= {"pid": os.getpid(), "host": socket.gethostname(), "updated": int(time.time())}
        replace_json(self.status, status)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one an epoch."""
        if not self.metrics.is_file():
            return []
        return [_parse(self.metrics, line) for line in self.metrics.read_text().splitlines()]

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add an epoch. A crash can leave half a line: a run that resumes writes the file anew from its checkpoint."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace metrics.jsonl."""
        replace_text(self.metrics, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))

    def read_result(self) -> dict[str, Any]:
        """result.json. Raises BadInput if the run is not finished."""
        if not self.result.is_file():
            raise BadInput(f"{self.path}: the run is {self.state()} and has no result.json yet; run its command again")
        return _parse(self.result, self.result.read_text())

    def read_agreements(self) -> dict[str, dict[str, float]]:
        """Of the sparse model with dense models of other runs, by their ids; made where a table asks for them."""
        return _parse(self.agreements, self.agreements.read_text()) if self.agreements.is_file() else {}

    @property
    def is_done(self) -> bool:
        """Whether the run has finished and everything it leaves is there."""
        return self.read_status().get("state") == "done" and self._has_whole_result()

    def _has_whole_result(self) -> bool:
        try:
            return self.result.is_file() and "run_id" in _parse(self.result, self.result.read_text())
        except AcdcError:
            return False

    def state(self) -> str:
        """done, running, interrupted, failed, or missing: it has not begun.

        A run whose process was killed is interrupted, whatever it has left; so is one whose result has been removed or
        damaged: its command makes it again from the last checkpoint.
        """
        if self.is_done:
            return "done"
        state = self.read_status().get("state", "missing")
        if state == "running":
            return state if self.is_running() else "interrupted"
        return "interrupted" if state == "done" else state


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise AcdcError(
            f"{path}: damaged ({error}); the run's command with run.overwrite=true makes it again"
        ) from None


def run_folders(path: Path) -> list[RunFolder]:
    """The run folders under a sweep (or anything that holds run folders), by name; W&B's own copies are none."""
    found = sorted(path.rglob("config.yaml"))
    return [RunFolder(each.parent) for each in found if "wandb" not in each.relative_to(path).parts]
