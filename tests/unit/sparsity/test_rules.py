"""Targets of their own: which rule speaks of which layer, and that every share loses exactly its own count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet18

from acdc_cli.sparsity import (
    ACDC,
    Allocation,
    AllocationError,
    Layer,
    Pattern,
    Share,
    Timeline,
    excluded,
    magnitude_masks,
    prunable_layers,
    prunable_weights,
    shares_of,
)

CONV, LINEAR = frozenset({"conv", "conv2d"}), frozenset({"linear"})
TOY = {  # 24, 64, 64 and 80 weights
    "stem.weight": Layer(torch.Size([6, 4, 1, 1]), CONV | {"first"}),
    "body.0.weight": Layer(torch.Size([8, 8, 1, 1]), CONV | {"downsample"}),
    "body.1.weight": Layer(torch.Size([8, 8]), LINEAR),
    "head.weight": Layer(torch.Size([10, 8]), LINEAR | {"last"}),
}
STEM, SHORTCUT, MIDDLE, HEAD = TOY


def targets(rules: Mapping[str, object], target: float = 0.9) -> list[object]:
    """What stem, body.0, body.1 and head are asked for; None where they stay dense."""
    shares = shares_of(TOY, Allocation(target, rules=rules))
    of = {name: share.target for share in shares for name in share.names}
    assert len(of) == sum(len(share.names) for share in shares) == len(TOY)
    return [of[name] for name in TOY]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, [0.9, 0.9, 0.9, 0.9]),
        ({"first": 0}, [None, 0.9, 0.9, 0.9]),
        ({"first": 0.0, "last": "0"}, [None, 0.9, 0.9, None]),
        ({"linear": 0.5}, [0.9, 0.9, 0.5, 0.5]),
        ({"conv": 0.5}, [0.5, 0.5, 0.9, 0.9]),
        ({"conv2d": 0.5, "downsample": 0.8}, [0.5, 0.8, 0.9, 0.9]),
        ({"body.*": 0.5}, [0.9, 0.5, 0.5, 0.9]),
        ({"body.?": 0.5}, [0.9, 0.5, 0.5, 0.9]),
        ({"body.1": 0.5}, [0.9, 0.9, 0.5, 0.9]),
        ({"body.1.weight": 0.5}, [0.9, 0.9, 0.5, 0.9]),
        ({"*.weight": 0.5}, [0.5, 0.5, 0.5, 0.5]),
        ({"*.1": 0.5}, [0.9, 0.9, 0.5, 0.9]),
        ({"*": "2:4"}, [Pattern(2, 4)] * 4),
        ({"last": "1:4"}, [0.9, 0.9, 0.9, Pattern(1, 4)]),
    ],
    ids=str,
)
def test_words_kinds_and_name_patterns(rules: dict, expected: list) -> None:
    assert targets(rules) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"linear": 0.5, "last": 0}, [0.9, 0.9, 0.5, None]),
        ({"last": 0, "linear": 0.5}, [0.9, 0.9, 0.5, 0.5]),  # nothing is left for last to say, and it is no error
        ({"*": 0, "head": 0.5}, [None, None, None, 0.5]),
        ({"head": 0.5, "*": 0.2, "stem": 0.3}, [0.3, 0.2, 0.2, 0.2]),
        ({"*": 0, "*.weight": 0.9}, [0.9] * 4),
    ],
    ids=str,
)
def test_the_last_match_wins(rules: dict, expected: list) -> None:
    assert targets(rules) == expected


def test_a_rule_of_the_common_target_is_still_a_share_of_its_own() -> None:
    """Its layers are ranked among themselves, which is what the rule asks for."""
    shares = shares_of(TOY, Allocation(0.5, rules={"linear": 0.5}))
    assert shares == [Share((STEM, SHORTCUT), 0.5), Share((MIDDLE, HEAD), 0.5)]


def test_why_a_layer_stays_dense_is_told_apart() -> None:
    """2:4 fits no stem of three channels; the head is excluded by rule."""
    layers = TOY | {STEM: Layer(torch.Size([6, 3, 1, 1]), TOY[STEM].words)}
    shares = shares_of(layers, Allocation("2:4", rules={"last": 0}))
    assert (excluded(shares, "indivisible"), excluded(shares, "rule")) == ([STEM], [HEAD])
    assert sorted(excluded(shares)) == sorted([STEM, HEAD])


def test_excluding_by_rule_silences_indivisible_error() -> None:
    layers = {"first": Layer(torch.Size([8, 3])), "second": Layer(torch.Size([8, 8]))}
    for allocation in (Allocation("2:4", indivisible="error"), Allocation(0.5, block=(4, 4), indivisible="error")):
        with pytest.raises(AllocationError, match="first"):
            shares_of(layers, allocation)
        assert excluded(shares_of(layers, Allocation.of(allocation, rules={"first*": 0})), "rule") == ["first"]


def test_common_target_zero_excludes_nothing() -> None:
    """0 in a rule means hands off, 0 for all means that nothing is removed: the layers still count as pruned."""
    assert targets({}, target=0) == [0.0] * 4
    assert targets({"first": 0}, target=0) == [None, 0.0, 0.0, 0.0]


class TestRefused:
    @pytest.mark.parametrize(
        ("rule", "hint"),
        [
            ("frist", "did you mean first?"),
            ("downsampel", "did you mean downsample?"),
            ("bodi.1", "did you mean body.1?"),
            ("xyzzy", "words that match here: first, last, downsample, linear, conv, conv2d; layers: stem to head"),
            ("conv1d", "did you mean conv2d?"),
            ("embedding", "no layer of this model has that word; drop the rule, or name layers by a pattern; "),
            ("depthwise", "no layer of this model has that word; drop the rule, or name layers by a pattern; "),
            ("First", "did you mean first?"),
            ("atention", "did you mean attention? No layer of this model has that word; words that match here: first"),
            ("recurent", "did you mean recurrent? No layer of this model has that word; words that match here: first"),
            ("embeddings", "did you mean embedding? No layer of this model has that word; "),
            ("transpose", "did you mean transposed? No layer of this model has that word; "),
            ("lasst", "did you mean last?"),
            ("Head", "did you mean head?"),
            ("body", "did you mean body.*?"),
            ("bod.*", "did you mean body.*?"),
            ("", "layers: stem to head"),
        ],
    )
    def test_a_rule_that_speaks_of_no_layer(self, rule: str, hint: str) -> None:
        with pytest.raises(AllocationError) as refused:
            targets({rule: 0.5})
        assert str(refused.value).startswith(f"{rule}: matches no layer; ")
        assert hint in str(refused.value)

    def test_even_beside_rules_that_do(self) -> None:
        with pytest.raises(AllocationError, match="layer9"):
            targets({"first": 0, "layer9.*": 0, "last": 0})

    @pytest.mark.parametrize("rules", [{"*": 0}, {"linear": 0, "conv": 0}, {"head": 0.5, "*": 0}], ids=str)
    def test_rules_that_leave_nothing(self, rules: dict) -> None:
        with pytest.raises(AllocationError, match="exclude every layer"):
            targets(rules)

    @pytest.mark.parametrize("target", [1, 1.5, -0.1, "4:2", "dense", True, None, [0.5], {"a": 1}], ids=str)
    def test_a_wrong_target_is_named_with_its_rule(self, target: object) -> None:
        with pytest.raises(AllocationError, match=r"^first: "):
            Allocation(0.9, rules={"first": target})

    def test_a_floor_above_what_a_rule_leaves(self) -> None:
        with pytest.raises(AllocationError, match="min_layer_density"):
            shares_of(TOY, Allocation(0.5, min_layer_density=0.2, rules={"last": 0.9}))

    def test_a_model_without_layers(self) -> None:
        for rules in ({}, {"first": 0}):
            with pytest.raises(AllocationError, match="no linear, convolution, attention or recurrent layer"):
                shares_of(prunable_layers(nn.ReLU()), Allocation(0.9, rules=rules))


SPREADS = {
    "global": {},
    "uniform": {"distribution": "uniform"},
    "erk": {"distribution": "erk"},
    "blocks": {"block": (2, 2)},
    "uniform blocks": {"distribution": "uniform", "block": (1, 4)},
    "erk blocks": {"distribution": "erk", "block": (2, 4)},
    "floor": {"min_layer_density": 0.05},
}


@pytest.mark.parametrize("spread", SPREADS)
def test_every_share_loses_exactly_its_count(spread: str) -> None:
    """Stem dense; body.0 at 0.77 of 64; head at 2:4; body.1 and tail (64 + 96) at 0.6, all together or each."""
    layers = TOY | {"tail.weight": Layer(torch.Size([12, 8]), LINEAR)}
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(layer.shape, generator=generator).mul(2).round() for name, layer in layers.items()}
    allocation = Allocation(0.6, rules={"first": 0, "downsample": 0.77, "last": "2:4"}, **SPREADS[spread])
    masks = magnitude_masks(weights, allocation, shares_of(layers, allocation))
    removed = {name: int((~mask).sum()) for name, mask in masks.items()}
    assert list(masks) == list(layers)
    assert (removed[STEM], removed[SHORTCUT], removed[HEAD]) == (0, 49, 40)
    assert removed[MIDDLE] + removed["tail.weight"] == 96
    if "uniform" in spread:
        assert removed[MIDDLE] == 38  # round(38.4), and round(57.6)


def test_shares_do_not_compete() -> None:
    """Layers of a rule keep their share however small their weights are; the others are ranked without them."""
    weights = {"a": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "b": torch.tensor([[0.1, 0.2, 0.3, 0.4]])}
    weights["c"] = torch.tensor([[10.0, 20.0, 0.5, 0.6]])
    masks = magnitude_masks(weights, Allocation(0.5, rules={"b": 0.25}))
    assert {name: mask.int()[0].tolist() for name, mask in masks.items()} == {
        "a": [0, 0, 1, 1],
        "b": [0, 1, 1, 1],
        "c": [1, 1, 0, 0],
    }


def test_a_pattern_for_one_layer_among_fractions() -> None:
    weights = {"a": torch.tensor([[9.0, 8.0, 7.0, 6.0]]), "b": torch.tensor([[4.0, 3.0, 2.0, 1.0]])}
    masks = magnitude_masks(weights, Allocation(0.25, rules={"a": "2:4"}))
    assert [mask.int()[0].tolist() for mask in masks.values()] == [[1, 1, 0, 0], [1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("build", "word"),
    [(resnet18, "first"), (resnet18, "last"), (resnet18, "downsample"), (mobilenet_v2, "depthwise")],
)
def test_words_on_real_models_exclude_and_count(build: Callable, word: str) -> None:
    torch.manual_seed(0)
    model = build()
    layers, weights = prunable_layers(model), prunable_weights(model)
    named = {name for name, layer in layers.items() if word in layer.words}
    assert named
    for target_of_word in (0, 0.3):
        allocation = Allocation(0.9, rules={word: target_of_word})
        masks = magnitude_masks(weights, allocation, shares_of(layers, allocation))
        of_word = sum(prod(layers[name].shape) for name in named)
        of_others = sum(prod(layer.shape) for layer in layers.values()) - of_word
        assert sum(int((~masks[name]).sum()) for name in named) == round(target_of_word * of_word)
        assert sum(int((~masks[name]).sum()) for name in set(masks) - named) == round(0.9 * of_others)


@pytest.mark.parametrize("tied", [False, True])
def test_a_table_is_pruned_on_request_and_never_counted(tied: bool) -> None:
    """Half of 12 x 8; the linear layers, 64 and (untied) 96, lose a quarter each."""
    model = nn.ModuleDict({"table": nn.Embedding(12, 8), "inner": nn.Linear(8, 8), "head": nn.Linear(8, 12)})
    if tied:
        model["head"].weight = model["table"].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    allocation = Allocation(0.25, "uniform", rules={"embedding": 0.5})
    method = ACDC(Timeline.of([["dense", 0, 1], ["sparse", 1, 2]]), allocation).attach(model, optimizer)
    method.begin_epoch(0)
    method.begin_epoch(1)
    zeros = {name: int((layer.weight == 0).sum()) for name, layer in model.items()}
    assert zeros == {"table": 48, "inner": 16, "head": 48 if tied else 24}
    assert list(prunable_weights(model)) == (["inner.weight"] if tied else ["inner.weight", "head.weight"])


@pytest.mark.parametrize(
    ("rules", "shares"),
    [
        ({}, [(("inner.weight",), 0.5)]),
        ({"*": 0.25}, [(("inner.weight",), 0.25)]),
        ({"linear": 0.25}, [(("inner.weight",), 0.25)]),
        ({"embedding": 0.25}, [(("inner.weight",), 0.5), (("table.weight",), 0.25)]),
        ({"table": 0.25}, [(("inner.weight",), 0.5), (("table.weight",), 0.25)]),
        ({"head": 0.25}, [(("inner.weight",), 0.5), (("table.weight",), 0.25)]),
        ({"last": 0.25}, [(("inner.weight",), 0.5), (("table.weight",), 0.25)]),
        ({"last": 0}, [(("inner.weight",), 0.5), (("table.weight",), None)]),
    ],
    ids=str,
)
def test_a_tied_table_is_dense_unless_a_rule_names_it(rules: dict, shares: list) -> None:
    """By the word, by either of its names, or as the last layer, which it is."""
    model = nn.ModuleDict({"table": nn.Embedding(12, 8), "inner": nn.Linear(8, 8), "head": nn.Linear(8, 12)})
    model["head"].weight = model["table"].weight
    found = shares_of(prunable_layers(model, embeddings=True), Allocation(0.5, rules=rules))
    assert [(share.names, share.target) for share in found] == shares


def test_without_the_word_a_table_is_not_touched() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(12, 8), "head": nn.Linear(8, 12)})
    allocation = Allocation(0.5, rules={"*": 0.25})
    layers = prunable_layers(model, embeddings=True)
    assert [share.names for share in shares_of(layers, allocation)] == [("head.weight",)]
    by_name = shares_of(layers, Allocation(0.5, rules={"table": 0.25}))
    assert [(share.names, share.target) for share in by_name] == [(("head.weight",), 0.5), (("table.weight",), 0.25)]
