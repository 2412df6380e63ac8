"""Keeping the signals that end a program from where they would do harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)  # the latter two are what clusters send before they take a machine


def is_heard(number: int) -> bool:
    """Whether whoever started this process lets it have the signal: ``nohup`` ignores SIGHUP, and that stays so."""
    return signal.getsignal(number) != signal.SIG_IGN


def ignore_stop_signals(worker: int) -> None:
    """For a reading process: a terminal or a cluster signals all of a run's processes, and the run's own decides."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def interrupt(number: int, frame: object) -> None:
    """A signal handler that ends a program as Ctrl-C does."""
    raise KeyboardInterrupt


@contextmanager
def handled_by(handler: Handler, numbers: Iterable[int]) -> Iterator[Mapping[int, Any]]:
    """Give signals a handler until the block ends, and afterwards the ones that they had.

    Args:
        handler: see ``signal.signal``.

    Yields:
        The handlers that the signals had.
    """
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier or signal.SIG_DFL)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Signals that come meanwhile count afterwards: an exception that a handler raises inside a fork is lost."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    came: list[int] = []
    with handled_by(lambda number, frame: came.append(number), ENDING):
        yield
    for number in came:
        signal.raise_signal(number)
