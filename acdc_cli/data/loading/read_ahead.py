"""Reading a file that is larger than memory: what the next batches need comes ahead of them and goes after them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class ReadAhead:
    """Tells the system which parts of a mapped file are wanted soon, and which no more.

    Left alone, the system keeps what was read last, which in a random order is what will not be read again for longest,
    and reads each image only when it is decoded.
    """

    def __init__(self, path: Path, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._file = path.open("rb")

    def fetch(self, starts: np.ndarray, sizes: np.ndarray) -> None:
        """Begin to read these parts (N,), in bytes, without waiting for them."""
        for start, size in _stretches(starts, sizes):
            self._mapped.madvise(mmap.MADV_WILLNEED, start, size)

    def drop(self, starts: np.ndarray, sizes: np.ndarray) -> None:
        """Give back the memory that these parts are in; they can be read again."""
        for start, size in _pages(starts, sizes):
            self._mapped.madvise(mmap.MADV_DONTNEED, start, size)  # the system keeps what a process still maps
            os.posix_fadvise(self._file.fileno(), start, size, os.POSIX_FADV_DONTNEED)


def _stretches(starts: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first byte, bytes) of the parts in the order of the file; those that touch or overlap are one."""
    first, end = -1, -1
    for start, size in sorted(_pages(starts, sizes)):
        if start > end:
            if first >= 0:
                yield first, end - first
            first = start
        end = max(end, start + size)
    if first >= 0:
        yield first, end - first


def _pages(starts: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first byte, bytes) of the whole pages that the parts lie in."""
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        yield first, start + size - first
