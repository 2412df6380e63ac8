"""Find the weights of a model's first and last layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from acdc_cli.sparsity.kinds import Use

FIRST_KEY, LAST_KEY = "first_conv", "classifier"  # keys of the configuration that timm keeps in each of its models


def first_and_last(model: nn.Module, uses: Sequence[Use]) -> tuple[set[int], set[int]]:
    """Return the ids (``id(weight)``) of the first layers' weights and of the last layers' weights.

    The configuration of a timm model names both, and may name several of each. An encoder without a head has no last
    layer. If the list of first convolutions is empty, as in ``csatv2``, where a fixed cosine transform takes the image,
    the first layers are those of the stem: the module that holds the model's first weight.

    In any other model, they are the first and the last weight in model order that is used as a matrix. An embedding
    does not count as a layer unless a linear layer shares its weight.

    Args:
        uses: all uses of the model's weights, from ``kinds.uses_of_weights``.
    """
    matrices = [use for use in uses if use.kind != "embedding"]
    in_order = list(dict.fromkeys(id(use.weight) for use in matrices))
    first, last = set(in_order[:1]), set(in_order[-1:])
    prefix, config = _timm_config(model)
    if config is None:
        return first, last
    modules = {name.removeprefix(prefix) for name, _ in model.named_modules() if name.startswith(prefix)}
    stems, heads = _names(config.get(FIRST_KEY)), _names(config.get(LAST_KEY))
    # With ``features_only``, timm rebuilds a model under other module names. The names in its configuration then
    # match nothing, so they are ignored.
    if stems is not None and not modules.isdisjoint(stems):
        first = _weights_in(matrices, prefix, stems)
    elif stems == [] and matrices:
        layer = matrices[0].path
        first = _weights_in(matrices, "", [layer.rpartition(".")[0] or layer])
    return first, _weights_in(matrices, prefix, heads or [])


def _timm_config(model: nn.Module) -> tuple[str, Mapping[str, Any] | None]:
    """Return (prefix of its module names, its configuration) of a timm model; ("", None) for any other model.

    The timm model may also be inside wrappers that have no other parameters.
    """
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
    """Return a configuration's name or names as a list; None if the configuration has no such entry."""
    if value is None:
        return None
    return [value] if isinstance(value, str) else [str(name) for name in value]  # type: ignore[attr-defined]


def _weights_in(uses: Sequence[Use], prefix: str, names: Sequence[str]) -> set[int]:
    """Return the ids of the weights of the modules with these names, and of all modules inside them."""
    paths = [prefix + name for name in names]
    return {id(use.weight) for use in uses if any(f"{use.path}.".startswith(f"{path}.") for path in paths)}
