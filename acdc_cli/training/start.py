"""The weights that a run starts from: a finished run's, or a checkpoint file's."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from acdc_cli.config.schema import Config, prunes_a_dense_run
from acdc_cli.errors import BadInput, DataMissing, reason
from acdc_cli.parts import METHODS
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity.target import parse_target, removed_fraction
from acdc_cli.training.checkpoint import check_seal

# Where checkpoints keep a state dict among other things: PyTorch's and timm's habits, and our own last.pt.
NESTED_UNDER = ("state_dict", "model_state_dict", "model", "module", "run")
NAMED_AT_MOST = 3
HASH_LENGTH = 16


def locate_start(config: Config) -> Config:
    """A copy of the config in which ``start_from`` is an absolute path and its tensors' hash is known.

    Of the tensors and not of the file: the same weights can be written in more than one way.

    Raises:
        BadInput: if it is a folder that is no run, or a file without a state dict.
        DataMissing: if there is no such file, or the run has no such model (yet).
    """
    if config.start_from is None:
        return config
    config = copy.deepcopy(config)
    config.start_from = str(Path(str(config.start_from)).expanduser().absolute())
    config.start_from_hash = _hash_of(_read_state(model_file(config)))
    return config


def _hash_of(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:HASH_LENGTH]


def model_file(config: Config) -> Path:
    """The file that ``start_from`` means: itself, or a run's dense model; its sparse one where masks come from it.

    ``finetune_start=best``: the model of the run's best dense epoch.

    Raises:
        BadInput: for a folder that is no run, or a run whose method makes no dense model where one is needed.
        DataMissing: if there is no such file, or the run has no such model (yet).
    """
    path = Path(str(config.start_from))
    if path.is_dir():
        folder = RunFolder.open(path)
        needs_dense = prunes_a_dense_run(config)
        kinds = ("sparse",) if config.masks == "from_weights" else ("dense",) if needs_dense else ("dense", "sparse")
        making = [name for name in METHODS.names() if METHODS.part(name).facts.makes_dense_model] if needs_dense else []
        if needs_dense and folder.is_done and (method := folder.read_result()["method"]) not in making:
            raise BadInput(
                f"start_from={path}: method={method} makes no dense model, and method={config.method.name} prunes one; "
                f"use a run of {' or '.join(making)}, or drop start_from: the dense run is then made first"
            )
        if config.finetune is not None and config.finetune_start == "best":
            kinds = ("dense_best",)
        for kind in kinds:
            if (file := folder.model(kind)).is_file():
                return file
        raise DataMissing(f"start_from={path}: the run has no {kinds[0]} model (yet); its own command goes on with it")
    if not path.is_file():
        raise DataMissing(f"start_from={path}: there is no such file and no such run folder")
    return path


def goes_on_from_a_run(config: Config) -> bool:
    """Whether what a dense run has spent is part of this one's cost: what prunes it starts from it."""
    return prunes_a_dense_run(config) and Path(str(config.start_from)).is_dir()


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
    state = _without_wrappers(_read_state(path), list(own))
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


def _read_state(path: Path) -> dict[str, Tensor]:
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
