"""The weights that a run starts from, read from the file that ``start_file`` names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput, DataMissing, reason
from acdc_cli.planning.start_file import model_file
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.seal import check_seal
from acdc_cli.records.tensor_header import StoredTensor
from acdc_cli.sparsity.target import parse_target, removed_fraction

# Where checkpoints keep a state dict among other things: PyTorch's and timm's habits, and our own last.pt.
NESTED_UNDER = ("state_dict", "model_state_dict", "model", "module", "run")
NAMED_AT_MOST = 3


def raw_tensors(path: Path) -> list[StoredTensor]:
    """The tensors of a file as bytes, in the order of their names. Raises what ``read_state`` does."""
    return [
        StoredTensor(name, str(tensor.dtype), tuple(tensor.shape), _bytes_of(tensor))
        for name, tensor in sorted(read_state(path).items())
    ]


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def load_start(model: nn.Module, config: Config) -> None:
    """Give the model the weights of ``start_from``. Raises what ``start_state`` does."""
    model.load_state_dict(start_state(model, config), strict=False)


def start_state(model: nn.Module, config: Config) -> dict[str, Tensor]:
    """The weights of ``start_from`` under the model's names, whatever wrapper wrote them.

    Raises:
        BadInput: if they are another model's; the line says how they differ.
        DataMissing: if the file cannot be read.
    """
    path = model_file(config)
    own = model.state_dict()
    state = _without_wrappers(read_state(path), list(own))
    # A counter that no output depends on; checkpoints older than it lack it.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    shapes = [
        f"{name} is {tuple(state[name].shape)} and should be {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unknown or shapes:
        kinds = (("it lacks ", missing), ("it has ", unknown), ("", shapes))
        said = "; ".join(prefix + _first_few(names) for prefix, names in kinds if names)
        raise BadInput(f"start_from={path}: not weights of model={config.model.name} for these data: {said}")
    return state


def require_dense_start(config: Config, start: dict[str, Tensor], prunable: Iterable[str]) -> None:
    """Raise BadInput if one-shot pruning would find nothing left to choose between: as many zeros as it is to make.

    Some zeros are no fault: weights of dead channels stay at zero in AC/DC's dense phases too.

    Args:
        start: state dict of ``start_from``.
        prunable: names of the weights that count.
    """
    weights = [start[name] for name in prunable]
    zeros = 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)
    if zeros >= removed_fraction(parse_target(config.sparsity.target)) > 0:
        raise BadInput(
            f"start_from={config.start_from}: {zeros:.1%} of its weights are zero already, and "
            f"method={config.method.name} prunes a dense model; masks=from_weights trains a sparse one as it is"
        )


def _first_few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by the names that they have in it.

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


def _without_wrappers(state: dict[str, Tensor], own: list[str]) -> dict[str, Tensor]:
    """Names as the model has them: without torch.compile's marks, and without a prefix that all of them share.

    That is DistributedDataParallel's ``module.`` or the attribute under which a LightningModule keeps its network.
    """
    state = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}
    while state and own[0] not in state:
        first = next(iter(state)).partition(".")[0] + "."
        if not all(name.startswith(first) for name in state):
            break
        state = {name.removeprefix(first): tensor for name, tensor in state.items()}
    return state
