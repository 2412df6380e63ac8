"""The keys of ``sparsity``: targets as they enter the id, rules, and the allocation that they describe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from acdc_cli.config.schema import Config, MethodConfig, SparsityConfig
from acdc_cli.errors import BadInput
from acdc_cli.options import optional
from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.rules import parse_rules
from acdc_cli.sparsity.target import AllocationError, Pattern, parse_target


def resolve_sparsity(config: Config) -> Config:
    """Write targets the one way they enter the id, and refuse what no model could take."""
    sparsity = config.sparsity
    try:
        target = parse_target(sparsity.target)
    except AllocationError as error:
        raise BadInput(f"sparsity.target={error}") from None
    try:
        rules = parse_rules(_as_mapping(sparsity.rules))
    except AllocationError as error:
        raise BadInput(f"sparsity.rules: {error}") from None
    if isinstance(target, Pattern) and all(isinstance(own, Pattern) or own == 0 for own in rules.values()):
        # N:M is what it is whatever distribution is chosen: one run, one id.
        sparsity = replace(sparsity, distribution="global", min_layer_density=0.0, block=None)
    sparsity = replace(
        sparsity,
        target=str(target) if isinstance(target, Pattern) else target,
        # Pairs, not a mapping: of two rules for a layer the later one wins, so their order is part of the id.
        rules=[[rule, str(own) if isinstance(own, Pattern) else own] for rule, own in rules.items()] or None,
    )
    config = replace(config, sparsity=_adjusted(config.method, sparsity))
    allocation_of(config)
    return config


def _as_mapping(rules: Any) -> dict[str, Any]:
    """Rules as typed, {first: 0}, or as a config.yaml has them, [[first, 0]]."""
    try:
        return dict(rules or {})
    except (TypeError, ValueError):
        raise BadInput(f"sparsity.rules={rules}: not {{rule: target, ...}}, such as {{first:0,last:0}}") from None


def allocation_of(config: Config) -> Allocation:
    """How a complete config spreads its sparsity. Raises BadInput on settings that do not go together."""
    sparsity = config.sparsity
    try:
        return Allocation(
            sparsity.target,
            sparsity.distribution,
            sparsity.min_layer_density,
            None if sparsity.block is None else tuple(sparsity.block),
            sparsity.indivisible,
            _as_mapping(sparsity.rules),
        )
    except AllocationError as error:
        key = str(error).partition(" ")[0]
        raise BadInput(f"sparsity.{key}={getattr(sparsity, key)}: {error}") from None


def _adjusted(method: MethodConfig, sparsity: SparsityConfig) -> SparsityConfig:
    """Let the method decide its part of ``sparsity``.

    A method that works layer by layer gets a distribution that does. A uniform one keeps the first layer dense where
    connections move within layers (RigL, section 3).
    """
    layerwise = getattr(method.options, "layerwise", None)
    if layerwise is not None and sparsity.distribution == "global" and not sparsity.has_pattern():
        sparsity = replace(sparsity, distribution=layerwise)
    sparsity = optional(method.options, "adjusted_sparsity", sparsity) or sparsity
    ruled = [rule for rule, _ in sparsity.rules or []]
    if method.facts.within_layers and sparsity.distribution == "uniform" and "first" not in ruled:
        sparsity = replace(sparsity, rules=[["first", 0.0], *(sparsity.rules or [])])
    return sparsity
