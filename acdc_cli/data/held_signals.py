"""Keeping the signals that end a program from where they would do harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)  # the latter two are what clusters send before they take a machine


def is_heard(number: int) -> bool:
    """Whether whoever started this process lets it have the signal: ``nohup`` ignores SIGHUP, and that stays so."""
    return signal.getsignal(number) != signal.SIG_IGN


def ignore_stop_signals(worker: int) -> None:
    """For a reading process: a terminal or a cluster signals all of a run's processes, and the run's own decides."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Signals that come meanwhile count afterwards: an exception that a handler raises inside a fork is lost."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in ENDING}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler or signal.SIG_DFL)
    for number in came:
        signal.raise_signal(number)
