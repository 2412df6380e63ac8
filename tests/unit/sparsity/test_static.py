"""Static masks: the zeros there are, and no others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from acdc_cli.sparsity import Static, Work, excluded


def sparse_net() -> nn.Sequential:
    """2 of 4 and 0 of 4 weights are zero."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
        model[1].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    return model


def attached(model: nn.Module) -> tuple[Static, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    return Static().attach(model, optimizer), optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.tensor([[1.0, 2.0]])).sum().backward()
    optimizer.step()


def test_before_it_is_attached_nothing_is_pruned() -> None:
    assert Static().shares == []


def test_zeros_stay_and_the_others_train() -> None:
    model = sparse_net()
    method, optimizer = attached(model)
    before = model[0].weight.detach().clone()
    for epoch in range(3):
        method.begin_epoch(epoch)
        step(model, optimizer)
        assert model[0].weight[0, 1] == 0.0 == model[0].weight[1, 0]
    assert model[0].weight[0, 0] != before[0, 0]
    assert model[0].weight[1, 1] != before[1, 1]
    assert int((model[1].weight == 0).sum()) == 0


def test_a_weight_that_training_moves_to_zero_may_leave_it_again_also_after_a_restart() -> None:
    model = sparse_net()
    method, _ = attached(model)
    with torch.no_grad():
        model[0].weight[0, 0] = 0.0
    saved = method.state_dict()
    again = sparse_net()
    again.load_state_dict(model.state_dict())
    restored, optimizer = attached(again)
    restored.load_state_dict(saved)
    step(again, optimizer)
    assert again[0].weight[0, 0] != 0.0
    assert again[0].weight[0, 1] == 0.0


def test_layers_without_a_zero_count_as_not_pruned() -> None:
    method, _ = attached(sparse_net())
    assert excluded(method.shares) == ["1.weight"]
    assert method.shares[0].names == ("0.weight",)
    assert method.shares[0].target == 0.5
    assert method.work() == Work(True, True, True)


def test_a_dense_model_has_no_mask_to_read_off() -> None:
    with pytest.raises(ValueError, match="zero"):
        attached(nn.Linear(2, 2))


def test_its_model_is_sparse_and_has_no_partner() -> None:
    model = sparse_net()
    method, _ = attached(model)
    outputs = method.outputs()
    assert outputs["dense"] is None
    assert outputs["sparse"].keys() == model.state_dict().keys()


def test_detached_weights_move_freely() -> None:
    model = sparse_net()
    method, optimizer = attached(model)
    method.detach()
    step(model, optimizer)
    assert model[0].weight[0, 1] != 0.0
