"""RigL's extended training (arXiv 1911.11134, section 4, "RigL Mx"): steps, rate and mask window grow by one factor."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from helpers.support import Command

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.planning.method_setting import method_setting, no_passes
from acdc_cli.training.optim import learning_rate

STEPS_PER_EPOCH = math.ceil(1_281_167 / 4096)
# Published, by distribution and sparsity: inference over a dense network's, training at 5x over a dense run's of 1x
# (README of google-research/rigl).
PUBLISHED = [
    ("erk", 0.8, 0.42, 2.09),
    ("erk", 0.9, 0.24, 1.23),
    ("uniform", 0.8, 0.23, 1.14),
    ("uniform", 0.9, 0.13, 0.66),
]


def moves_of(config: Config, steps_per_epoch: int) -> Callable[[int], bool]:
    """Whether masks move at a step."""
    setting = method_setting(config, steps_per_epoch * config.batch_size, no_passes)
    moves: Callable[[int], bool] = config.method.options.build(setting).update.when_by_gradients
    return moves


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_steps_rate_and_window_scale_together(factor: int) -> None:
    """Warm-up to 5, a tenth at 30, 70 and 90 of 100 epochs; masks move to 25/32 of the run, at any length every 100."""
    config = compose_config(["experiment=resnet50_rigl", f"epochs={100 * factor}"])
    steps = 100 * factor * STEPS_PER_EPOCH
    rates = [learning_rate(config, step, STEPS_PER_EPOCH) for step in range(steps)]
    peak = 0.1 * 4096 / 256
    falls = [step for step in range(1, steps) if rates[step] < rates[step - 1]]
    assert falls == [epoch * factor * STEPS_PER_EPOCH for epoch in (30, 70, 90)]
    assert rates.index(max(rates)) == 5 * factor * STEPS_PER_EPOCH - 1
    assert [rates[fall] for fall in falls] == pytest.approx([peak / 10, peak / 100, peak / 1000])
    due = moves_of(config, STEPS_PER_EPOCH)
    moves = [step for step in range(steps) if due(step)]
    assert moves == list(range(100, 25 * steps // 32, 100))
    assert moves[-1] < 0.78125 * steps <= moves[-1] + 100


def test_at_the_papers_steps_the_window_ends_at_25000() -> None:
    """32,000 steps are no whole number of our epochs: here 320 of 100."""
    due = moves_of(compose_config(["experiment=resnet50_rigl"]), 320)
    assert [step for step in (24_800, 24_900, 25_000, 25_100) if due(step)] == [24_800, 24_900]


@pytest.mark.parametrize(("distribution", "sparsity", "inference", "training"), PUBLISHED)
def test_published_flops(
    distribution: str, sparsity: float, inference: float, training: float, program: Command
) -> None:
    typed = [f"sparsity={distribution}", f"sparsity.target={sparsity}", "epochs=500"]
    plan = json.loads(program("plan=true", "experiment=resnet50_rigl", *typed).stdout)
    assert plan["inference_flops_fraction"] == pytest.approx(inference, abs=0.0075)
    assert 5 * plan["train_flops_fraction"] == pytest.approx(training, abs=0.02)
    if distribution == "erk":
        assert plan["inference_flops_fraction"] == pytest.approx({0.8: 0.414, 0.9: 0.242}[sparsity], abs=0.0005)
    assert plan["stay_dense"] == ([] if distribution == "erk" else ["conv1.weight"])


def test_without_stretch_milestones_stay() -> None:
    """The contract's rule for every other schedule: in a longer run they stay where they are."""
    config = compose_config(["experiment=resnet50_rigl", "epochs=200", "lr_schedule.stretch=null"])
    rates = [learning_rate(config, epoch, 1) for epoch in range(200)]
    assert [epoch for epoch in range(1, 200) if rates[epoch] < rates[epoch - 1]] == [30, 70, 90]
