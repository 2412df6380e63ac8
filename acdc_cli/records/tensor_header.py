"""A safetensors file read without PyTorch: whether it is as long as its header says, and its tensors as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# The format's names of types, and PyTorch's.
TORCH_NAMES = {
    **{"F64": "torch.float64", "F32": "torch.float32", "F16": "torch.float16", "BF16": "torch.bfloat16"},
    **{"I64": "torch.int64", "I32": "torch.int32", "I16": "torch.int16", "I8": "torch.int8"},
    **{"U8": "torch.uint8", "BOOL": "torch.bool"},
}
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


class StoredTensor(NamedTuple):
    """A tensor as a file keeps it: name, PyTorch's name of the type, shape, and bytes in row-major order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: bytes


def stored_tensors(path: Path) -> Iterator[StoredTensor]:
    """The tensors of a whole safetensors file, one at a time in the order of their names.

    Raises:
        KeyError: for a type that is not in ``TORCH_NAMES``.
        OSError, ValueError: if the file cannot be read, or has no tensor.
    """
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = json.loads(file.read(header_bytes))
        header.pop("__metadata__", None)
        if not header:
            raise ValueError("no tensor in it")
        for name, entry in sorted(header.items()):
            begin, end = entry["data_offsets"]
            file.seek(LENGTH_BYTES + header_bytes + begin)
            yield StoredTensor(name, TORCH_NAMES[entry["dtype"]], tuple(entry["shape"]), file.read(end - begin))
