"""Writing FFCV's .beton files, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path

import numpy as np

from acdc_cli.data.sources import Samples

PAGE_BYTES = 2**21  # the smallest page FFCV writes; a small set fits in a few


class _Indexed:
    """What FFCV's writer reads from: sample i is (image, label)."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.samples.images[index], int(self.samples.labels[index])


def write_betons(samples: dict[str, Samples], paths: dict[str, Path]) -> None:
    """Write every split's file aside, then put all in place: none is replaced if one cannot be written.

    Raises:
        OSError: if FFCV cannot write.
    """
    aside = {split: path.with_name(f".{path.name}.{os.getpid()}.tmp") for split, path in paths.items()}
    try:
        for split, path in aside.items():
            _write_beton(samples[split], path)
        for split, path in aside.items():
            os.replace(path, paths[split])
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_beton(samples: Samples, path: Path) -> None:
    from ffcv.fields import IntField, NDArrayField, RGBImageField
    from ffcv.writer import DatasetWriter

    shape = samples.images.shape[1:]
    image = RGBImageField(write_mode="raw") if shape[-1] == 3 else NDArrayField(np.dtype("uint8"), shape)
    fields = {"image": image, "label": IntField()}
    writer = DatasetWriter(str(path), fields, page_size=PAGE_BYTES, num_workers=1)
    # Its own bar is for large sets; one that takes a second would only leave a stray line.
    quiet = len(samples.labels) < 10_000
    with (
        _dead_worker_raises(path),
        open(os.devnull, "w") as devnull,
        redirect_stderr(devnull if quiet else sys.stderr),
    ):
        writer.from_indexed_dataset(_Indexed(samples))
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _dead_worker_raises(path: Path) -> Iterator[None]:
    """FFCV waits forever for its writing process when that has died (of a full disk, say): listen for its death."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return

    def on_child(number: int, frame: object) -> None:
        child = None
        with suppress(ChildProcessError):
            child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if child is not None and child.si_status != 0:
            raise OSError(errno.EIO, "FFCV's writing process has died; is the disk full?", str(path))

    before = signal.signal(signal.SIGCHLD, on_child)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
