"""The options of the group ``sparsity`` and its rules, as typed: counts by hand, ids, one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import run_id
from acdc_cli.planning.settle import settle

OPTIONS = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "conf" / "sparsity").glob("*.yaml"))
# ResNet-8 of width 32 on 8x8 grey digits: conv1 32x1x3x3, three stages of two 3x3 convolutions, fc 10x128.
LAYERS = {
    "conv1": 32 * 1 * 9,
    "layer1.0.conv1": 32 * 32 * 9,
    "layer1.0.conv2": 32 * 32 * 9,
    "layer2.0.conv1": 64 * 32 * 9,
    "layer2.0.conv2": 64 * 64 * 9,
    "layer3.0.conv1": 128 * 64 * 9,
    "layer3.0.conv2": 128 * 128 * 9,
    "fc": 10 * 128,
}
ALL = sum(LAYERS.values())
INNER = ALL - LAYERS["conv1"] - LAYERS["fc"]  # also the layers whose channels 4 divides on both sides
EACH = sum(round(0.9 * count) for count in LAYERS.values())
EACH_INNER = EACH - round(0.9 * LAYERS["conv1"]) - round(0.9 * LAYERS["fc"])


def id_of(*typed: str) -> str:
    return run_id(settle(compose_config(list(typed)), lambda line: None))


def planned(acdc_train: Callable, typed: str) -> dict[str, Any]:
    outcome = acdc_train("plan=true", "model=resnet8", *typed.split())
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_the_counts_by_hand() -> None:
    assert (ALL, INNER) == (296_480, 294_912)
    assert EACH_INNER == 8294 + 8294 + 16_589 + 33_178 + 66_355 + 132_710  # 8294.4, 16588.8, 33177.6, 66355.2, 132710.4


PLANS = {  # typed -> removed, of how many pruned, distribution, what stays dense
    "sparsity=global": (round(0.9 * ALL), ALL, "global", []),
    "sparsity=uniform": (EACH, ALL, "uniform", []),
    "sparsity=erk": (round(0.9 * ALL), ALL, "erk", []),
    "sparsity=block": (round(0.9 * INNER), INNER, "global", ["conv1", "fc"]),
    "sparsity=uniform_first_last_dense": (EACH_INNER, INNER, "uniform", ["conv1", "fc"]),
    "sparsity=2:4": ((ALL - 288) // 2, ALL - 288, "global", ["conv1"]),
    "sparsity=1:4": ((ALL - 288) // 4 * 3, ALL - 288, "global", ["conv1"]),
    "sparsity=3:8 sparsity.rules={last:0}": (INNER // 8 * 5, INNER, "global", ["conv1", "fc"]),
    "sparsity=2:4 sparsity.indivisible=flatten": (ALL // 2, ALL, "global", []),
    "sparsity=erk sparsity.rules={first:0,last:0}": (round(0.9 * INNER), INNER, "erk", ["conv1", "fc"]),
    "sparsity=block sparsity.block=[1,2]": (round(0.9 * (ALL - 288)), ALL - 288, "global", ["conv1"]),
    "sparsity=block sparsity.block=[8,8] sparsity.target=0.5": (INNER // 2, INNER, "global", ["conv1", "fc"]),
    "sparsity=uniform sparsity.rules={linear:0.5,first:0}": (EACH_INNER + 640, INNER + 1280, "uniform", ["conv1"]),
    "sparsity.rules={layer1.*:0}": (
        round(0.9 * (ALL - 18_432)), ALL - 18_432, "global", ["layer1.0.conv1", "layer1.0.conv2"]
    ),
    "sparsity.rules={fc:2:4}": (round(0.9 * (ALL - 1280)) + 640, ALL, "global", []),
    "sparsity.rules={layer?.0.conv2.weight:0.5,last:0}": (
        round(0.9 * (ALL - 1280 - 193_536)) + 193_536 // 2, ALL - 1280, "global", ["fc"]
    ),
    "sparsity=0 sparsity.min_layer_density=0": (0, ALL, "global", []),
}  # fmt: skip


def test_every_option_is_planned_here() -> None:
    assert {f"sparsity={option}" for option in OPTIONS} <= {typed.split()[0] for typed in PLANS}


@pytest.mark.parametrize("typed", PLANS)
def test_the_plan_agrees_with_hand_computation(typed: str, acdc_train: Callable) -> None:
    removed, pruned, distribution, dense = PLANS[typed]
    plan = planned(acdc_train, typed)
    assert plan["prunable_weights"] == ALL
    assert plan["nonzero_weights"] == ALL - removed
    assert plan["sparsity"] == pytest.approx(removed / ALL, abs=1e-12)
    assert plan["sparsity_of_pruned_layers"] == pytest.approx(removed / pruned, abs=1e-12)
    assert plan["stay_dense"] == [f"{name}.weight" for name in dense]
    assert plan["distribution"] == distribution


def test_uniform_first_last_dense_in_numbers(acdc_train: Callable) -> None:
    plan = planned(acdc_train, "sparsity=uniform_first_last_dense")
    assert (plan["nonzero_weights"], plan["prunable_weights"]) == (31_060, 296_480)
    assert plan["sparsity"] == pytest.approx(0.89523745, abs=1e-8)
    assert plan["sparsity_of_pruned_layers"] == pytest.approx(0.89999729, abs=1e-8)


class TestIdentity:
    def test_what_is_typed_in_other_words_is_the_same_run(self) -> None:
        assert id_of("sparsity.rules={first:0,last:0}") == id_of("sparsity.rules=[[first,0],[last,0]]")
        assert id_of("sparsity.rules={first:0}") == id_of("sparsity.rules={first:0.0}")
        assert id_of("sparsity.rules={last:2:4}") == id_of("sparsity.rules={last:'2:4'}")
        assert id_of("sparsity.rules={}") == id_of("sparsity.rules=null") == id_of()
        written_out = id_of("sparsity=uniform", "sparsity.rules={first:0,last:0}")
        assert written_out == id_of("sparsity=uniform_first_last_dense")

    def test_the_order_of_rules_is_part_of_the_run(self) -> None:
        """The last match wins: fc at 0.5, or excluded."""
        assert id_of("sparsity.rules={last:0,linear:0.5}") != id_of("sparsity.rules={linear:0.5,last:0}")

    def test_the_order_decides_what_is_pruned(self, acdc_train: Callable) -> None:
        assert planned(acdc_train, "sparsity.rules={last:0,linear:0.5}")["stay_dense"] == []
        assert planned(acdc_train, "sparsity.rules={linear:0.5,last:0}")["stay_dense"] == ["fc.weight"]

    def test_every_choice_is_a_run_of_its_own(self) -> None:
        typed = ["", "sparsity.rules={first:0}", "sparsity.rules={first:0.5}", "sparsity.rules={last:0}"]
        typed += ["sparsity.block=[4,4]", "sparsity.block=[1,4]", "sparsity.distribution=erk"]
        assert len({id_of(*words.split()) for words in typed}) == len(typed)


BAD = {
    "sparsity.rules={frist:0}": ["sparsity.rules", "frist", "did you mean first?"],
    "sparsity.rules={layer9.*:0}": ["sparsity.rules", "layer9.*", "matches no layer", "conv1 to fc"],
    "sparsity.rules={depthwise:0}": ["sparsity.rules", "depthwise", "first, last, linear, conv, conv2d"],
    "sparsity.rules={layr2.0.conv1:0}": ["sparsity.rules", "layr2.0.conv1", "did you mean layer2.0.conv1?"],
    "sparsity.rules={first:1.5}": ["sparsity.rules", "first: 1.5", "[0, 1)", "0.99"],
    "sparsity.rules={first:4:2}": ["sparsity.rules", "first: 4:2", "2:4"],
    "sparsity.rules={first:true}": ["sparsity.rules", "first", "2:4"],
    "sparsity.rules={first:null}": ["sparsity.rules", "first", "2:4"],
    "sparsity.rules=3": ["sparsity.rules=3", "{first:0,last:0}"],
    "sparsity.rules=first": ["sparsity.rules=first", "{first:0,last:0}"],
    "sparsity.rules.first=0": ["sparsity.rules.first=0", "sparsity.rules={first:0}"],
    "+sparsity.rules.first=0": ["sparsity.rules.first=0", "sparsity.rules={first:0}"],
    "sparsity.rules={*:0}": ["sparsity.rules", "exclude every layer"],
    "sparsity.rules={conv:3:7,linear:3:7}": ["sparsity.rules", "divisible by 7"],
    "sparsity.rule={first:0}": ["sparsity.rule=", "sparsity.rules="],
    "sparsity.block=[4]": ["sparsity.block=[4]", "[4, 4]", "[1, 4]"],
    "sparsity.block=[0,4]": ["sparsity.block=[0, 4]", "[4, 4]", "[1, 4]"],
    "sparsity.block=[4,x]": ["sparsity.block", "x", "whole number"],
    "sparsity.block=4": ["sparsity.block=4", "list"],
    "sparsity.block=[5,7]": ["sparsity.block=[5, 7]", "5x7"],
    "sparsity=block sparsity.indivisible=flatten": ["sparsity.block=[4, 4]", "flatten", "indivisible=skip"],
    "sparsity=block sparsity.indivisible=error": ["4x4", "conv1.weight, fc.weight", "indivisible=skip"],
    "sparsity=2:4 sparsity.indivisible=error": ["sparsity.target=2:4", "conv1.weight", "indivisible=skip"],
    "sparsity=2:128 sparsity.indivisible=flatten": ["sparsity.target=2:128", "128", "conv1.weight"],
    "sparsity=2:4 sparsity.indivisible=eror": ["sparsity.indivisible=eror", "sparsity.indivisible=error"],
    "sparsity=uniform sparsity.min_layer_density=0.5": ["sparsity.min_layer_density=0.5", "0.1"],
    "sparsity=erk sparsity.min_layer_density=0.09": ["min_layer_density", "layer3.0.conv2.weight"],
    "sparsity.distribution=erdos": ["sparsity.distribution=erdos", "global, uniform, erk"],
    "sparsity=blok": ["sparsity=blok", "sparsity=block"],
    "sparsity.min_layer_density=0.05 sparsity.rules={last:0.99}": ["min_layer_density"],
}


@pytest.mark.parametrize("typed", BAD)
def test_what_cannot_be_is_one_line_and_exit_code_2(typed: str, acdc_train: Callable, tmp_path: Path) -> None:
    outcome = acdc_train("plan=true", "model=resnet8", *typed.split(" "))
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert outcome.err.startswith("acdc-train: error: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert [part for part in BAD[typed] if part not in outcome.err] == [], outcome.err
    assert list(tmp_path.iterdir()) == []


def test_typed_rules_replace_those_of_a_file() -> None:
    config = compose_config(["sparsity=uniform_first_last_dense", "sparsity.rules={conv:0.5}"])
    assert config.sparsity.rules == [["conv", 0.5]]


def test_n_of_m_keeps_the_distribution_that_a_fraction_beside_it_needs() -> None:
    typed = ["sparsity=uniform", "sparsity.target=2:4"]
    assert compose_config([*typed, "sparsity.rules={fc:0.7}"]).sparsity.distribution == "uniform"
    assert compose_config([*typed, "sparsity.rules={fc:0}"]).sparsity.distribution == "global"


def test_a_rule_is_checked_before_the_data_is_looked_for(acdc_train: Callable) -> None:
    outcome = acdc_train("dataset=cifar10", "sparsity.rules={frist:0}")
    assert (outcome.code, "frist" in outcome.err) == (2, True), outcome.err
