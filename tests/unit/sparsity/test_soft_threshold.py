"""STR: its gradients against autograd and finite differences, and steps by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.toy_layers import backward, gradient_of, mask_of, plain_sgd, row, rows, step, weights_of
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from acdc_cli.sparsity import excluded
from acdc_cli.sparsity.methods import SoftThreshold
from acdc_cli.sparsity.methods.soft_threshold import s_gradient, soft_threshold
from acdc_cli.sparsity.target import AllocationError

FOUR = (1.0, -0.75, 0.25, 0.5)
HALF = 0.0  # s: a threshold of 1/2, whose derivative by s is 1/4
NET = ("0.weight", "2.weight")


def four(s: float = HALF, decay: float = 0.0, **options: Any) -> tuple[nn.Linear, Optimizer, SoftThreshold]:
    layer = row(*FOUR)
    optimizer = plain_sgd(layer, **options)
    method = SoftThreshold(s_init=s, s_weight_decay=decay).attach(layer, optimizer)
    method.begin_epoch(0)
    return layer, optimizer, method


def stored_of(method: SoftThreshold) -> list[float]:
    return method.state_dict()["stored"]["weight"][0].tolist()


def s_of(method: SoftThreshold) -> list[float]:
    return method.state_dict()["s"].tolist()


def test_the_soft_threshold_is_soft_shrink() -> None:
    weight = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight[:2] = torch.tensor([0.3, -0.3])  # at the threshold
    shrunk = soft_threshold(weight, torch.tensor(0.3, dtype=torch.float64))
    assert torch.equal(shrunk, F.softshrink(weight, 0.3))
    assert not shrunk[shrunk == 0].signbit().any()  # what a model's file holds are zeros of all bits
    assert torch.equal(soft_threshold(weight, torch.tensor(0.0)), weight)


class Analytic(torch.autograd.Function):
    """Our gradients as autograd's, so that PyTorch can check them against differences."""

    @staticmethod
    def forward(context: Any, weight: Tensor, s: Tensor) -> Tensor:
        effective = soft_threshold(weight, s.sigmoid())
        context.save_for_backward(effective, s)
        return effective

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        effective, s = context.saved_tensors
        return gradient.masked_fill(effective == 0, 0.0), s_gradient(gradient, effective, s)


@pytest.mark.parametrize("s", [-6.0, -1.0, 0.0, 2.0])
def test_the_gradients_are_those_of_finite_differences(s: float) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
    at = torch.tensor(s, dtype=torch.float64, requires_grad=True)
    assert 0 < (weight.abs() <= at.sigmoid()).sum() < weight.numel() or s == -6
    assert torch.autograd.gradcheck(Analytic.apply, (weight, at))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(5, 6, dtype=torch.float64, generator=generator), torch.randint(3, (5,), generator=generator)


def reference_loss(model: nn.Module, s: Tensor) -> Tensor:
    """By PyTorch's own softshrink and autograd, thresholds as a difference that softshrink cannot take as a tensor."""
    parameters = dict(model.named_parameters())
    for name, threshold in zip(NET, s.sigmoid(), strict=True):
        weight = parameters[name]
        parameters[name] = F.relu(weight - threshold) - F.relu(-weight - threshold)
    images, labels = batch()
    return F.cross_entropy(functional_call(model, parameters, (images,)), labels)


