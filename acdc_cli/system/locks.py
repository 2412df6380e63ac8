"""Who owns a folder: one process at a time, by a lock that goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_locks: set[int] = set()  # descriptors of the folders that this process owns


def _let_go() -> None:
    """In a forked child: a lock lasts as long as any process has it open, and a reader can outlive a killed run."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own a folder. On a file system without locks, as some network ones are, it goes on unguarded.

    Raises:
        BlockingIOError: if another process owns it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        pass
    _locks.add(descriptor)
    try:
        yield
    finally:
        _locks.discard(descriptor)
        os.close(descriptor)


def is_owned(folder: Path) -> bool:
    """Whether a process owns the folder now. Locks do not reach across every network file system."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextmanager
def owned_in_turn(folder: Path, say_waiting: Callable[[], None]) -> Iterator[None]:
    """Own a folder as soon as no other process does. On a file system without locks it goes on unguarded.

    Args:
        say_waiting: is called if there is another process to wait for.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say_waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
