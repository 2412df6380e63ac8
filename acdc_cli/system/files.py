"""Files that are written whole or not at all, and the sums by which damage to one is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from acdc_cli.errors import AcdcError

MEBIBYTE = 2**20


def temporary_beside(path: Path) -> Path:
    """A name in the same folder for what will be renamed to ``path``; another process has another one."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def left_temporary(folder: Path) -> Iterator[Path]:
    """Files and folders of such names under a folder: their processes were killed while they wrote."""
    return folder.rglob(".*.tmp")


def replace_file(
    path: Path, write: Callable[[Path], object], before_rename: Callable[[Path], object] | None = None
) -> None:
    """Let ``write`` fill a temporary neighbour, put it on the disk, then rename it over ``path``.

    Args:
        before_rename: is given the temporary file when it is complete.

    Raises:
        AcdcError: if a folder lies where the file belongs.
        OSError: if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if before_rename is not None:
            before_rename(temporary)
        os.replace(temporary, path)
    except IsADirectoryError:
        raise AcdcError(f"{path}: a folder lies where a file belongs; remove it") from None
    except OSError as error:  # named after the file that was meant, not after the temporary one
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def json_text(value: Any) -> str:
    """JSON for a file. NaN and infinity are refused: they are not JSON."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def replace_json(path: Path, value: Any) -> None:
    """Write a JSON file whole, as ``json_text`` has it."""
    replace_text(path, json_text(value))


def file_sum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sum_of(content: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def canonical_sum(value: Any) -> str:
    """SHA-256 of a JSON value, however its text is laid out."""
    return sum_of(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
