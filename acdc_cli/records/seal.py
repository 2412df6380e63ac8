"""The SHA-256 that a checkpoint ends with, by which damage to it is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from acdc_cli.records.files import Damaged

# A file is what torch.save writes, then this word and the SHA-256 of everything before it. A zip archive is read from
# the table near its end, so torch.load passes over what follows that table.
SEAL = b"\nacdc-sha256:"
SEAL_BYTES = len(SEAL) + hashlib.sha256().digest_size * 2
BLOCK = 2**20


def check_seal(path: Path) -> None:
    """Raise Damaged for a file of tensors that ends with the SHA-256 of other bytes; one without any passes."""
    try:
        has_right_seal(path)
    except ValueError as error:
        raise Damaged(path, str(error)) from None


def has_right_seal(path: Path) -> bool:
    """Return True if the file ends with the SHA-256 of its rest. Raises ValueError if it ends with another one."""
    rest, digest = path.stat().st_size - SEAL_BYTES, hashlib.sha256()
    with path.open("rb") as file:
        file.seek(max(rest, 0))
        if not (seal := file.read()).startswith(SEAL):
            return False
        file.seek(0)
        while rest > 0 and (block := file.read(min(BLOCK, rest))):
            digest.update(block)
            rest -= len(block)
    if seal != SEAL + digest.hexdigest().encode():
        raise ValueError("its bytes are not those that its SHA-256 was made of")
    return True