def gradients_seen(optimizer: Optimizer) -> dict[int, Tensor]:
    """What the optimizer is given at its next step, after the method has had its turn."""
    seen: dict[int, Tensor] = {}

    def look(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            seen.update({id(each): each.grad.clone() for each in group["params"] if each.grad is not None})

    optimizer.register_step_pre_hook(look)
    return seen


def test_the_optimizer_gets_the_gradients_of_the_reparameterized_network() -> None:
    """In float64, of w and of s in every layer: autograd's through softshrink, and central differences of the loss."""
    model, s_init = net(), -2.0
    twin, s = copy.deepcopy(model), torch.full((2,), s_init, dtype=torch.float64, requires_grad=True)
    optimizer = plain_sgd(model, lr=0.1)
    method = SoftThreshold(s_init=s_init, s_weight_decay=0.0).attach(model, optimizer)
    own = optimizer.param_groups[-1]["params"][0]
    seen = gradients_seen(optimizer)
    images, labels = batch()
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()
    reference_loss(twin, s).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(seen[id(parameter)], twin.get_parameter(name).grad, msg=name)
    torch.testing.assert_close(seen[id(own)], s.grad)
    for index in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[index] = 1e-6
        with torch.no_grad():
            change = reference_loss(twin, s + shift) - reference_loss(twin, s - shift)
        assert seen[id(own)][index].item() == pytest.approx(change.item() / 2e-6, rel=1e-6)
    assert 0.0 < method.masks.density() < 1.0


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.2, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.02, weight_decay=0.01),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.02, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_are_those_of_the_reparameterized_network(name: str) -> None:
    """An ordinary loop over w and s with the threshold inside the forward pass, as the paper's code has it."""
    model = net()
    twin, s = copy.deepcopy(model), nn.Parameter(torch.full((2,), -3.0, dtype=torch.float64))
    optimizer = OPTIMIZERS[name]([{"params": list(model.parameters())}])
    method = SoftThreshold(s_init=-3.0, s_weight_decay=0.05).attach(model, optimizer)
    other = OPTIMIZERS[name]([{"params": list(twin.parameters())}, {"params": [s], "weight_decay": 0.05}])
    images, labels = batch()
    for _ in range(10):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        other.zero_grad()
        reference_loss(twin, s).backward()
        other.step()
    torch.testing.assert_close(method.state_dict()["s"], s.detach())
    assert (s < -3.0).any() or (s > -3.0).any()
    for key in NET:
        torch.testing.assert_close(method.state_dict()["stored"][key], twin.get_parameter(key).detach())
        expected = F.softshrink(twin.get_parameter(key), s[NET.index(key)].sigmoid().item())
        torch.testing.assert_close(model.get_parameter(key), expected)


def test_two_steps_by_hand() -> None:
    """g(0) = 1/2 and g'(0) = 1/4, so dL/ds = -(2 - (-4)) / 4 = -1.5; at s = 1.5 nothing of 1, -0.75, ... is left."""
    layer, optimizer, method = four()
    assert weights_of(layer) == [0.5, -0.25, 0.0, 0.0]
    assert mask_of(method) == [1, 1, 0, 0]
    backward(layer, 2.0, -4.0, 9.0, 9.0)
    assert gradient_of(layer) == [2.0, -4.0, 0.0, 0.0]
    optimizer.step()
    assert stored_of(method) == [-1.0, 3.25, 0.25, 0.5]
    assert s_of(method) == [-0.25 * (2.0 * 1 + -4.0 * -1) * -1]
    threshold = 1 / (1 + math.exp(-1.5))
    assert method.thresholds == {"weight": pytest.approx(threshold)}
    assert weights_of(layer) == pytest.approx([-1.0 + threshold, 3.25 - threshold, 0.0, 0.0])
    step(layer, optimizer, 0.0, 1.0, 9.0, 9.0)
    assert stored_of(method) == [-1.0, 2.25, 0.25, 0.5]
    assert s_of(method)[0] == pytest.approx(1.5 + threshold * (1 - threshold))


def test_the_decay_of_s_pulls_it_to_zero_and_that_of_w_acts_below_the_threshold() -> None:
    layer, optimizer, method = four(s=-2.0, decay=0.25, weight_decay=0.5)
    step(layer, optimizer, 0.0, 0.0, 0.0, 0.0)
    assert s_of(method) == [-1.5]
    assert stored_of(method) == [0.5, -0.375, 0.125, 0.25]
    assert weights_of(layer)[2] == 0.0  # g(-1.5) = 0.18


def test_the_published_start_is_a_dense_network_that_only_the_decay_moves() -> None:
    """sigmoid(-3200) is 0 in float32 and so is its derivative."""
    layer, optimizer, method = four(s=-3200.0, decay=0.5)
    assert weights_of(layer) == list(FOUR)
    step(layer, optimizer, 1.0, 1.0, 1.0, 1.0)
    assert stored_of(method) == weights_of(layer) == [0.0, -1.75, -0.75, -0.5]
    assert s_of(method) == [-1600.0]


