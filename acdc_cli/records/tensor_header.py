"""The header of a safetensors file, read without PyTorch: whether the file is as long as it says it is."""

from __future__ import annotations

import json
from pathlib import Path

LENGTH_BYTES = 8  # of the number at the file's beginning that says how long its header is


def whole_length_problem(path: Path) -> str | None:
    """Why a safetensors file cannot be whole, by its length and its header alone; None: nothing seen.

    The format (github.com/huggingface/safetensors): the header's length in 8 bytes, a JSON header that says where each
    tensor ends, and the tensors.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if header_bytes > size:
                return "cut short"
            header = json.loads(file.read(header_bytes))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "its header cannot be read"
    whole = LENGTH_BYTES + header_bytes + max(ends, default=0)
    return None if size == whole else f"{size} bytes instead of {whole}"
