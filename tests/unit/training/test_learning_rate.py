"""The learning rate as published, and the optimizer's groups."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import pytest
import torch

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.models.resnet import ResNet
from acdc_cli.training.optim import build_optimizer, learning_rate, set_learning_rate

PAPER1 = "schedule=imagenet_100 optimizer=sgd_paper1 lr_schedule=cosine_paper1"


@cache
def config_of(arguments: str) -> Config:
    return compose_config(arguments.split())


def rates(arguments: str, steps_per_epoch: int = 1) -> list[float]:
    """The rate of every step of a run."""
    config = config_of(arguments)
    return [learning_rate(config, step, steps_per_epoch) for step in range(config.epochs * steps_per_epoch)]


@pytest.mark.parametrize("epochs", [100, 150, 200])
def test_imagenet_warm_up_and_cosine(epochs: int) -> None:
    """Reference code: 0.256 (e + 1) / 5 for e = 0..4, then 0.256 (1 + cos(pi (e - 5) / (E - 5))) / 2."""
    measured = rates(f"{PAPER1} epochs={epochs}")
    assert measured[:5] == pytest.approx([0.0512, 0.1024, 0.1536, 0.2048, 0.256])
    assert measured[5] == pytest.approx(0.256)
    for epoch in (6, 42, epochs // 2, epochs - 1):
        expected = 0.128 * (1 + math.cos(math.pi * (epoch - 5) / (epochs - 5)))
        assert measured[epoch] == pytest.approx(expected), epoch


def test_half_way_down_the_cosine_is_half_the_peak() -> None:
    assert rates(f"{PAPER1} epochs=105 schedule.epochs=105")[55] == pytest.approx(0.128)  # (55 - 5) / (105 - 5)


def test_the_imagenet_rate_changes_once_an_epoch() -> None:
    measured = rates(PAPER1, steps_per_epoch=7)
    for epoch, rate in enumerate(rates(PAPER1)):
        assert measured[7 * epoch : 7 * epoch + 7] == [rate] * 7


def test_warm_up_shrinks_with_a_run_shorter_than_the_schedule() -> None:
    """50 of 100 epochs: 2.5 epochs of warm-up, (t + 1) / 2.5 up to the peak, then a cosine over 47.5."""
    measured = rates(f"{PAPER1} epochs=50")
    assert measured[:3] == pytest.approx([0.4 * 0.256, 0.8 * 0.256, 0.256])
    for epoch in (3, 20, 49):
        assert measured[epoch] == pytest.approx(0.128 * (1 + math.cos(math.pi * (epoch - 2.5) / 47.5)))


CIFAR = "model=resnet20"  # x 0.1 from 66, 126 and 186 of 200 epochs on, from 0.1


def test_cifar_milestones() -> None:
    expected = [0.1] * 66 + [0.01] * 60 + [0.001] * 60 + [0.0001] * 14
    assert rates(CIFAR) == pytest.approx(expected, rel=1e-9)


def test_milestones_shrink_with_a_shorter_run() -> None:
    """40 of 200 epochs: 13.2, 25.2 and 37.2, that is from 14, 26, 38 on; 100 of 200: from 33, 63 and 93 on."""
    assert rates(f"{CIFAR} epochs=40") == pytest.approx([0.1] * 14 + [0.01] * 12 + [0.001] * 12 + [0.0001] * 2)
    assert rates(f"{CIFAR} epochs=100") == pytest.approx([0.1] * 33 + [0.01] * 30 + [0.001] * 30 + [0.0001] * 7)


def test_milestones_stay_in_a_longer_run() -> None:
    expected = [0.1] * 66 + [0.01] * 60 + [0.001] * 60 + [0.0001] * 114
    assert rates(f"{CIFAR} epochs=300") == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [28, 50, 56, 110, 136])
def test_scaled_milestones_that_are_whole_epochs_are_hit_exactly(epochs: int) -> None:
    """50 of 200 in a run of 28 is epoch 7, not 7.000000000000001."""
    milestones = [50, 100, 150, 180]
    measured = rates(f"{CIFAR} epochs={epochs} lr_schedule.milestones=[50,100,150,180]")
    passed = [sum(epoch >= Fraction(m * epochs, 200) for m in milestones) for epoch in range(epochs)]
    assert measured == pytest.approx([0.1 * 0.1**count for count in passed])


def test_the_embedded_recipe_changes_every_step() -> None:
    """40 epochs of 10 steps: 20 steps of warm-up, then a cosine over 380."""
    measured = rates("optimizer=sgd lr_schedule=cosine epochs=40", steps_per_epoch=10)
    assert measured[:20] == pytest.approx([0.1 * (step + 1) / 20 for step in range(20)])
    assert measured[20] == pytest.approx(0.1)
    assert measured[20 + 190] == pytest.approx(0.05)
    assert measured[399] == pytest.approx(0.05 * (1 + math.cos(math.pi * 379 / 380)))


def test_linear_falls_to_zero_in_equal_steps() -> None:
    measured = rates("optimizer=sgd lr_schedule=linear epochs=40", steps_per_epoch=10)
    assert measured[:20] == pytest.approx([0.1 * (step + 1) / 20 for step in range(20)])
    assert measured[20:] == pytest.approx([0.1 * (1 - step / 380) for step in range(380)])


def test_constant_is_the_peak_throughout() -> None:
    assert rates("optimizer=sgd lr_schedule=constant epochs=10", steps_per_epoch=3) == [0.1] * 30


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant", "cosine_paper1", "step_cifar10"])
@pytest.mark.parametrize("epochs", [2, 3, 7, 40])
def test_rates_are_positive_and_never_above_the_peak(shape: str, epochs: int) -> None:
    measured = rates(f"optimizer=sgd lr_schedule={shape} epochs={epochs}", steps_per_epoch=2)
    assert all(0 < rate <= 0.1 for rate in measured)
    assert max(measured) == pytest.approx(0.1)


def test_every_group_gets_the_rate() -> None:
    optimizer = build_optimizer(config_of("optimizer=sgd").optimizer, ResNet(depth=8), "fp32")
    assert len(optimizer.param_groups) == 2
    set_learning_rate(optimizer, 0.0625)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0625, 0.0625]


def test_decay_can_leave_out_norms_and_biases() -> None:
    model = ResNet(depth=8)
    decayed, free = build_optimizer(config_of("optimizer=sgd").optimizer, model, "fp32").param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    convolutions_and_linear = {n for n in names.values() if "conv" in n or n == "fc.weight"}
    assert {names[id(p)] for p in decayed["params"]} == convolutions_and_linear
    assert {names[id(p)] for p in free["params"]} == set(names.values()) - convolutions_and_linear
    assert (decayed["weight_decay"], free["weight_decay"]) == (5e-4, 0.0)


def test_the_papers_sgd_decays_everything() -> None:
    optimizer = build_optimizer(config_of(PAPER1).optimizer, ResNet(depth=8), "fp32")
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.256, 0.875, False, 2**-15)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_and_adamw(name: str, kind: type[torch.optim.Optimizer]) -> None:
    arguments = f"optimizer={name} optimizer.beta1=0.8 optimizer.beta2=0.95"
    optimizer = build_optimizer(config_of(arguments).optimizer, ResNet(depth=8), "fp32")
    assert type(optimizer) is kind
    assert all(group["betas"] == (0.8, 0.95) for group in optimizer.param_groups)
