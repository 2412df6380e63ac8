"""Check that the inverse Fisher matrices of a model fit into memory, and find a block size that does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from acdc_cli.sparsity.fisher import inverse_bytes
from acdc_cli.sparsity.fisher_sample import working_dtype

# The paper's own code uses blocks of 2000 weights for ResNet50 and 10,000 for MobileNetV1. It trains on GPUs and keeps
# the inverses in host memory.
BLOCKS = (2000, 1000, 500, 200, 100, 50, 20, 10)
SHARE_OF_MEMORY = 0.5  # an automatic block size gives this fraction to the inverses; training needs the rest


def total_bytes(device: torch.device) -> int:
    """Return the memory of the device. On a CPU, this is the machine's memory or its control group's limit (Linux)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total


def available_bytes(device: torch.device) -> int:
    """Return the free memory of the device. On a CPU, the file cache counts as free (Linux)."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text()) if meminfo.is_file() else None
    free = int(found[1]) * 1024 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return min(free, total_bytes(device))


def largest_block(counts: Iterable[int], memory_bytes: int, element_bytes: int = 4) -> int:
    """Return the largest of ``BLOCKS`` whose inverses take at most ``SHARE_OF_MEMORY`` of the memory; 1 if none does.

    Args:
        counts: number of weights of each tensor.
    """
    counts = list(counts)
    fitting = (size for size in BLOCKS if inverse_bytes(counts, size, element_bytes) <= SHARE_OF_MEMORY * memory_bytes)
    return next(fitting, 1)


def require_memory(weights: Sequence[Tensor], counts: Sequence[int], block: int) -> None:
    """Raise MemoryError if the inverses of these weights do not fit into the free memory.

    The message says how much they need and which block size fits.

    Args:
        counts: for each weight, the number of its elements that the blocks are made of.
    """
    if not weights:
        return
    device, element_bytes = weights[0].device, working_dtype(weights[0]).itemsize
    available = available_bytes(device)
    if (needed := inverse_bytes(counts, block, element_bytes)) > available:
        raise MemoryError(
            f"a Fisher block of {block} weights needs {gibibytes(needed)} of memory, and {gibibytes(available)} are "
            f"free; nearest: {largest_block(counts, available, element_bytes)}"
        )


def gibibytes(count: int) -> str:
    """Return a number of bytes as text in GiB."""
    return f"{count / 2**30:.1f} GiB"
