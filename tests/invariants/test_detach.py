"""After ``detach`` the model is an ordinary one: nothing masks its gradients or holds its weights."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from case_checks import nonzeros
from case_run import batch, prunable, small_net
from torch import Tensor, nn
from torch.optim import Optimizer

from acdc_cli.sparsity import ACDC, Method, Static, Timeline

SHORT = Timeline.of([("dense", 0, 1), ("sparse", 1, 2)])


def sgd(model: nn.Module) -> Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)


def step(model: nn.Module, optimizer: Optimizer, number: int) -> None:
    """One step; its gradients stay."""
    optimizer.zero_grad()
    images, labels = batch(number)
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()


def attached(kind: str, model: nn.Module, optimizer: Optimizer) -> Method:
    """A method that holds weights at zero now."""
    if kind == "acdc":
        method = ACDC(SHORT, 0.8).attach(model, optimizer)
        method.begin_epoch(1)
        return method
    with torch.no_grad():
        for weight in prunable(model).values():
            weight[0] = 0.0
    return Static().attach(model, optimizer)


def zero_places(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight == 0 for name, weight in prunable(model).items()}


@pytest.mark.parametrize("kind", ["acdc", "static"])
def test_weights_move_freely_afterwards(kind: str) -> None:
    model = small_net()
    optimizer = sgd(model)
    method = attached(kind, model, optimizer)
    outside = zero_places(model)
    step(model, optimizer, 0)
    gradients = {name: weight.grad for name, weight in prunable(model).items()}
    assert nonzeros(gradients, outside) == nonzeros(prunable(model), outside) == 0

    free = small_net()
    free.load_state_dict(model.state_dict())
    free_optimizer = sgd(free)
    free_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    method.detach()
    method.detach()  # twice is as good as once
    for number in range(1, 4):
        step(model, optimizer, number)
        step(free, free_optimizer, number)
        for left, right in zip(model.parameters(), free.parameters(), strict=True):
            assert torch.equal(left.grad, right.grad) and torch.equal(left, right)
    assert nonzeros(prunable(model), outside) > 0
    assert all(torch.equal(method.masks[name], ~places) for name, places in outside.items())  # still there to read


def test_another_method_takes_over() -> None:
    """AC/DC, then fine-tuning of what it ended with: one set of hooks is left, that of the second method."""
    model = small_net()
    optimizer = sgd(model)
    first = attached("acdc", model, optimizer)
    step(model, optimizer, 0)
    first.detach()
    with torch.no_grad():
        model[5].weight[0] = 1.0  # a row that AC/DC would set to zero again
    outside = zero_places(model)
    second = Static().attach(model, optimizer)
    for number in range(1, 4):
        step(model, optimizer, number)
        assert nonzeros(prunable(model), outside) == 0
        assert bool((model[5].weight[0] != 0).all())
    second.detach()
    step(model, optimizer, 4)
    assert nonzeros(prunable(model), outside) > 0
