"""Published numbers that hold without ImageNet: counts, FLOPs, closed-form fractions, the ledger's totals.

Every expected value is printed in the papers, in the tables collected from them (reference/acdc_tables.csv) or in
design.md, "Published facts that must come out right", or is computed here by hand from the architecture.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import torch
from helpers.support import Command
from torch import nn

from acdc_cli import ACDC
from acdc_cli.config.compose import compose_config
from acdc_cli.config.schedule import timeline_of
from acdc_cli.measure.flops import (
    LayerSize,
    closed_form_train_fraction,
    inference_flops,
    layer_sizes,
    nonzeros,
    step_flops,
)
from acdc_cli.models.build import build_model
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.sparsity import Allocation, Dense, Timeline, prunable_layers
from acdc_cli.sparsity.allocate import closed_form_nonzeros

FIRST_AND_LAST_DENSE = {"first": 0.0, "last": 0.0}
RULES = "sparsity.rules={first:0,last:0}"


@cache
def model_of(name: str, channels: int = 3, classes: int = 1000) -> nn.Module:
    """Its shapes; the weights have no values."""
    with torch.device("meta"):
        return build_model(compose_config([f"model={name}"]).model, ImageInputs(channels, 32, 32, classes))


@cache
def sizes_of(name: str) -> dict[str, LayerSize]:
    return layer_sizes(model_of(name), (3, 224, 224))


def schedule(option: str) -> Timeline:
    return timeline_of(compose_config([f"schedule={option}"]))


def planned(program: Command, *typed: str) -> dict[str, Any]:
    done = program("plan=true", *typed)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ----------------------------------------------------------------------------------------------------- counts and FLOPs


def resnet50_by_hand() -> list[tuple[int, int]]:
    """(weights, output positions) of every layer: He et al. 2016, table 1, with the stride on the 3x3 convolution."""
    layers, channels = [(7 * 7 * 3 * 64, 112**2)], 64
    for width, blocks, size in ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)):
        for block in range(blocks):
            before = (2 * size) ** 2 if block == 0 and width > 64 else size**2
            layers += [(channels * width, before), (9 * width * width, size**2), (width * 4 * width, size**2)]
            layers += [(channels * 4 * width, size**2)] if block == 0 else []
            channels = 4 * width
    return [*layers, (2048 * 1000, 1)]


def mobilenet_v1_by_hand() -> list[tuple[int, int]]:
    """(weights, output positions) of every layer: Howard et al. 2017, table 1."""
    layers, channels, size = [(3 * 3 * 3 * 32, 112**2)], 32, 112
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for outputs, stride in blocks:
        size //= stride
        layers += [(9 * channels, size**2), (channels * outputs, size**2)]
        channels = outputs
    return [*layers, (1024 * 1000, 1)]


BY_HAND = {"resnet50": resnet50_by_hand, "mobilenet_v1": mobilenet_v1_by_hand}
WEIGHTS = {"resnet50": 25_502_912, "mobilenet_v1": 4_209_088}
# Dense multiply-adds as STR's README prints them, beside which paper 1's tables compare: 4.09G and 569M.
DENSE_FLOPS = {"resnet50": (8.178e9, 0.5e6), "mobilenet_v1": (2 * 569e6, 1e6)}


@pytest.mark.parametrize("name", BY_HAND)
def test_counts_and_dense_flops(name: str) -> None:
    by_hand = BY_HAND[name]()
    assert sum(weights for weights, _ in by_hand) == WEIGHTS[name]
    sizes = sizes_of(name)
    assert sorted((size.weights, size.output_positions) for size in sizes.values()) == sorted(by_hand)
    flops, tolerance = DENSE_FLOPS[name]
    assert inference_flops(sizes) == sum(2 * weights * positions for weights, positions in by_hand)
    assert inference_flops(sizes) == pytest.approx(flops, abs=tolerance)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_plan_says_the_same(name: str, program: Command) -> None:
    plan = planned(program, f"model={name}", "sparsity=0.9")
    assert plan["prunable_weights"] == WEIGHTS[name]
    assert plan["dense_inference_flops"] == sum(2 * weights * positions for weights, positions in BY_HAND[name]())
    assert (plan["dataset"], plan["epochs"], plan["distribution"]) == ("imagenet", 100, "global")
    assert plan["sparse_epochs"] == 50


def test_resnet20_has_268336_prunable_weights(program: Command) -> None:
    stages = [3 * 16 * 9, 6 * 16 * 16 * 9, (16 + 5 * 32) * 32 * 9, (32 + 5 * 64) * 64 * 9, 64 * 10]
    assert sum(stages) == 268_336
    assert planned(program, "model=resnet20")["prunable_weights"] == 268_336


# ------------------------------------------------------------------------------------------------ closed-form fractions

INFERENCE = {0.8: 0.2235, 0.9: 0.1264, 0.95: 0.0779}  # ResNet50, uniform, first and last layer dense
TRAINING = [
    ("imagenet_100", 0.9, 0.563),
    ("imagenet_100", 0.95, 0.539),
    ("imagenet_100_dense_2", 0.9, 0.406),
    ("imagenet_100_dense_2", 0.95, 0.373),
]


def uniform_fraction(target: float) -> float:
    allocation = Allocation(target, "uniform", rules=FIRST_AND_LAST_DENSE)
    left = closed_form_nonzeros(prunable_layers(model_of("resnet50")), allocation)
    return inference_flops(sizes_of("resnet50"), left) / inference_flops(sizes_of("resnet50"))


@pytest.mark.parametrize("target", INFERENCE)
def test_uniform_inference_fractions(target: float, program: Command) -> None:
    assert uniform_fraction(target) == pytest.approx(INFERENCE[target], abs=0.001)
    plan = planned(program, "model=resnet50", "sparsity=uniform", f"sparsity.target={target}", RULES)
    assert plan["inference_flops_fraction"] == pytest.approx(INFERENCE[target], abs=0.001)
    assert plan["stay_dense"] == ["conv1.weight", "fc.weight"]


@pytest.mark.parametrize(("option", "target", "fraction"), TRAINING)
def test_uniform_training_fractions(option: str, target: float, fraction: float, program: Command) -> None:
    timeline = schedule(option)
    closed = closed_form_train_fraction(uniform_fraction(target), timeline.sparse_epochs, timeline.total_epochs)
    assert closed == pytest.approx(fraction, abs=0.001)
    plan = planned(
        program, "model=resnet50", "sparsity=uniform", f"sparsity.target={target}", RULES, f"schedule={option}"
    )
    assert plan["train_flops_fraction"] == pytest.approx(fraction, abs=0.001)


def test_the_option_for_the_papers_uniform_rows_is_those_rules(program: Command) -> None:
    typed = planned(program, "model=resnet50", "sparsity=uniform", "sparsity.target=0.9", RULES)
    assert planned(program, "model=resnet50", "sparsity=uniform_first_last_dense") == typed


# ----------------------------------------------------------------------------------------------------------- the ledger


def ledger(option: str, finetune_epochs: int = 0, baseline_epochs: int = 100) -> float:
    """Training FLOPs of a run over a dense run's of 100 epochs, at inference 0.19F and dense epochs at 0.96 of 3F.

    In dense phases a step is 2f + F, so 0.96 * 3F is f = 0.94F. Nothing is zero yet in the warm-up: f = F. Dense
    fine-tuning is plain dense training. The method says in each epoch what it skips, and step_flops what that costs.
    """
    timeline = schedule(option)
    model = nn.Linear(4, 2)
    method = ACDC(timeline, sparsity=0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    dense, total = 10_000, 0
    for epoch in range(timeline.total_epochs):
        method.begin_epoch(epoch)
        phase = timeline.phase(epoch)
        current = 1900 if phase.kind == "sparse" else 10_000 if phase.start_epoch == 0 else 9400
        total += step_flops(method.work(), dense, current)
    dense_step = step_flops(Dense().work(), dense, dense)
    return (total + finetune_epochs * dense_step) / (baseline_epochs * dense_step)


@pytest.mark.parametrize(
    ("published", "option", "finetune_epochs"),
    [
        (0.58, "imagenet_100", 0),
        (0.73, "imagenet_100", 15),
        (0.44, "imagenet_100_dense_2", 0),
        (0.87, "imagenet_150", 0),
    ],
    ids=["100 epochs", "with dense fine-tuning", "2-epoch dense phases", "150 epochs over 100"],
)
def test_the_ledger_gives_the_published_totals(published: float, option: str, finetune_epochs: int) -> None:
    assert ledger(option, finetune_epochs) == pytest.approx(published, abs=0.005)


# --------------------------------------------------------------------------------------------------- overall sparsities

# Model, distribution, rules -> ours; the paper's, which counts batch-norm parameters too (all others but the biases).
OVERALL = [
    ("resnet50", "uniform", FIRST_AND_LAST_DENSE, 0.8274, 0.8257),
    ("resnet50", "global", FIRST_AND_LAST_DENSE, 0.8274, 0.8257),
    ("mobilenet_v1", "global", {"first": 0.0, "depthwise": 0.0}, 0.8903, 0.8857),
]


@pytest.mark.parametrize(("name", "distribution", "rules", "ours", "papers"), OVERALL)
def test_overall_sparsities_of_real_masks(
    name: str, distribution: str, rules: dict[str, float], ours: float, papers: float
) -> None:
    torch.manual_seed(0)
    model = build_model(compose_config([f"model={name}"]).model, ImageInputs(3, 32, 32, 1000))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ACDC(Timeline.acdc(2), 0.9, distribution=distribution, rules=rules).attach(model, optimizer).begin_epoch(1)
    left = nonzeros(model)
    zeros = WEIGHTS[name] - sum(left.values())
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    assert zeros / WEIGHTS[name] == pytest.approx(ours, abs=0.00005)
    assert zeros / (WEIGHTS[name] + norms) == pytest.approx(papers, abs=0.00005)
    if distribution == "uniform":  # the only one whose FLOPs do not depend on trained weights
        fraction = inference_flops(sizes_of(name), left) / inference_flops(sizes_of(name))
        assert fraction == pytest.approx(INFERENCE[0.9], abs=0.001)


@pytest.mark.parametrize(
    ("typed", "overall"),
    [
        (f"model=resnet50 {RULES}", 0.8274),
        (f"model=resnet50 sparsity=uniform {RULES}", 0.8274),
        ("model=mobilenet_v1 sparsity.rules={first:0,depthwise:0}", 0.8903),
    ],
)
def test_overall_sparsities_of_plans(typed: str, overall: float, program: Command) -> None:
    plan = planned(program, "sparsity.target=0.9", *typed.split())
    assert plan["sparsity"] == pytest.approx(overall, abs=0.00005)
    assert plan["sparsity_of_pruned_layers"] == pytest.approx(0.9, abs=0.00005)
