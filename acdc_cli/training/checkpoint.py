"""One checkpoint holds everything that must survive a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from acdc_cli.errors import AcdcError, reason
from acdc_cli.records.folder import replace_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint whole. ``state`` holds tensors and plain values only."""
    try:
        replace_file(path, lambda temporary: torch.save(state, temporary))
    except RuntimeError as error:  # what torch makes of a failed write
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: Exception) -> AcdcError:
    """The one line for a tensor file that its library could not write."""
    return AcdcError(f"{path}: cannot be written ({reason(error)}); is the disk full?")


def load_checkpoint(path: Path, run_id: str) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``, onto the CPU: whoever takes a tensor over copies it to its place.

    Raises:
        AcdcError: if it cannot be read, or belongs to another run.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        owner = state["run_id"]
    except Exception as error:  # zipfile, pickle and torch each raise their own
        raise AcdcError(f"{path}: unreadable ({reason(error)}); run.overwrite=true starts over") from None
    if owner != run_id:
        raise AcdcError(f"{path}: belongs to run {owner}, not {run_id}; run.overwrite=true starts over")
    return state
