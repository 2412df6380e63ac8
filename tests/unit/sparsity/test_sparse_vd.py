"""Sparse variational dropout: its KL divergence by independent means, its noise by its moments, its steps by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.toy_layers import plain_sgd, row, rows
from scipy.integrate import quad
from scipy.special import dawsn
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from acdc_cli.sparsity import dropout_kl
from acdc_cli.sparsity.dropout_kl import kl_divergence, kl_gradients, log_alpha, weight_variance
from acdc_cli.sparsity.methods import SparseVD
from acdc_cli.sparsity.target import AllocationError
from acdc_cli.sparsity.window import Window

ALWAYS = Window(0, 0, 1)  # the KL divergence at its full weight from the first step on


def sparse_vd(sparsity: Any = 0.5, **options: Any) -> SparseVD:
    chosen = {"samples": 100, "ramp": ALWAYS, "kl_weight": 1.0, "log_alpha_threshold": 3.0, "initial_log_sigma2": -8.0}
    return SparseVD(sparsity, **(chosen | options))


def test_the_constants_of_equation_14() -> None:
    assert (dropout_kl.K1, dropout_kl.K2, dropout_kl.K3) == (0.63576, 1.87320, 1.48695)


@pytest.mark.parametrize("rate", [-8.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 8.0])
def test_the_approximation_is_as_good_as_the_paper_says(rate: float) -> None:
    """To 0.009. Exact is 2 int_0^sqrt(1 / (2 alpha)) D(t) dt, D Dawson's function (Hron et al., arXiv 1807.01969)."""
    exact = 2 * quad(dawsn, 0, math.sqrt(0.5 * math.exp(-rate)), limit=200)[0]
    assert kl_divergence(torch.tensor(rate, dtype=torch.float64)).item() == pytest.approx(exact, abs=0.009)


def test_gradients_match_a_finite_difference_in_float64() -> None:
    """Log alpha from -8 to 8, both signs of theta."""
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(400, generator=generator, dtype=torch.float64) * 0.1
    log_sigma2 = theta.square().log() + torch.linspace(-7.9, 7.9, 400, dtype=torch.float64)

    def kl(means: Tensor, variances: Tensor) -> Tensor:
        return kl_divergence(log_alpha(means, variances))

    by_theta, by_log_sigma2 = kl_gradients(theta, log_sigma2)
    small = 1e-6 * theta.abs()
    difference = (kl(theta + small, log_sigma2) - kl(theta - small, log_sigma2)) / (2 * small)
    torch.testing.assert_close(by_theta, difference, rtol=1e-5, atol=1e-7)
    difference = (kl(theta, log_sigma2 + 1e-6) - kl(theta, log_sigma2 - 1e-6)) / 2e-6
    torch.testing.assert_close(by_log_sigma2, difference, rtol=1e-5, atol=1e-8)


def test_a_clipped_log_alpha_has_no_kl_gradient_and_a_bounded_variance() -> None:
    theta = torch.tensor([1.0, 0.5, 1e-3, 0.0], dtype=torch.float64)
    log_sigma2 = torch.tensor([-9.0, -1.0, 0.0, -3.0], dtype=torch.float64)
    by_theta, by_log_sigma2 = kl_gradients(theta, log_sigma2)
    assert by_theta[[0, 2, 3]].tolist() == by_log_sigma2[[0, 2, 3]].tolist() == [0.0] * 3
    assert by_theta[1] > 0 > by_log_sigma2[1]  # less theta and more noise are less divergence
    expected = [math.exp(-8), math.exp(-1), math.exp(8) * (1e-6 + 1e-8), math.exp(8) * 1e-8]
    np.testing.assert_allclose(weight_variance(theta, log_sigma2).numpy(), expected, rtol=1e-6)


def test_the_limit_itself_is_not_clipped() -> None:
    """theta = 1 in float32: log alpha is log sigma^2. -0.5 sigmoid(8) - K1 K3 s (1 - s), s = 4.4e-5; at 8 -1.68e-4."""
    _, by_log_sigma2 = kl_gradients(torch.ones(4), torch.tensor([-8.0, 8.0, -8.001, 8.001]))
    assert by_log_sigma2.tolist() == [pytest.approx(-0.49987, abs=1e-5), pytest.approx(-1.687e-4, rel=0.01), 0.0, 0.0]


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 3), (5, 6)),
    "linear on a sequence": (lambda: nn.Linear(6, 3), (2, 4, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1, groups=2), (2, 4, 7)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2), (2, 3, 9, 9)),
    "circular": (lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular", groups=2), (2, 2, 5, 5)),
    "same": (lambda: nn.Conv2d(2, 3, 3, padding="same", bias=False), (2, 2, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2), (2, 1, 3, 3, 3)),
}


