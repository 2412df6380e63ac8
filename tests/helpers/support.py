"""Console scripts as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent
Command = Callable[..., subprocess.CompletedProcess[str]]


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without anything that would make W&B go online."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    return kept | {"NETRC": os.devnull} | extra


EPOCH_LINE = re.compile(r" *(epoch +phase |\d+/\d+ +(dense|sparse) )")


FIRST_LINES = re.compile(r"acdc-\w+: (.*, precision=.*|(run \d+ of \d+: )?\S+-[0-9a-f]{8})$")


def messages(errors: str) -> list[str]:
    """The lines of stderr without a run's first two, which name its machine and itself, and those of its epochs."""
    lines = errors.splitlines()
    return [line for line in lines if not FIRST_LINES.match(line) and not EPOCH_LINE.match(line)]
