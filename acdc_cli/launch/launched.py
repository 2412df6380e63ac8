"""How many jobs a sweep has: a launcher leaves it in the folder that the jobs share, and each job reads it there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from acdc_cli.records.files import NUMBER, read_object
from acdc_cli.system.files import replace_json

LAUNCHED = "launched.json"


def write_launched(folder: Path, jobs: int, are_parallel: bool) -> None:
    """Leave for the jobs how many they are.

    Args:
        folder: which the jobs share.
        are_parallel: whether several print to one place at the same time.
    """
    replace_json(folder / LAUNCHED, {"jobs": jobs, "began": time.time(), "are_parallel": are_parallel})


def read_launched(folder: Path) -> dict[str, Any]:
    """What ``write_launched`` has left: the number of ``jobs``, the time when they ``began``, ``are_parallel``."""
    return read_object(folder / LAUNCHED, {"jobs": int, "began": NUMBER, "are_parallel": bool})