DRAWS = 3000


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_have_the_moments_of_noisy_weights(name: str) -> None:
    """An output is linear in the weights: its variance is sigma^2 times the sum of its squared derivatives by them."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, inputs = make(), torch.randn(1, *shape[1:])
    with torch.no_grad():
        layer.weight.add_(0.1 * layer.weight.sign())  # no alpha is clipped

    def output(weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (inputs,))[0]

    mean = output(layer.weight).detach()
    derivatives = torch.autograd.functional.jacobian(output, layer.weight.detach())
    spread = math.exp(-1) * derivatives.square().flatten(mean.ndim).sum(-1).sqrt()
    sparse_vd(initial_log_sigma2=-2.0).attach(layer, plain_sgd(layer))
    drawn = layer(inputs.expand(DRAWS, *shape[1:])).detach()
    assert ((drawn.mean(0) - mean).abs() < 5 * spread / math.sqrt(DRAWS) + 1e-5).all()
    torch.testing.assert_close(drawn.std(0), spread, rtol=5 / math.sqrt(2 * DRAWS), atol=1e-3)


def two_weights(**options: Any) -> tuple[nn.Linear, torch.optim.Optimizer, SparseVD]:
    """sigma^2 = e^-2: log alpha is -2 for the first weight, and 6.39 and 15.5 for the others."""
    layer = row(1.0, 0.015, 1e-5)
    optimizer = plain_sgd(layer)
    return layer, optimizer, sparse_vd(**({"initial_log_sigma2": -2.0} | options)).attach(layer, optimizer)


def test_evaluation_is_free_of_noise_and_sees_zeros_above_the_threshold() -> None:
    layer, _, method = two_weights()
    ones = torch.ones(1, 3)
    assert layer(ones).item() != layer(ones).item()
    layer.eval()
    assert layer(ones).item() == layer(ones).item() == 1.0
    assert layer.weight[0].tolist() == [1.0, 0.0, 0.0]
    assert method.masks["weight"][0].tolist() == [True, False, False] and method.masks.enforced
    layer.train()
    layer(ones)
    assert layer.weight[0].tolist() == torch.tensor([1.0, 0.015, 1e-5]).tolist() and not method.masks.enforced


def test_a_weight_at_the_threshold_is_zero() -> None:
    """theta = 1: log alpha is log sigma^2 = 3 itself. At 1.25 and -1.25 it is 3 - log(1.5625) = 2.55, at 0.75 3.58."""
    layer = row(1.0, -1.0, 1.25, -1.25, 0.75)
    method = sparse_vd(initial_log_sigma2=3.0, log_alpha_threshold=3.0).attach(layer, plain_sgd(layer))
    assert log_alpha(torch.ones(1), torch.full((1,), 3.0)).item() == 3.0
    assert method.outputs()["sparse"]["weight"].tolist() == [[0.0, 0.0, 1.25, -1.25, 0.0]]


def test_mask_change_by_hand() -> None:
    """None in the first epoch. 0.75 has log alpha 3.58, and grown to 1.25 2.55, below the threshold: 1 of 3 weights."""
    layer = row(1.5, 0.75, 0.75)
    optimizer = plain_sgd(layer)
    method = sparse_vd(initial_log_sigma2=3.0, kl_weight=0.0).attach(layer, optimizer)
    method.begin_epoch(0)
    layer.weight.grad = torch.zeros(1, 3)
    for group in optimizer.param_groups[1:]:
        group["lr"] = 0.0
        group["params"][0].grad = torch.zeros(1, 3)
    optimizer.step()
    assert method.mask_change is None and method.masks["weight"].tolist() == [[True, False, False]]
    method.begin_epoch(1)
    assert method.mask_change == 0.0
    layer.weight.grad = torch.tensor([[0.0, -0.5, 0.0]])
    optimizer.step()
    layer.eval()(torch.ones(1, 3))  # the masks are looked at in an evaluation
    method.begin_epoch(1)  # again: nothing begins
    assert layer.weight.tolist() == [[1.5, 1.25, 0.0]]
    assert method.mask_change == pytest.approx(1 / 3)
    method.begin_epoch(2)
    assert layer.weight.tolist() == [[1.5, 1.25, 0.75]]
    assert method.mask_change == 0.0


def test_without_gradients_it_is_an_evaluation_in_either_mode() -> None:
    """update_bn puts the model into train mode: the statistics wanted are those of the thresholded model."""
    layer, _, _ = two_weights()
    with torch.no_grad():
        assert layer(torch.ones(1, 3)).item() == 1.0


def test_a_step_after_an_evaluation_moves_all_of_theta() -> None:
    layer, optimizer, method = two_weights(kl_weight=0.0)
    layer(torch.ones(1, 3)).sum().backward()
    noise_free = torch.tensor([[1.0, 0.015, 1e-5]]) - layer.weight.grad
    layer.eval()
    layer(torch.ones(1, 3))
    optimizer.step()
    assert torch.equal(layer.weight, noise_free)
    sparse, dense = method.outputs()["sparse"]["weight"], method.outputs()["dense"]["weight"]
    assert torch.equal(dense, noise_free)
    assert torch.equal(sparse, torch.where(method.masks["weight"], noise_free, 0.0))


def test_a_step_adds_the_kl_gradient_over_the_samples() -> None:
    """Of the negative evidence lower bound by autograd: loss + weight / N * KL, ramp at 1 of 4."""
    torch.manual_seed(0)
    layer = row(1.0, 0.4, -0.3)
    optimizer = plain_sgd(layer)
    method = sparse_vd(initial_log_sigma2=-2.0, ramp=Window(0, 4, 1), kl_weight=3.0).attach(layer, optimizer)
    for step in range(2):
        theta = layer.weight.detach().clone().requires_grad_()
        log_sigma2 = method.state_dict()["log_sigma2"]["weight"].requires_grad_()
        optimizer.zero_grad()
        inputs = torch.tensor([[0.5, -0.7, 0.9]])
        torch.manual_seed(step)
        layer(inputs).sum().backward()
        torch.manual_seed(step)
        output = F.linear(inputs, theta)
        output = output + F.linear(inputs**2, log_sigma2.exp()).sqrt() * torch.randn_like(output)
        kl = kl_divergence(log_sigma2 - theta.square().log()).sum()
        (output.sum() + step / 4 * 3.0 / 100 * kl).backward()
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), theta.detach() - theta.grad)
        moved = method.state_dict()["log_sigma2"]["weight"]
        torch.testing.assert_close(moved, log_sigma2.detach() - log_sigma2.grad)
        assert log_sigma2.grad.abs().min() > 0


def test_weight_decay_is_for_theta_alone() -> None:
    layer = row(1.0, 1.0)
    optimizer = plain_sgd(layer, weight_decay=0.5)
    method = sparse_vd(kl_weight=0.0).attach(layer, optimizer)
    layer(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    assert layer.weight[0].tolist() == [0.5, 0.5]
    assert method.state_dict()["log_sigma2"]["weight"][0].tolist() == [-8.0, -8.0]


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_scaler_changes_nothing_and_a_skipped_step_does_no_harm(fused: bool) -> None:
    def trained(scale: float) -> list[Tensor]:
        torch.manual_seed(0)
        layer = row(1.0, 0.4, -0.3)
        optimizer = plain_sgd(layer, 0.5, fused=fused)
        method = sparse_vd(initial_log_sigma2=-2.0).attach(layer, optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale > 1)
        for step in range(4):
            overflows = scale > 1 and step == 2
            before = layer.weight.detach().clone()
            torch.manual_seed(step if step < 3 else 2)
            optimizer.zero_grad()
            loss = layer(torch.tensor([[1.0, 2.0, 3.0]])).sum()
            if scale == 1 and step == 2:
                continue
            scaler.scale(loss * (float("inf") if overflows else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
            assert not overflows or torch.equal(layer.weight, before)
        return [layer.weight.detach(), method.state_dict()["log_sigma2"]["weight"]]

    for plain, scaled in zip(trained(1.0), trained(1024.0), strict=True):
        torch.testing.assert_close(plain, scaled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_finite_gradients_from_the_smallest_variances_on(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    optimizer = plain_sgd(model, 0.1)
    method = sparse_vd(initial_log_sigma2=-15.0).attach(model, optimizer)
    images = torch.randn(4, 3, 8, 8) * 300  # whose squares float16 has no number for
    images[0] = 0.0
    with torch.autocast("cpu", dtype):
        outputs = model(images)
    assert outputs.dtype == dtype and outputs.isfinite().all()
    outputs.float().mean().backward()
    optimizer.step()
    for value in [*method.state_dict()["log_sigma2"].values(), *model.parameters()]:
        assert value.isfinite().all()


class Products(TorchDispatchMode):
    """Notes the precision of every matrix product and convolution, in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if any(word in str(function) for word in ("mm", "convolution")):
            self.dtypes.append(result.dtype)
        return result


