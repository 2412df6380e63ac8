"""Which weights are a model's first layer and its last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from acdc_cli.sparsity.kinds import Use

FIRST_KEY, LAST_KEY = "first_conv", "classifier"  # in the configuration that timm keeps in each of its models


def first_and_last(model: nn.Module, uses: Sequence[Use]) -> tuple[set[int], set[int]]:
    """The ids of the first layer's weights and of the last layer's.

    A model of timm names both itself, and may have several of each. An encoder without a head has no last layer. If
    timm names an empty list of first convolutions (``csatv2``, where a fixed cosine transform takes the image), the
    first layers are those of the module that the model's first weight belongs to, its stem.

    Of any other model they are the first and the last weight in model order that is used as a matrix; the table of an
    embedding is no layer, unless a linear layer shares it.

    Args:
        uses: those of the model, see ``kinds.uses_of_weights``.
    """
    matrices = [use for use in uses if use.kind != "embedding"]
    in_order = list(dict.fromkeys(id(use.weight) for use in matrices))
    first, last = set(in_order[:1]), set(in_order[-1:])
    prefix, config = _timm_config(model)
    if config is None:
        return first, last
    modules = {name.removeprefix(prefix) for name, _ in model.named_modules() if name.startswith(prefix)}
    stems, heads = _names(config.get(FIRST_KEY)), _names(config.get(LAST_KEY))
    # A model without the stem that its configuration names has been rebuilt under other names (``features_only``).
    if stems is not None and not modules.isdisjoint(stems):
        first = _weights_in(matrices, prefix, stems)
    elif stems == [] and matrices:
        layer = matrices[0].path
        first = _weights_in(matrices, "", [layer.rpartition(".")[0] or layer])
    return first, _weights_in(matrices, prefix, heads or [])


def _timm_config(model: nn.Module) -> tuple[str, Mapping[str, Any] | None]:
    """(prefix of module names, configuration) of a model of timm, which may be the only part of a wrapper."""
    prefix = ""
    while True:
        for attribute in ("pretrained_cfg", "default_cfg"):
            config = getattr(model, attribute, None)
            if isinstance(config, Mapping) and (FIRST_KEY in config or LAST_KEY in config):
                return prefix, config
        parts = [(name, child) for name, child in model.named_children() if any(True for _ in child.parameters())]
        if len(parts) != 1 or any(True for _ in model.parameters(recurse=False)):
            return "", None
        prefix, model = f"{prefix}{parts[0][0]}.", parts[0][1]


def _names(value: object) -> list[str] | None:
    """One name or several; None where the configuration does not say."""
    if value is None:
        return None
    return [value] if isinstance(value, str) else [str(name) for name in value]  # type: ignore[attr-defined]


def _weights_in(uses: Sequence[Use], prefix: str, names: Sequence[str]) -> set[int]:
    """Ids of the weights of modules with these names, and of all modules inside them."""
    paths = [prefix + name for name in names]
    return {id(use.weight) for use in uses if any(f"{use.path}.".startswith(f"{path}.") for path in paths)}
