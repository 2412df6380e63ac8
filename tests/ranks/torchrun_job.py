"""acdc-train on two ranks, started by torchrun as a user does; its processes can be found and signalled."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.support import BIN, environment

from acdc_cli.records.folder import RunFolder, run_folders

RANKS = 2
# D S D S D S, with batch norm; 12 steps an epoch, the last one of 117 samples, which two ranks cannot halve.
DIGITS = ["loader=device", "epochs=6", "batch_size=120", "model.width=32"]
END_SECONDS = 60  # within which a job ends after one of its ranks was lost, and after SIGTERM; measured: 1 to 3
PATIENCE_SECONDS = 120


@dataclass
class Ended:
    """How a job has ended."""

    code: int  # torchrun's own
    errors: str
    seconds: float  # since it was asked to

    @property
    def rank_codes(self) -> list[int]:
        """Exit codes of the ranks that have failed, in torchrun's words."""
        return [int(code) for code in re.findall(r"exitcode\s*: (-?\d+)", self.errors)]

    @property
    def said(self) -> list[str]:
        """The program's own lines."""
        return [line for line in self.errors.splitlines() if line.startswith("acdc-train: ")]


class Job:
    """A torchrun of two ranks on gloo. Use it as a context: nothing of it outlives the test."""

    def __init__(self, *overrides: str, program: Path = BIN / "acdc-train") -> None:
        torchrun = [str(BIN / "torchrun"), "--standalone", f"--nproc-per-node={RANKS}"]
        arguments = ["device=cpu", "threads=1", "tracker=none", *overrides]
        self._process = subprocess.Popen(
            [*torchrun, str(program), *arguments],
            env=environment(OMP_NUM_THREADS="1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *error: object) -> None:
        for pid in self.rank_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def rank_pids(self) -> list[int]:
        """The ranks' processes, rank 0 first; none once they have ended."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            return [int(pid) for pid in children.read_text().split() if _local_rank(pid) is not None]
        except FileNotFoundError:
            return []

    def signal(self, number: int, ranks: list[int] | None = None) -> None:
        """To some ranks; None: to torchrun itself."""
        pids = {_local_rank(str(pid)): pid for pid in self.rank_pids()}
        for pid in [self._process.pid] if ranks is None else [pids[rank] for rank in ranks]:
            os.kill(pid, number)

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Look every few milliseconds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not reached: {self.end().errors}")
            time.sleep(0.005)

    def end(self) -> Ended:
        """Wait for it."""
        start = time.monotonic()
        try:
            _, errors = self._process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.__exit__()
            raise
        return Ended(self._process.returncode, errors, time.monotonic() - start)


def finished(*overrides: str, program: Path = BIN / "acdc-train") -> Ended:
    """A job from its start to its end."""
    with Job(*overrides, program=program) as job:
        return job.end()


def only_run(runs: Path) -> RunFolder:
    """The one run folder there is."""
    (run,) = run_folders(runs)
    return run


def epochs_done(runs: Path) -> int:
    """Of the one run in a folder; 0 before there is one."""
    return max((int(run.read_status().get("epoch", 0)) for run in run_folders(runs)), default=0)


def _local_rank(pid: str) -> int | None:
    """Of a child of torchrun; None: it is none of the ranks."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = [int(value.removeprefix(b"LOCAL_RANK=")) for value in variables if value.startswith(b"LOCAL_RANK=")]
    return found[0] if found else None
