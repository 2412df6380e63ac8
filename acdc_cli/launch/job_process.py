"""A sweep's jobs in processes of their own, and how the sweep stops them: by marks in a folder that all share."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from acdc_cli.launch.messages import say
from acdc_cli.system.signals import ENDING, handled_by, interrupt, is_heard

STOP = "stop"  # a job that finds it does not begin
RUNNING = "running"  # running-HOST-PID: a process that has begun, to be signalled


@dataclass(frozen=True)
class JobProcess:
    """A sweep's task function in a process that is not the sweep's own, to which nothing of an interrupt gets out.

    Whoever runs the processes takes an exception for a reason to end the others too.
    """

    task: Callable[[DictConfig], Any]

    def __call__(self, composed: DictConfig) -> None:
        """Do the job; its outcome is on record."""
        folder = Path(HydraConfig.get().sweep.dir)
        mark = folder / f"{RUNNING}-{socket.gethostname()}-{os.getpid()}"
        with handled_by(interrupt, filter(is_heard, (signal.SIGTERM, signal.SIGHUP))):
            try:
                with suppress(KeyboardInterrupt):
                    mark.touch()  # before the job looks for a stop: one of the two is seen
                    self.task(composed)
            finally:
                mark.unlink(missing_ok=True)


def is_stopping(folder: Path) -> bool:
    """Whether the sweep that shares this folder has been asked to stop."""
    return (folder / STOP).exists()


@contextmanager
def stopping_jobs(folder: Path) -> Iterator[None]:
    """While other processes of this machine run jobs: SIGINT, SIGTERM and SIGHUP are handed on, and waited for.

    The same again stops at once, by KeyboardInterrupt.
    """

    def stop(number: int, frame: object) -> None:
        for ending in filter(is_heard, ENDING):
            signal.signal(ending, stop_at_once)
        (folder / STOP).touch()
        with suppress(OSError):  # a terminal that has gone away is why SIGHUP comes
            say(f"{signal.Signals(number).name}: ending the jobs; again to stop at once")
        _signal_running(folder)

    def stop_at_once(number: int, frame: object) -> None:
        _signal_running(folder)
        raise KeyboardInterrupt

    with handled_by(stop, filter(is_heard, ENDING)):
        yield


def _signal_running(folder: Path) -> None:
    for mark in folder.glob(f"{RUNNING}-{socket.gethostname()}-*"):
        with suppress(ProcessLookupError):
            os.kill(int(mark.name.rpartition("-")[2]), signal.SIGTERM)
