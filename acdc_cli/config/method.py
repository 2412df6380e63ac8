"""What holds for the keys of every method, and what goes with it."""

from __future__ import annotations

from dataclasses import replace

from acdc_cli.config.schema import ComposedConfig, Config
from acdc_cli.errors import BadInput
from acdc_cli.options import optional
from acdc_cli.parts import METHODS


def resolve_method(config: ComposedConfig) -> ComposedConfig:
    """Forget ``dense_run`` where the method prunes no trained network, and check the order of a window.

    Raises:
        BadInput: if a window ends before it starts.
    """
    options, facts = config.method.options, config.method.facts
    start, end = getattr(options, "start", None), getattr(options, "end", None)
    if start is not None and end is not None and start > end:
        raise BadInput(f"method.start={start}: after method.end={end}; nearest: method.start={end}")
    return config if facts.prunes_trained or facts.may_prune_trained else replace(config, dense_run=None)


def check_method(config: Config) -> None:
    """Raise BadInput for a combination that the method cannot do."""
    facts, sparsity, name = config.method.facts, config.sparsity, config.method.name
    if sparsity.has_pattern() and not facts.takes_patterns:
        others = ", ".join(_names_that_take_patterns())
        raise BadInput(
            f"sparsity.target={sparsity.target} method={name}: N:M is for {others}; use a fraction, such as 0.5"
        )
    if sparsity.block is not None and not facts.takes_blocks:
        raise BadInput(f"sparsity.block={sparsity.block}: method={name} moves single weights; use sparsity.block=null")
    if facts.decided_by and (own := {rule: target for rule, target in sparsity.rules or [] if target != 0}):
        rule, target = next(iter(own.items()))
        raise BadInput(
            f"sparsity.rules={{{rule}:{target}}}: method={name} learns how sparse each layer gets; a rule can "
            f"leave one dense: {{{rule}:0}}"
        )
    if not any(sparsity.targets()) and not facts.takes_zero_target and config.masks != "from_weights":
        raise BadInput(f"sparsity.target=0.0 method={name}: would prune nothing; use method=dense, or a target above 0")
    optional(config.method.options, "check", config)


def _names_that_take_patterns() -> list[str]:
    facts = {name: METHODS.part(name).facts for name in METHODS.names()}
    return [name for name, own in facts.items() if own.takes_patterns and own.makes_sparse_model]
