"""Describe the machine of a benchmark, and write its results."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from acdc_cli.planning.precision import BFLOAT16_FEATURES, processor_features

RESULTS = Path(__file__).resolve().parent / "results"


def machine(device: torch.device) -> dict[str, Any]:
    """Return the machine's CPU or GPU, instruction set, cores, threads and versions.

    The speed of a CPU depends most on its instruction set.
    """
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": sorted(BFLOAT16_FEATURES & processor_features()),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def keep(name: str, device: torch.device, rows: list[dict[str, Any]]) -> Path:
    """Write the rows of a result with its machine, command and date as JSON. Returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{device.type}.json"
    command = "python " + " ".join([os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    content = {"command": command, "date": date, "machine": machine(device), "rows": rows}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
