"""The weights that a run starts from, read from the file that ``start_file`` names."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput
from acdc_cli.planning.start_file import model_file
from acdc_cli.planning.weights_file import read_state
from acdc_cli.sparsity.target import parse_target, removed_fraction

NAMED_AT_MOST = 3


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
