"""One checkpoint holds everything that must survive a crash, and the SHA-256 by which damage to it is noticed."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from acdc_cli.errors import AcdcError, reason
from acdc_cli.records.files import Damaged
from acdc_cli.records.seal import SEAL, has_right_seal
from acdc_cli.system.files import replace_file, temporary_beside

SEALED = "sealed"  # key of a state that was written with a seal: without one, such a file is damaged


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


def save_checkpoint(path: Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Replace the checkpoint whole.

    Args:
        state: tensors and plain values only.
        previous: where the checkpoint that is replaced is kept; None: nowhere. Both files exist at any moment.
    """
    try:
        replace_file(path, lambda temporary: _write(temporary, state), lambda _: _keep(path, previous))
    except RuntimeError as error:  # what torch makes of a failed write
        raise cannot_write(path, error) from None


def _write(path: Path, state: dict[str, Any]) -> None:
    with path.open("wb") as file:
        hashing = _Hashing(file)
        torch.save(state | {SEALED: True}, cast(BinaryIO, hashing))
        file.write(SEAL + hashing.digest.hexdigest().encode())


def _keep(path: Path, previous: Path | None) -> None:
    """Give the checkpoint a second name, so that it is there under the first one until that is replaced."""
    if previous is None or not path.is_file():
        return
    link = temporary_beside(previous)
    with suppress(FileNotFoundError):
        link.unlink()
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links: for a moment only the previous one is there
        os.replace(path, previous)
    else:
        os.replace(link, previous)


def cannot_write(path: Path, error: Exception) -> AcdcError:
    """The one line for a tensor file that its library could not write."""
    return AcdcError(f"{path}: cannot be written ({reason(error)}); is the disk full?")


def load_checkpoint(path: Path, run_id: str) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``, onto the CPU: whoever takes a tensor over copies it to its place.

    A checkpoint that an older version wrote has no sum; the CRC-32s of its zip archive are compared.

    Raises:
        Damaged: if it is not what was written, cannot be read, or belongs to another run.
    """
    try:
        is_sealed = has_right_seal(path)
        if not is_sealed:
            _check_zip(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not isinstance(state.get("run"), dict):
            raise ValueError("no run in it")
        if (owner := state.get("run_id")) != run_id:
            raise ValueError(f"it belongs to run {owner}, not {run_id}")
        if SEALED in state and not is_sealed:
            raise ValueError("its SHA-256 has been removed")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # zipfile, pickle and torch each raise their own
        why = error.strerror or reason(error) if isinstance(error, OSError) else reason(error)
        raise Damaged(path, why) from None
    return state


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if (part := archive.testzip()) is not None:
            raise ValueError(f"the CRC-32 of {part} is wrong")


def restore(path: Path, run_id: str, load: Callable[[dict[str, Any]], None]) -> None:
    """Read a checkpoint and hand the run's state to ``load``.

    Raises:
        Damaged: also if the state lacks a part or has one of another type.
        AcdcError: of ``load``'s own.
    """
    state = load_checkpoint(path, run_id)
    try:
        load(state["run"])
    except torch.OutOfMemoryError:
        raise
    except KeyError as error:
        raise Damaged(path, f"it has no {error.args[0] if error.args else 'such part'}") from None
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise Damaged(path, f"a part of it does not fit: {reason(error)}") from None
