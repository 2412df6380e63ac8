"""The processors of this machine: CPU cores, and whether there may be a GPU. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# Beginnings of the names in /dev by which a program reaches a GPU: NVIDIA's driver, its boards without one of their
# own (Jetson), AMD's driver, and Windows' subsystem for Linux.
GPU_FILES = ("nvidia", "nvhost", "nvmap", "kfd", "dxg")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def may_have_gpu(devices: Path = Path("/dev"), variables: Mapping[str, str] = os.environ) -> bool:
    """Whether PyTorch could find a GPU. Where this is False it finds none, and need not be imported to be asked.

    Args:
        devices: the folder of device files.
        variables: the environment, in which CUDA_VISIBLE_DEVICES says that somebody knows of a GPU.
    """
    if "CUDA_VISIBLE_DEVICES" in variables or not devices.is_dir():
        return True
    return any(name.startswith(GPU_FILES) for name in os.listdir(devices))