@pytest.mark.parametrize(
    ("weights", "autocast", "expected"),
    [
        (torch.float32, None, [torch.float32, torch.float32]),
        (torch.float64, None, [torch.float64, torch.float64]),
        (torch.bfloat16, None, [torch.bfloat16, torch.bfloat16]),
        (torch.float32, torch.bfloat16, [torch.bfloat16, torch.bfloat16]),  # has the range
        (torch.float32, torch.float16, [torch.float16, torch.float32]),  # has not
    ],
)
@pytest.mark.parametrize("make", [lambda: nn.Linear(2, 2), lambda: nn.Conv1d(2, 2, 1)], ids=["linear", "conv"])
def test_the_variance_is_computed_in_the_passs_precision_unless_that_is_float16(
    make: Callable[[], nn.Module], weights: torch.dtype, autocast: torch.dtype | None, expected: list[torch.dtype]
) -> None:
    """The means first, then the variances."""
    layer = make().to(weights)
    sparse_vd().attach(layer, plain_sgd(layer))
    inputs = torch.ones(1, 2, *[1] * (layer.weight.ndim - 2), dtype=weights)
    with Products() as products, torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        output = layer(inputs)
    assert products.dtypes == expected
    assert output.dtype == expected[0]


def test_a_layer_keeps_its_floor() -> None:
    layer = row(*(10.0 ** -(3 + index) for index in range(10)))
    method = sparse_vd(0.8, min_layer_density=0.2).attach(layer, plain_sgd(layer))
    assert method.outputs()["sparse"]["weight"].count_nonzero() == 2
    assert method.masks["weight"][0].tolist() == [True] * 2 + [False] * 8


