"""Report which weights of a model a sparse method can prune: counts by layer kind, and the weights left uncovered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

from torch import nn
from torch.nn.parameter import UninitializedParameter

from acdc_cli.sparsity.kinds import uses_of_weights
from acdc_cli.sparsity.layer import KINDS, Layer
from acdc_cli.sparsity.rules import Share

NAMED_AT_MOST = 3  # a line names so many uncovered weights and counts the others


class UncoveredWeights(UserWarning):
    """The model has weights that are neither prunable nor embeddings, so they stay dense."""


def uncovered_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return every parameter of two or more dimensions that is neither a prunable weight nor an embedding.

    Names are the model's own, in model order. Examples of uncovered weights are position embeddings, class tokens, the
    weight of ``nn.Bilinear``, and the weights of a user's own kind of layer. They stay dense, and
    ``prunable_weights`` does not return them.
    """
    covered = {id(use.weight) for use in uses_of_weights(model)}
    return {name: each for name, each in _sized_parameters(model).items() if each.dim() > 1 and id(each) not in covered}


def uncovered_share(model: nn.Module) -> float:
    """Return the fraction of the model's parameters that are uncovered weights, in [0, 1]."""
    uncovered = sum(weight.numel() for weight in uncovered_weights(model).values())
    return uncovered / max(1, sum(parameter.numel() for parameter in _sized_parameters(model).values()))


def _sized_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the model's parameters that have a shape. Those of a lazy layer have none before its first batch."""
    named = model.named_parameters()
    return {name: parameter for name, parameter in named if not isinstance(parameter, UninitializedParameter)}


def uncovered_line(model: nn.Module) -> str | None:
    """Return one line that names the uncovered weights and their share of the model, or None without such weights."""
    names = list(uncovered_weights(model))
    if not names:
        return None
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return (
        f"not pruned, because no layer of a prunable kind holds them: {', '.join(names[:NAMED_AT_MOST])}{more} "
        f"({_percent(uncovered_share(model))} of the model's parameters)"
    )


def warn_of_uncovered(model: nn.Module, callers: int) -> None:
    """Issue one ``UncoveredWeights`` warning that names the uncovered weights, if there are any.

    Args:
        callers: number of calls between this function and the line that the warning points at, which is where the
            user calls ``attach``.
    """
    if (line := uncovered_line(model)) is not None:
        warnings.warn(line, UncoveredWeights, stacklevel=callers + 2)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def prunable_by_kind(layers: Mapping[str, Layer], shares: Sequence[Share]) -> dict[str, int]:
    """Return the number of prunable weights of each kind in ``kinds.KINDS``.

    Args:
        layers: the model's layers, embeddings included.
        shares: the layers that have each target. An embedding is counted only if a rule gives it a target above 0.
    """
    given = [share for share in shares if share.target is not None or share.why_dense == "indivisible"]
    names = {name for share in given for name in share.names}
    counts = dict.fromkeys(KINDS, 0)
    for name, layer in layers.items():
        if not layer.is_embedding or name in names:
            counts[layer.kind] += math.prod(layer.shape)
    return counts
