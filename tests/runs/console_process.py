"""acdc-train's console script in a process that can be killed, forked from one that has imported everything already."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

PATIENCE_SECONDS = 120
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["console_process", "acdc_cli.training.execute", "acdc_cli.data.loading.ffcv_loader"])


def _main(arguments: list[str], said: str) -> None:
    from acdc_cli.commands.train import main

    os.setsid()
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ["NETRC"] = os.devnull
    torch.set_num_threads(1)
    sys.argv = ["acdc-train", *arguments]
    main()


class ConsoleProcess:
    """One run of the console script, of whose run folder there is one in ``runs``."""

    def __init__(self, runs: Path, data_dir: Path, *overrides: str) -> None:
        base = ["device=cpu", "threads=1", "tracker=none", f"data_dir={data_dir}", f"runs_dir={runs}"]
        self._runs, self._said = runs, runs.with_name(f"{runs.name}.said")
        self._process: Any = _FORKS.Process(target=_main, args=([*base, *overrides], str(self._said)))
        self._process.start()

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._said.read_text() if self._said.exists() else ""

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Look every few milliseconds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert self._process.is_alive() and time.monotonic() < deadline, self.said
            time.sleep(0.003)

    def signal(self, number: int) -> int:
        """Send it a signal. Returns its exit code, or minus the signal that it died of."""
        os.kill(self._process.pid, number)
        return self.end()

    def end(self) -> int:
        """Wait for its end. Returns as ``signal``."""
        self._process.join(PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            raise AssertionError(f"still running: {self.said}")
        return int(self._process.exitcode)
