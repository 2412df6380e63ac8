"""Processes that share a piece of work and answer as they go. None is left behind, however the work ends."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from acdc_cli.system.signals import signals_held_back

_FORK = multiprocessing.get_context("fork")


class WorkerDied(Exception):
    """A process ended without a word.

    Args:
        exit_code: a negative one is the signal that killed it.
    """

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class _Failed:
    """What a process sends that has raised an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Ended:
    """What a process sends last."""


def answers_of(work: Callable[[Callable[[Any], None]], None], count: int) -> Iterator[Any]:
    """What processes send, in the order in which it comes, until all have ended.

    Ctrl-C reaches every process of a terminal and is for the first one, which ends the others. A process leaves the
    garbage of the first one alone: an object that owns threads (a process group of torch.distributed) would wait for
    them without end in a process that was not given them.

    Args:
        work: what each process does; it is given the function that sends an answer.
        count: processes.

    Raises:
        WorkerDied: if one was killed.
        Exception: what ``work`` has raised in one of them.
    """
    running: dict[Connection, Any] = {}
    try:
        with signals_held_back(), _no_garbage_collection():
            for _ in range(count):
                ours, theirs = _FORK.Pipe(duplex=False)
                process = _FORK.Process(target=_work, args=(work, theirs, [*running, ours]))
                process.start()
                theirs.close()  # else the end of the process would not end the pipe
                running[ours] = process
        unheard = set(running)
        while unheard:
            for pipe in wait(list(unheard)):
                assert isinstance(pipe, Connection)
                try:
                    answer = pipe.recv()
                except EOFError:
                    running[pipe].join()
                    raise WorkerDied(running[pipe].exitcode) from None
                if isinstance(answer, _Failed):
                    raise answer.error
                if isinstance(answer, _Ended):
                    unheard.remove(pipe)
                else:
                    yield answer
    finally:
        for process in running.values():
            process.kill()
        for pipe, process in running.items():
            process.join()
            pipe.close()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _work(work: Callable[[Callable[[Any], None]], None], answers: Connection, others: list[Connection]) -> None:
    gc.freeze()
    gc.enable()
    for pipe in others:  # with these open, nobody would notice that the first process has gone
        pipe.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work(answers.send)
        answers.send(_Ended())
    except BrokenPipeError:
        return  # the first process was killed
    except Exception as error:
        answers.send(_Failed(error))


class Shares:
    """Numbers from 0 up, dealt out to processes a few at a time: whoever is quicker takes more.

    Args:
        total: how many there are.
        at_once: how many are taken at a time.
    """

    def __init__(self, total: int, at_once: int = 1) -> None:
        self._total, self._at_once = total, at_once
        self._next = _FORK.Value("Q", 0)

    def __iter__(self) -> Iterator[range]:
        while (share := self._take()).start < self._total:
            yield share

    def _take(self) -> range:
        with self._next.get_lock():
            start = self._next.value
            self._next.value = start + self._at_once
        return range(start, min(start + self._at_once, self._total))
