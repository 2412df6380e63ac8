"""Which implementation of an optimizer is asked for, and what the optimizers of the config make of a step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from acdc_cli.config.compose import compose_config
from acdc_cli.errors import BadInput
from acdc_cli.models.resnet import ResNet
from acdc_cli.planning.settle import settle
from acdc_cli.sparsity import ACDC, Timeline
from acdc_cli.training.optim import build_optimizer, implementation, learning_rate, peak_rate

OPTIMIZERS = ("sgd", "adam", "adamw", "nadam", "lamb")


def optimizer_of(name: str, model: nn.Module, dtype: str = "fp32", *typed: str) -> torch.optim.Optimizer:
    return build_optimizer(compose_config([f"optimizer={name}", *typed]).optimizer, model, dtype)


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("sgd", "bf16", {"fused": True}),
        ("sgd", "fp32", {"fused": True}),
        ("sgd", "fp16", {"foreach": True}),  # its fused form does not survive a first step that is skipped
        ("adam", "fp16", {"fused": True}),
        ("adamw", "bf16", {"fused": True}),
        ("nadam", "bf16", {"foreach": True}),  # PyTorch has no fused one
        ("lamb", "bf16", {}),
    ],
)
def test_fused_on_cuda_where_that_is_safe(name: str, dtype: str, expected: dict[str, bool]) -> None:
    assert implementation(name, "cuda", dtype) == expected
    assert implementation(name, "cpu", dtype) == {}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "nadam"])
def test_pytorch_takes_what_would_be_asked_for_on_cuda(name: str) -> None:
    """On a CPU it takes the same words."""
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam}
    for dtype in ("fp16", "bf16"):
        parameter = nn.Parameter(torch.ones(3))
        optimizer = kind[name]([parameter], lr=0.1, **implementation(name, "cuda", dtype))
        parameter.grad = torch.ones(3)
        optimizer.step()
        assert (parameter < 1).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_keeps_pruned_weights_at_zero_and_starts_anew_after_a_reset(name: str) -> None:
    torch.manual_seed(0)
    model = ResNet(depth=8, width=4, in_channels=1)
    optimizer = optimizer_of(name, model)
    assert len(optimizer.param_groups) == 2 and optimizer.param_groups[1]["weight_decay"] == 0
    method = ACDC(Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 4)]), 0.9)
    method.attach(model, optimizer)
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8)
    for epoch in range(4):
        method.begin_epoch(epoch)
        for _ in range(2):
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        if epoch % 2:
            assert all((weight[~method.masks[key]] == 0).all() for key, weight in _weights(model, method).items())


def _weights(model: nn.Module, method: ACDC) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if name in dict(method.masks.items())}


def test_nadam_and_lamb_are_the_librarys_with_the_configs_values() -> None:
    from timm.optim import Lamb

    model = ResNet(depth=8)
    for name, kind in (("nadam", torch.optim.NAdam), ("lamb", Lamb)):
        optimizer = optimizer_of(name, model, "fp32", "optimizer.beta1=0.8", "optimizer.lr=0.01")
        assert type(optimizer) is kind
        group = optimizer.param_groups[0]
        assert (tuple(group["betas"]), group["lr"]) == ((0.8, 0.999), 0.01)


@pytest.mark.parametrize(
    ("typed", "peak"),
    [
        ("model=resnet50", 0.256),
        ("model=resnet50 batch_size=1024", 0.256),  # as written, whatever the batch
        ("model=resnet50 optimizer.lr_batch_size=256 batch_size=1024", 1.024),
        ("model=resnet50 optimizer.lr_batch_size=256 batch_size=64", 0.064),
        ("experiment=acdcpp", 0.425),
        ("experiment=acdcpp batch_size=4096", 1.7),
    ],
)
def test_batch_size_scales_the_rate_where_that_is_asked_for(typed: str, peak: float) -> None:
    """Goyal et al. 2017: k times the batch, k times the rate; the whole schedule with it."""
    config = compose_config(typed.split())
    assert peak_rate(config) == pytest.approx(peak)
    rates = [learning_rate(config, step, 3) for step in range(3 * config.epochs)]
    assert max(rates) == pytest.approx(peak)
    plain = compose_config([*typed.split(), "optimizer.lr_batch_size=null"])
    ratio = peak / plain.optimizer.lr
    assert rates == pytest.approx([ratio * learning_rate(plain, step, 3) for step in range(3 * plain.epochs)])


@pytest.mark.parametrize("value", ["0", "-256"])
def test_a_batch_size_below_one_is_refused(value: str) -> None:
    with pytest.raises(BadInput, match=f"optimizer.lr_batch_size={value}.*nearest: optimizer.lr_batch_size=1"):
        compose_config([f"optimizer.lr_batch_size={value}"])


def test_compilation_is_off_on_a_cpu_unless_asked_for() -> None:
    settled = [settle(compose_config(["device=cpu", *typed]), print) for typed in ([], ["precision.compile=true"])]
    assert [config.precision.compile for config in settled] == [False, True]
    assert compose_config([]).precision.compile is None


@pytest.mark.parametrize(("compiler", "compiles"), [("/usr/bin/gcc", True), (None, False)])
def test_compilation_is_on_on_cuda_if_there_is_a_compiler(
    compiler: str | None, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr("shutil.which", lambda name: compiler)
    assert settle(compose_config(["device=cuda"]), said.append).precision.compile is compiles
    assert [("apt-get install gcc" in line) for line in said if "compile" in line] == ([] if compiles else [True])
    assert settle(compose_config(["precision.compile=false"]), said.append).precision.compile is False


def test_a_step_of_nadam_is_dozats() -> None:
    """First step, by hand: mu_1 = beta1 (1 - 0.96^0.004 / 2), mu_2 = beta1 (1 - 0.96^0.008 / 2)."""
    weight = nn.Parameter(torch.tensor([[2.0]]))
    model = nn.Linear(1, 1, bias=False)
    model.weight = weight
    optimizer = optimizer_of("nadam", model, "fp32", "optimizer.lr=0.1")
    weight.grad = torch.tensor([[3.0]])
    optimizer.step()
    first, second = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (1, 2))
    mean = second * (0.1 * 3.0) / (1 - first * second) + (1 - first) * 3.0 / (1 - first)
    expected = 2.0 - 0.1 * mean / (math.sqrt(0.001 * 9.0 / 0.001) + 1e-8)
    assert weight.item() == pytest.approx(expected, rel=1e-6)
