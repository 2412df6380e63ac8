"""The memory that a machine has and has free, as Linux writes it."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from acdc_cli.sparsity import fisher_memory
from acdc_cli.sparsity.fisher_memory import available_bytes, gibibytes, largest_block, require_memory, total_bytes

CPU = torch.device("cpu")
PAGE = os.sysconf("SC_PAGE_SIZE")
BLOCKS = (2000, 1000, 500, 200, 100, 50, 20, 10, 1)
CGROUP, MEMINFO = "/sys/fs/cgroup/memory.max", "/proc/meminfo"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files that there are, with their text; 1000 pages of memory of which nobody has 300."""
    files: dict[str, str] = {}
    pages = {"SC_PAGE_SIZE": PAGE, "SC_PHYS_PAGES": 1000, "SC_AVPHYS_PAGES": 300}
    monkeypatch.setattr(os, "sysconf", lambda name: pages[name])
    monkeypatch.setattr(Path, "is_file", lambda path: str(path) in files)
    monkeypatch.setattr(Path, "read_text", lambda path: files[str(path)])
    return files


@pytest.mark.parametrize(
    ("limit", "total"), [(None, 1000 * PAGE), ("max\n", 1000 * PAGE), ("8192\n", 8192), (f"{2000 * PAGE}", 1000 * PAGE)]
)
def test_all_memory_is_the_machines_or_its_control_groups(
    machine: dict[str, str], limit: str | None, total: int
) -> None:
    if limit is not None:
        machine[CGROUP] = limit
    assert total_bytes(CPU) == total


@pytest.mark.parametrize(
    ("meminfo", "limit", "available"),
    [
        (None, None, 300 * PAGE),
        ("MemTotal:  9999 kB\nMemFree:   7 kB\n", None, 300 * PAGE),  # a kernel before 3.14
        ("MemTotal:  9999 kB\nMemFree:   7 kB\nMemAvailable:     1000 kB\nBuffers:  5 kB\n", None, 1000 * 1024),
        ("MemAvailable:     1000 kB\n", "4096", 4096),
        ("MemAvailable:     1000000000 kB\n", None, 1000 * PAGE),
    ],
)
def test_the_file_cache_counts_as_free(
    machine: dict[str, str], meminfo: str | None, limit: str | None, available: int
) -> None:
    machine |= {name: text for name, text in ((MEMINFO, meminfo), (CGROUP, limit)) if text is not None}
    assert available_bytes(CPU) == available


def test_what_is_needed_may_be_all_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two matrices of 10 x 10 and one of 4 x 4, in float32 and, where a weight is that, in float64."""
    for dtype, needed in ((torch.float32, 864), (torch.bfloat16, 864), (torch.float64, 1728)):
        weights = [torch.zeros(4, 5, dtype=dtype), torch.zeros(4, dtype=dtype)]
        monkeypatch.setattr(fisher_memory, "available_bytes", lambda device, free=needed: free)
        require_memory(weights, [weight.numel() for weight in weights], 10)
        monkeypatch.setattr(fisher_memory, "available_bytes", lambda device, free=needed: free - 1)
        with pytest.raises(MemoryError, match="a Fisher block of 10 weights"):
            require_memory(weights, [weight.numel() for weight in weights], 10)
    require_memory([], [], 10)


@pytest.mark.parametrize(("block", "next_smaller"), list(pairwise(BLOCKS)))
def test_a_block_fits_into_exactly_half_of_the_memory(block: int, next_smaller: int) -> None:
    """A weight's tensor of 2000 has 2000 / block matrices of block x block numbers of 4 bytes."""
    needed = 2000 * block * 4
    assert largest_block([2000], 2 * needed) == block
    assert largest_block(iter([2000]), 2 * needed - 2) == next_smaller


def test_bytes_are_printed_in_gibibytes() -> None:
    assert [gibibytes(count) for count in (2**30, 3 * 2**29, 0)] == ["1.0 GiB", "1.5 GiB", "0.0 GiB"]
