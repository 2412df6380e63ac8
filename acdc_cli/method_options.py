"""The keys of ``method``: those it reads, and what goes with it."""

from __future__ import annotations

from dataclasses import fields

from acdc_cli.config.schema import (
    DECIDES_SPARSITY,
    OFF_WHEN_NULL,
    READ_BY_METHOD,
    READ_DENSE_RUN,
    SET_BY_MACHINE,
    Config,
    known,
)
from acdc_cli.errors import BadInput
from acdc_cli.sparsity.target import Pattern

WITHIN_LAYERS = ("rigl", "set")  # move single connections within a layer, so that no block or group would stay whole
DSD_EPOCHS = 3  # a phase has at least one


def resolve_method(config: Config) -> None:
    """Empty the keys that the method does not read: they are no part of the run, nor of its id.

    Raises:
        BadInput: if one that it does read has no value.
    """
    method = config.method
    either = _either_interval(config)
    read = () if config.masks == "from_weights" else READ_BY_METHOD[method.name]
    for key in (field.name for field in fields(method) if field.name != "name"):
        if key not in read:
            setattr(method, key, None)
        elif getattr(method, key) is None and key not in (*SET_BY_MACHINE, *OFF_WHEN_NULL, *either):
            raise BadInput(
                f"method.{key}=null: method={method.name} needs a value; conf/method/{method.name}.yaml has one"
            )
    if method.name not in READ_DENSE_RUN:
        config.dense_run = None
    if method.start is not None and method.end is not None and method.start > method.end:
        raise BadInput(
            f"method.start={method.start}: after method.end={method.end}; nearest: method.start={method.end}"
        )


def _either_interval(config: Config) -> tuple[str, ...]:
    """The keys of which a method needs one: gmp prunes every so many steps, or every so many epochs.

    Raises:
        BadInput: if both have a value.
    """
    method = config.method
    if method.name != "gmp":
        return ()
    if method.interval_steps is not None and method.interval_epochs is not None:
        raise BadInput(
            f"method.interval_epochs={method.interval_epochs}: beside method.interval_steps={method.interval_steps}, "
            "which says it in steps; make one of them null"
        )
    return ("interval_epochs",) if method.interval_epochs is None else ("interval_steps",)


def resolve_spread(config: Config) -> None:
    """Give a method that works layer by layer a distribution that does; RigL's uniform keeps the first layer dense.

    One threshold for all layers, sparse_vd's, is a global ranking.

    Called when the sparsity's own keys are resolved.
    """
    method, sparsity = config.method, config.sparsity
    if method.layerwise is not None and sparsity.distribution == "global" and not _has_pattern(config):
        sparsity.distribution = method.layerwise
    if method.name == "str":  # learns its own: only what the rules leave dense is read
        sparsity.distribution, sparsity.min_layer_density, sparsity.indivisible = "global", 0.0, "skip"
    if method.name == "sparse_vd":
        sparsity.distribution = "global"
    ruled = [rule for rule, _ in sparsity.rules or []]
    if method.name in WITHIN_LAYERS and sparsity.distribution == "uniform" and "first" not in ruled:
        sparsity.rules = [["first", 0.0], *(sparsity.rules or [])]


def check_method(config: Config) -> None:
    """Raise BadInput for a combination that the method cannot do."""
    method, sparsity, name = config.method, config.sparsity, config.method.name
    is_gradual = name == "woodfisher" and method.start != method.end
    if (is_gradual or name in ("gmp", "top_kast", "sparse_vd", "str", *WITHIN_LAYERS)) and _has_pattern(config):
        raise BadInput(
            f"sparsity.target={sparsity.target} method={name}: N:M is for acdc, dsd, iht, static, snip, magnitude and "
            "one-shot woodfisher; use a fraction, such as 0.5"
        )
    if name in ("sparse_vd", "str", *WITHIN_LAYERS) and sparsity.block is not None:
        raise BadInput(f"sparsity.block={sparsity.block}: method={name} moves single weights; use sparsity.block=null")
    if name in DECIDES_SPARSITY and (own := {rule: target for rule, target in sparsity.rules or [] if target != 0}):
        rule, target = next(iter(own.items()))
        raise BadInput(
            f"sparsity.rules={{{rule}:{target}}}: method={name} learns how sparse each layer gets; a rule can "
            f"leave one dense: {{{rule}:0}}"
        )
    targets = [own for own in [sparsity.target, *(own for _, own in sparsity.rules or [])] if own]
    if not targets and name not in ("acdc", "dense", *DECIDES_SPARSITY) and config.masks != "from_weights":
        raise BadInput(f"sparsity.target=0.0 method={name}: would prune nothing; use method=dense, or a target above 0")
    if name == "top_kast" and known(method.backward_sparsity) > (least := min(map(float, targets))):
        raise BadInput(
            f"method.backward_sparsity={method.backward_sparsity}: above the forward sparsity {least}; what is "
            f"updated has to hold what is used; nearest: method.backward_sparsity={least}"
        )
    if (is_gradual or name == "gmp") and known(method.initial_sparsity) > (least := min(map(float, targets))):
        raise BadInput(
            f"method.initial_sparsity={method.initial_sparsity}: above the final sparsity {least}, and what is pruned "
            f"never comes back; nearest: method.initial_sparsity={least}"
        )
    if name == "dsd" and config.epochs is not None and config.epochs < DSD_EPOCHS:
        raise BadInput(f"epochs={config.epochs}: dsd has three phases; nearest: epochs={DSD_EPOCHS}")


def _has_pattern(config: Config) -> bool:
    targets = [config.sparsity.target, *(own for _, own in config.sparsity.rules or [])]
    return any(isinstance(target, (str, Pattern)) for target in targets)
