"""Writing FFCV's .beton files with FFCV's own pieces, and processes that can be watched and stopped.

``DatasetWriter.from_indexed_dataset`` waits forever for a writing process that has died, shows its own bar and leaves
its processes behind when it is interrupted; so the pieces it is made of are put together here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from acdc_cli.data.beton.index import ALLOCATION, HEADER, VERSION
from acdc_cli.errors import AcdcError, naming
from acdc_cli.system.files import MEBIBYTE
from acdc_cli.system.progress import stage
from acdc_cli.system.signals import signals_held_back
from acdc_cli.system.workers import Shares, WorkerDied, answers_of

PAGE_BYTES = 2**21  # the smallest page FFCV writes; a small set fits in a few
CHUNK = 16  # samples that a process takes at a time


class Indexed(Protocol):
    """What is written: sample i is a tuple with a value for each field."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, ...]: ...


@dataclass(frozen=True)
class _Job:
    """What every writing process is handed."""

    samples: Indexed
    fields: dict[str, Any]
    metadata: Any  # shared memory: FFCV's table of samples
    metadata_type: np.dtype
    allocator: Any
    shares: Shares


def write_beton(
    path: Path,
    fields: dict[str, Any],
    samples: Indexed,
    workers: int,
    page_bytes: int,
    advance: Callable[[int], None],
) -> None:
    """Write a .beton; sample i of it is samples[i], whatever the number of workers.

    Args:
        path: file to write, not yet there; removed again if it cannot be finished.
        fields: FFCV's fields by name, in the order of a sample's values.
        workers: processes.
        page_bytes: a power of two that the largest sample fits in.
        advance: takes the number of samples that are written since the last call.

    Raises:
        OSError: if it cannot be written, a full disk included.
        AcdcError: if a writing process was killed.
    """
    from ffcv.writer import DatasetWriter

    writer = DatasetWriter(str(path), fields, page_size=page_bytes, num_workers=max(1, workers))
    writer.num_samples = len(samples)
    try:
        with naming(path):
            _write(writer, path, samples, advance)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write(writer: Any, path: Path, samples: Indexed, advance: Callable[[int], None]) -> None:
    from ffcv.memory_allocator import MemoryAllocator

    memory = None
    try:
        with signals_held_back():  # a lock that is half made complains when it is thrown away
            writer.prepare()
            memory = writer.metadata_sm
            allocator = MemoryAllocator(str(path), writer.data_region_start, writer.page_size)
            shares = Shares(len(samples), CHUNK)
        job = _Job(samples, writer.fields, memory, writer.metadata_type, allocator, shares)
        writer.finalize(_allocated(job, writer.num_workers, path, advance))
    finally:
        if memory is not None:
            memory.close()
            memory.unlink()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _allocated(job: _Job, workers: int, path: Path, advance: Callable[[int], None]) -> list[Any]:
    """Let the processes write; says where they have put the samples."""
    allocations = []
    try:
        for answer in answers_of(partial(_write_pages, job), workers):
            if isinstance(answer, int):
                advance(answer)
            else:
                allocations += answer
    except WorkerDied as died:
        raise AcdcError(
            f"{path}: a writing process died (exit code {died.exit_code}, a negative one is the signal that killed "
            "it); is there enough memory? Run the command again, with fewer --workers"
        ) from None
    return allocations


def _write_pages(job: _Job, send: Callable[[Any], None]) -> None:
    """A writing process: takes samples until there are none left, then says where it has put them."""
    import cv2
    from ffcv.writer import handle_sample

    cv2.setNumThreads(0)  # the processes share the cores already
    table = np.frombuffer(job.metadata.buf, dtype=job.metadata_type)
    with job.allocator:
        for indices in job.shares:
            for index in indices:
                names = job.metadata_type.names
                handle_sample(job.samples[index], index, names, table, job.allocator, job.fields)
            send(len(indices))
    send(job.allocator.allocations)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes; a bar shows how far it is, for files that take a while."""
    digest = hashlib.sha256()
    with path.open("rb") as file, stage(f"reading {path.name} (MiB)", path.stat().st_size // MEBIBYTE) as advance:
        while block := file.read(MEBIBYTE):
            digest.update(block)
            advance(1)
    return digest.hexdigest()


def header_problem(path: Path, count: int) -> str | None:
    """Why a file cannot be the .beton of so many samples, by its first and last bytes, or None.

    FFCV itself crashes on files that are not its own.
    """
    with path.open("rb") as file:
        start = file.read(HEADER.itemsize)
    if len(start) < HEADER.itemsize:
        return "too short for a .beton"
    header = np.frombuffer(start, HEADER)[0]
    if header["version"] != VERSION or header["num_fields"] != 2:
        return "not a .beton of images and labels"
    if header["num_samples"] != count:
        return f"a .beton of {header['num_samples']} samples, not of {count}"
    table = path.stat().st_size - int(header["alloc_table_ptr"])
    if table != count * ALLOCATION.itemsize:
        return "a .beton that was cut short"
    return None
