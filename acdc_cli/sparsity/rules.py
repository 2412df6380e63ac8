"""Rules give some layers a target of their own; all other layers have the allocation's target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from acdc_cli.sparsity.layer import WHAT_IS_PRUNABLE, WORDS, Layer
from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout
from acdc_cli.sparsity.target import AllocationError, Target, parse_target

LEAST_LIKENESS = 0.5  # a suggestion is spelt at least this much like the rule, in [0, 1]; see difflib


@dataclass(frozen=True)
class Share:
    """Layers that have one target together. A global ranking ranks the weights of one share, not across shares.

    Attributes:
        names: names of the weights, in model order.
        target: fraction or N:M pattern that is removed; None if the layers stay dense.
        why_dense: ``"rule"``, ``"indivisible"`` or ``"frozen"`` if the target is None, else empty.
        layouts: layouts of the weights that are not stored outputs first, by name.
    """

    names: tuple[str, ...]
    target: Target | None
    why_dense: str = ""
    layouts: Mapping[str, Layout] = field(default_factory=dict, hash=False)

    def layout(self, name: str) -> Layout:
        """Return the layout in which a weight of the share is stored."""
        return self.layouts.get(name, OUTPUTS_FIRST)


def parse_rules(rules: Mapping[str, object] | None) -> dict[str, Target]:
    """Parse the targets of rules such as ``{"first": 0, "layer1.*": "2:4"}``.

    Raises:
        AllocationError: naming a rule whose target cannot be parsed.
    """
    parsed = {}
    for rule, target in (rules or {}).items():
        try:
            parsed[str(rule)] = parse_target(target)
        except AllocationError as error:
            raise AllocationError(f"{rule}: {error}") from None
    return parsed


def share_out(layers: Mapping[str, Layer], target: Target, rules: Mapping[str, Target]) -> list[Share]:
    """Group the layers by the rule that matches them. If several rules match a layer, the last one applies.

    A rule is one of ``WORDS``, or a pattern that is matched against the name of the layer or of its weight; ``*`` and
    ``?`` stand for any characters. An embedding is matched only by the word ``embedding``, by its own name without
    ``*`` and ``?``, or by the name of a layer that shares its weight. An embedding that no rule matches is in no share,
    because it is not a prunable weight.

    Raises:
        AllocationError: if there are no layers, a rule matches none, or the rules exclude all of them.
    """
    if not layers:
        raise AllocationError(f"the model has no {WHAT_IS_PRUNABLE} layer, so nothing could be pruned")
    rule_of: dict[str, str | None] = dict.fromkeys(layers)
    for rule in rules:
        matched = [name for name, layer in layers.items() if _speaks_of(rule, name, layer)]
        if not matched:
            raise AllocationError(f"{rule}: matches no layer; {_hint(rule, layers)}")
        rule_of |= dict.fromkeys(matched, rule)
    shares = []
    for rule_or_none in (None, *rules):
        names = tuple(
            name
            for name, layer in layers.items()
            if rule_of[name] == rule_or_none and (rule_or_none is not None or not layer.is_embedding)
        )
        its_target = target if rule_or_none is None else rules[rule_or_none]
        excluded = rule_or_none is not None and its_target == 0
        if names:
            layouts = {name: layers[name].layout for name in names if layers[name].layout != OUTPUTS_FIRST}
            shares.append(Share(names, None if excluded else its_target, "rule" if excluded else "", layouts))
    if all(share.target is None for share in shares):
        raise AllocationError("the rules exclude every layer, so nothing would be pruned")
    return shares


def _speaks_of(rule: str, name: str, layer: Layer) -> bool:
    if rule in WORDS:
        return rule in layer.words
    if layer.is_embedding and not {"*", "?", "["}.isdisjoint(rule):
        return False  # a pattern meant for other layers must not prune embeddings by accident
    names = (name, *layer.aliases)
    return any(fnmatchcase(each, rule) or fnmatchcase(each.removesuffix(".weight"), rule) for each in names)


def _hint(rule: str, layers: Mapping[str, Layer]) -> str:
    """Return a hint for a rule that matches no layer: the nearest word, layer or group, and the possible choices."""
    words = sorted({word for layer in layers.values() for word in layer.words}, key=WORDS.index)
    names = [name.removesuffix(".weight") for name in layers]
    groups = {f"{module}.*": None for name in names for module in _modules_around(name)}
    absent = [] if rule in WORDS else [word for word in WORDS if word not in words]
    spelt = {choice.lower(): choice for choice in reversed([*words, *names, *groups, *absent])}
    close = [f"{rule}.*"] if f"{rule}.*" in groups else get_close_matches(rule.lower(), spelt, 1, LEAST_LIKENESS)
    hints = []
    if rule in WORDS:
        hints.append("no layer of this model has that word; drop the rule, or name layers by a pattern")
    if close:
        meant = spelt.get(close[0], close[0])
        hints.append(f"did you mean {meant}?" + (" No layer of this model has that word" if meant in absent else ""))
    listed = f"words that match here: {', '.join(words)}; layers: {names[0]} to {names[-1]}"
    return "; ".join([*hints, listed])


def _modules_around(layer: str) -> list[str]:
    """Return the modules that contain a layer, innermost first: layer1.0 and layer1 for layer1.0.conv1."""
    return [layer[:end] for end in range(len(layer) - 1, 0, -1) if layer[end] == "."]


def excluded(shares: list[Share], why: str | None = None) -> list[str]:
    """Return the names of the weights that stay dense, or only those that do so for the reason ``why``."""
    return [name for share in shares if share.target is None and why in (None, share.why_dense) for name in share.names]