def test_a_weight_below_the_threshold_comes_back_when_the_threshold_falls() -> None:
    layer, optimizer, method = four()
    step(layer, optimizer, -16.0, 0.0, 0.0, 0.0)  # dL/ds = 4
    assert s_of(method) == [-4.0]
    assert mask_of(method) == [1, 1, 1, 1]
    assert weights_of(layer)[2:] == pytest.approx([0.25 - 1 / (1 + math.exp(4)), 0.5 - 1 / (1 + math.exp(4))])


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaled_step_is_the_plain_one_and_a_skipped_one_does_no_harm(fused: bool) -> None:
    gradient = (2.0, -4.0, 9.0, 9.0)
    plain = four()
    step(plain[0], plain[1], *gradient)
    layer, optimizer, method = four(fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for each in ((float("inf"),) * 4, gradient):
        optimizer.zero_grad(set_to_none=False)
        scaler.scale(layer(torch.tensor([each])).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        if each != gradient:
            assert stored_of(method) == list(FOUR) and s_of(method) == [HALF]
            assert weights_of(layer) == [0.5, -0.25, 0.0, 0.0]
    assert stored_of(method) == stored_of(plain[2]) and s_of(method) == s_of(plain[2])
    assert weights_of(layer) == weights_of(plain[0])


def test_between_two_steps_s_has_no_gradient() -> None:
    """A loop that clears the model's gradients and clips by the optimizer's parameters: 5 = |(3, 4)|, and no more."""
    layer, optimizer, method = four()
    step(layer, optimizer, 2.0, -4.0, 9.0, 9.0)  # dL/ds = -1.5
    layer.zero_grad()
    backward(layer, 3.0, 4.0, 9.0, 9.0)
    assert mask_of(method) == [1, 1, 0, 0]
    every = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert torch.nn.utils.clip_grad_norm_(every, 10.0).item() == 5.0


def test_mask_change_by_hand() -> None:
    """None in the first epoch; in the second the threshold falls (s = -4) below the two weights that it cut: 2 of 4."""
    layer, optimizer, method = four()
    step(layer, optimizer, 0.0, 0.0, 0.0, 0.0)
    assert method.mask_change is None
    for _ in range(2):
        method.begin_epoch(1)
        assert method.mask_change == 0.0
    step(layer, optimizer, -16.0, 0.0, 0.0, 0.0)
    assert mask_of(method) == [1, 1, 1, 1]
    assert method.mask_change == 0.5
    method.begin_epoch(1)  # again: nothing begins
    assert method.mask_change == 0.5
    method.begin_epoch(2)
    assert method.mask_change == 0.0


def test_thresholds_are_where_their_weights_are() -> None:
    layer = row(*FOUR).to("meta")
    optimizer = plain_sgd(layer)
    SoftThreshold(s_init=HALF, s_weight_decay=0.0).attach(layer, optimizer)
    assert optimizer.param_groups[1]["params"][0].device.type == "meta"


def test_layers_that_a_rule_leaves_dense_have_no_threshold() -> None:
    model = rows(FOUR, FOUR, FOUR)
    method = SoftThreshold(s_init=HALF, s_weight_decay=0.0, rules={"0": 0}).attach(model, plain_sgd(model))
    assert weights_of(model[0]) == list(FOUR) and weights_of(model[1]) == [0.5, -0.25, 0.0, 0.0]
    assert list(method.thresholds) == ["1.weight", "2.weight"]
    assert method.masks.kept_per_layer() == {"0.weight": 4, "1.weight": 2, "2.weight": 2}
    assert excluded(method.shares) == ["0.weight"]


def test_s_follows_the_rate_of_every_group_and_leaves_the_optimizer_with_the_method() -> None:
    layer, optimizer, method = four(lr=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    step(layer, optimizer, 0.0, -4.0, 0.0, 0.0)  # dL/ds = -1
    scheduler.step()
    step(layer, optimizer, 0.0, 0.0, 0.0, 0.0)
    assert s_of(method) == [0.5] and optimizer.param_groups[1]["lr"] == 0.25
    method.detach()
    assert len(optimizer.param_groups) == 1 and len(optimizer.state) <= 1


def test_what_it_cannot_do_is_refused() -> None:
    for target in (0.5, "2:4"):
        with pytest.raises(AllocationError, match="a rule can say 0, dense"):
            SoftThreshold(s_init=-5, s_weight_decay=0, rules={"first": target})
    model = rows(FOUR, FOUR)
    with pytest.raises(ValueError, match="one optimizer"):
        SoftThreshold(s_init=-5, s_weight_decay=0).attach(model, [plain_sgd(layer) for layer in model])
