"""The tensors of a file that a run may start from, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from acdc_cli.errors import BadInput, DataMissing, reason
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.seal import check_seal
from acdc_cli.records.tensor_header import StoredTensor

# Where checkpoints keep a state dict among other things: PyTorch's and timm's habits, and our own last.pt.
NESTED_UNDER = ("state_dict", "model_state_dict", "model", "module", "run")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, by the names that they have in it.

    Raises:
        BadInput: if there is no state dict in it.
        DataMissing: if it is damaged or cannot be read.
    """
    try:
        _check_sum(path)
        content: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Damaged as error:
        raise DataMissing(f"start_from={error}") from None
    except UnpicklingError:
        raise DataMissing(
            f"start_from={path}: not a checkpoint of tensors; one that holds Python objects has to be saved again with "
            "torch.save(model.state_dict(), FILE)"
        ) from None
    except (SafetensorError, Exception) as error:  # zipfile, pickle and torch each raise their own
        raise DataMissing(f"start_from={path}: cannot be read ({type(error).__name__}: {reason(error)})") from None
    while isinstance(content, dict) and not any(isinstance(value, Tensor) for value in content.values()):
        nested = [key for key in NESTED_UNDER if isinstance(content.get(key), dict)]
        if not nested:
            raise BadInput(
                f"start_from={path}: no state dict in it, neither by itself nor under {', '.join(NESTED_UNDER)}"
            )
        content = content[nested[0]]
    if not isinstance(content, dict):
        raise BadInput(f"start_from={path}: holds a {type(content).__name__}, not a state dict")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _check_sum(path: Path) -> None:
    """Raise Damaged for a run's model, or its checkpoint, that is not what the run has written."""
    if path.parent.name == "models" and path.suffix == ".safetensors":
        folder = RunFolder(path.parent.parent)
        folder.sums.check(path, folder.remedy)
    elif path.suffix == ".pt":
        check_seal(path)


def raw_tensors(path: Path) -> list[StoredTensor]:
    """Return the tensors of a file as bytes, in the order of their names. Raises what ``read_state`` does."""
    return [
        StoredTensor(name, str(tensor.dtype), tuple(tensor.shape), _bytes_of(tensor))
        for name, tensor in sorted(read_state(path).items())
    ]


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