def test_excluded_layers_have_neither_noise_nor_divergence() -> None:
    model = rows((1e-4, 1e-4), (1e-4, 1e-4))
    optimizer = plain_sgd(model)
    method = sparse_vd(rules={"0": 0}).attach(model, optimizer)
    assert list(method.state_dict()["log_sigma2"]) == ["1.weight"]
    assert model[0](torch.ones(1, 2)).item() == model[0](torch.ones(1, 2)).item()
    sum(layer(torch.zeros(1, 2)).sum() for layer in model).backward()
    optimizer.step()
    assert model[0].weight[0].tolist() == torch.tensor([1e-4, 1e-4]).tolist()
    sparse = method.outputs()["sparse"]
    assert sparse["0.weight"].count_nonzero() == 2 and sparse["1.weight"].count_nonzero() == 0


def test_a_weight_of_two_layers_has_one_variance() -> None:
    first, second = row(1.0, 2.0), row(1.0, 2.0)
    second.weight = first.weight
    model = nn.ModuleList([first, second])
    method = sparse_vd(initial_log_sigma2=-2.0).attach(model, plain_sgd(model))
    for layer in model:
        assert layer(torch.ones(1, 2)).item() != layer(torch.ones(1, 2)).item()
    assert list(method.state_dict()["log_sigma2"]) == ["0.weight"]


def test_a_copy_of_the_model_is_left_as_it_is() -> None:
    """An average of the weights is evaluated beside the model."""
    layer, _, method = two_weights()
    other = copy.deepcopy(layer).eval()
    assert other(torch.ones(1, 3)).item() == pytest.approx(1.01501)
    assert layer.weight.count_nonzero() == 3 and not method.masks.enforced


def test_a_gradient_that_came_without_noise_is_refused() -> None:
    layer, optimizer, _ = two_weights()
    layer.eval()(torch.ones(1, 3)).sum().backward()
    with pytest.raises(RuntimeError, match="weight: its gradient came without noise"):
        optimizer.step()


def test_replicas_of_data_parallel_are_refused() -> None:
    """As it makes them for two GPUs; on one device it runs the model itself, which is no trouble."""
    layer, _, method = two_weights()
    with pytest.raises(RuntimeError, match=r"after an evaluation; use DistributedDataParallel, or one GPU$"):
        layer._replicate_for_data_parallel()(torch.ones(1, 3))
    parallel = nn.DataParallel(row(1.0, 2.0))
    method.attach(parallel, plain_sgd(parallel))
    parallel.device_ids = [0, 1]
    with pytest.raises(ValueError, match="DataParallel passes through copies of the model"):
        method.attach(parallel, plain_sgd(parallel))


class OwnLinear(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * 2


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(AllocationError, match="sparse_vd cannot honour N:M"):
        sparse_vd("2:4")
    with pytest.raises(AllocationError, match="prunes single weights"):
        sparse_vd(block=(4, 4))
    with pytest.raises(AllocationError, match="a rule can only be 0"):
        sparse_vd(rules={"first": 0.5})
    model = rows((1.0, 2.0), (1.0, 2.0))
    with pytest.raises(ValueError, match="one optimizer"):
        sparse_vd().attach(model, [plain_sgd(layer) for layer in model])
    odd = nn.Sequential(nn.Linear(2, 2), OwnLinear(2, 2))
    with pytest.raises(ValueError, match="1: sparse_vd needs linear or convolution layers, and OwnLinear"):
        sparse_vd().attach(odd, plain_sgd(odd))
