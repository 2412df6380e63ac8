"""The run folder: every file in it is replaced whole and, where it is read back, has its sum in checksums.json."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from acdc_cli.errors import AcdcError, BadInput
from acdc_cli.records.checksums import REMEDY, Checksums
from acdc_cli.records.epoch_row import EpochRow
from acdc_cli.records.files import NUMBER, Damaged, check_shape, parse_object, read_bytes, read_object
from acdc_cli.records.headline import Headline, headline_of
from acdc_cli.records.run_result import Agreement, RunResult, model_of
from acdc_cli.records.shapes import AGREEMENT, RESULT, ROW, STATUS
from acdc_cli.records.tensor_header import whole_length_problem
from acdc_cli.system.files import file_sum, json_text, left_temporary, replace_json, replace_text, sum_of
from acdc_cli.system.locks import is_owned, owned

MODELS = ("sparse", "dense", "sparse_best", "dense_best")  # that a run can leave; the last two with keep_best=true
SILENT_SECONDS = 3600  # after which a run on another machine is taken for dead


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
        self.previous_checkpoint = path / "checkpoints" / "previous.pt"
        self.models = path / "models"
        self.masks = path / "masks"
        self.sums = Checksums(path)

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

    @property
    def remedy(self) -> str:
        """What makes a damaged file of the run again."""
        return REMEDY if self.checkpoints() else "there is no checkpoint: run.overwrite=true trains the run again"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the folder for the length of a run; the lock goes with the process, however it ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(owned(self.path))
            except BlockingIOError:
                raise AcdcError(
                    f"{self.path}: another process (pid {self._known_status().get('pid')}) is running it"
                ) from None
            for stale in left_temporary(self.path):
                _remove(stale)  # of a run that was killed while it wrote
            yield

    def is_running(self) -> bool:
        """Whether a process owns the folder now, here or on another machine that shares it.

        Locks do not reach across every network file system: there, a status of less than an hour ago counts, which a
        run writes anew with every checkpoint.
        """
        if not self.path.is_dir():
            return False
        if is_owned(self.path):
            return True
        status = self._known_status()
        is_elsewhere = status.get("state") == "running" and status.get("host") != socket.gethostname()
        return is_elsewhere and time.time() - status.get("updated", 0) < SILENT_SECONDS

    def clear(self) -> None:
        """Delete the folder's contents, whatever they are, to start over.

        status.json and the checkpoints go first, so that an interruption never leaves a folder that looks resumable.
        """
        for path in (self.status, self.previous_checkpoint, self.checkpoint):
            _remove(path)
        for child in self.path.iterdir():
            _remove(child)

    def read_status(self) -> dict[str, Any]:
        """status.json, or an empty dict before there is one. Raises Damaged.

        It has no sum: it is replaced several times an epoch, and nothing is computed from it.
        """
        return read_object(self.status, STATUS, REMEDY) if self.status.exists() else {}

    def _known_status(self) -> dict[str, Any]:
        """The same, and empty if it is damaged."""
        with suppress(Damaged):
            return self.read_status()
        return {}

    def write_status(self, state: str, epoch: int, error: str | None = None) -> None:
        """Replace status.json. ``epoch`` = epochs completed."""
        status = {"state": state, "epoch": epoch, "error": error}
        status |= {"pid": os.getpid(), "host": socket.gethostname(), "updated": int(time.time())}
        replace_json(self.status, status)

    def read_checked(self, path: Path) -> bytes:
        """The content of one of the folder's files. Raises Damaged if it is not what was written there."""
        content = read_bytes(path, self.remedy)
        self.sums.check(path, self.remedy, sum_of(content))
        return content

    def read_config_text(self) -> str:
        """config.yaml. Raises Damaged; ``records.configs.read_config`` also parses it."""
        try:
            return self.read_checked(self.config).decode("utf-8")
        except UnicodeDecodeError:
            raise Damaged(self.config, "not UTF-8 text", self.remedy) from None

    def checkpoints(self) -> list[Path]:
        """Return the paths at which there is a checkpoint, or something in its place; the newest comes first."""
        return [path for path in (self.checkpoint, self.previous_checkpoint) if path.exists()]

    def drop_damaged_checkpoint(self) -> None:
        """Put the previous checkpoint in the place of the last one, which could not be used."""
        if self.checkpoint.is_dir():
            _remove(self.checkpoint)
        os.replace(self.previous_checkpoint, self.checkpoint)

    def read_metrics(self) -> list[EpochRow]:
        """The rows of metrics.jsonl, one an epoch. Raises Damaged."""
        if not self.metrics.exists():
            return []
        lines = self.read_checked(self.metrics).split(b"\n")
        try:
            rows = [cast(EpochRow, parse_object(line, ROW)) for line in lines if line]
            if any(row.keys() != rows[0].keys() or row["epoch"] - rows[0]["epoch"] != i for i, row in enumerate(rows)):
                raise ValueError("its rows do not follow one another")
        except ValueError as error:
            raise Damaged(self.metrics, str(error), self.remedy) from None
        return rows

    def read_curves(self, headline: Headline) -> list[EpochRow]:
        """Return ``read_metrics``, each row with the headline metric. Raises Damaged."""
        rows = self.read_metrics()
        try:
            for row in rows:
                check_shape(row, {headline.val_key: NUMBER})
        except ValueError as error:
            raise Damaged(self.metrics, str(error), self.remedy) from None
        return rows

    def append_metrics(self, row: EpochRow) -> None:
        """Add an epoch. A crash can leave half a line: a run that resumes writes the file anew from its checkpoint."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def start_metrics(self, rows: list[EpochRow]) -> None:
        """Replace metrics.jsonl, which will grow. It has no sum until the run is done: its checkpoint has the rows."""
        self.sums.forget(self.metrics)
        replace_text(self.metrics, _lines(rows))

    def close_metrics(self, rows: list[EpochRow]) -> None:
        """Replace metrics.jsonl for good, and its sum."""
        self.write_text(self.metrics, _lines(rows))

    def replace(self, path: Path, write: Callable[[Path], object]) -> None:
        """Let ``write`` fill one of the folder's files, which is replaced whole, and put its sum on record."""
        self.sums.replace(path, write)

    def remove(self, path: Path) -> None:
        """Delete one of the folder's files, and its sum before it: a sum without a file would mean damage."""
        self.sums.forget(path)
        path.unlink(missing_ok=True)

    def write_text(self, path: Path, text: str) -> None:
        """Replace one of the folder's text files, and its sum."""
        self.replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def write_json(self, path: Path, value: Any) -> None:
        """Replace one of the folder's JSON files, and its sum."""
        self.write_text(path, json_text(value))

    def read_result(self) -> RunResult:
        """result.json. Raises BadInput if the run is not finished, Damaged if the file is not what was written."""
        if not self.result.exists():
            raise BadInput(f"{self.path}: the run is {self.state()} and has no result.json yet; run its command again")
        content = self.read_checked(self.result)
        try:
            result = cast(RunResult, parse_object(content, RESULT))
            sections = {kind: model for kind in ("sparse", "dense") if (model := model_of(result, kind)) is not None}
            if not sections:
                raise ValueError("it has neither a sparse nor a dense model")
            for kind, section in sections.items():
                check_shape(section, {headline_of(result).val_key: NUMBER}, kind)
        except ValueError as error:
            raise Damaged(self.result, str(error), self.remedy) from None
        if result.get("checksums") and not self.sums.path.exists():
            raise Damaged(self.sums.path, "missing", self.remedy)
        return result

    def read_agreements(self) -> dict[str, Agreement]:
        """Return how far the sparse model agrees with dense models of other runs, by the ids of those runs.

        The file is made where a table asks for the numbers.

        A damaged file counts as none: it is measured again.
        """
        with suppress(Damaged, ValueError):
            return parse_object(self.read_checked(self.agreements), {"*": AGREEMENT})
        return {}

    @property
    def is_done(self) -> bool:
        """Whether the run has finished and everything it leaves is there; the sums of models are not computed."""
        return self.is_marked_done and self._first_fault() is None

    @property
    def is_marked_done(self) -> bool:
        """Whether status.json says ``done``, whatever else there is."""
        return self._known_status().get("state") == "done"

    def _first_fault(self) -> Damaged | None:
        """What a finished run lacks, as far as that can be told without reading its models."""
        try:
            if not self.result.exists():
                raise Damaged(self.result, "missing", self.remedy)
            result = self.read_result()
            self.read_config_text()
            for name in self._made_again():
                if not (self.path / name).is_file():
                    raise Damaged(self.path / name, "missing", self.remedy)
        except Damaged as damage:
            return damage
        for kind in ("sparse", "dense"):
            path = self.models / f"{kind}.safetensors"
            if result[kind] is not None and (problem := whole_length_problem(path)):
                return Damaged(path, problem, self.remedy)
        return None

    def can_be_made_again(self, path: Path) -> bool:
        """Whether the last checkpoint has what a file is made of: not so masks of earlier phases and best epochs."""
        return path.parent != self.masks and not (path.parent == self.models and path.stem.endswith("_best"))

    def _made_again(self) -> list[str]:
        """Files on record that the last checkpoint can make again."""
        return [name for name in self.sums.read() if self.can_be_made_again(self.path / name)]

    def faults(self) -> list[Damaged]:
        """Everything that is missing or damaged in a run whose status is ``done``. Every sum is computed."""
        faults = [] if (first := self._first_fault()) is None else [first]
        try:
            recorded = self.sums.read()
        except Damaged:
            return faults  # the record itself
        named = {fault.path for fault in faults}
        for name, sums in recorded.items():
            path = self.path / name
            if path not in named and not (path.is_file() and file_sum(path) in sums):
                faults.append(Damaged(path, "not the bytes that were written" if path.is_file() else "missing"))
        return faults

    def state(self) -> str:
        """done, running, interrupted, failed, or missing: it has not begun.

        A run whose process was killed is interrupted, whatever it has left; so is one whose result or models have been
        removed or damaged: its command makes them again from the last checkpoint. Raises Damaged for status.json.
        """
        if self.is_done:
            return "done"
        state = self.read_status().get("state", "missing")
        if state == "running":
            return state if self.is_running() else "interrupted"
        return "interrupted" if state == "done" else state

    def reason(self) -> str:
        """Why a run that is not done is not: its state, and the error or the damage behind it."""
        try:
            status = self.read_status()
            if status.get("state") == "done" and (fault := self._first_fault()) is not None:
                return str(fault)
        except Damaged as damage:
            return str(damage)
        error = status.get("error")
        return self.state() + (f": {error}" if error else "")


def _lines(rows: list[EpochRow]) -> str:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def _remove(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def run_folders(path: Path) -> list[RunFolder]:
    """The run folders under a sweep (or anything that holds run folders), by name; W&B's own copies are none.

    A run folder has a config.yaml, or where that was lost a status.json.
    """
    found = list[Path]()
    for folder, subfolders, files in os.walk(path):
        if {"config.yaml", "status.json"} & {*files, *subfolders}:
            found.append(Path(folder))
        subfolders[:] = [name for name in subfolders if name != "wandb"]
    return [RunFolder(each) for each in sorted(found)]
