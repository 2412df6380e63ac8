"""Iterative hard thresholding: theta_{t+1} = T_k(theta_t - eta g_t), three steps by hand."""

from __future__ import annotations

import pytest
import torch
from helpers.toy_layers import backward, gradient_of, mask_of, plain_sgd, row, rows, step, weights_of
from torch import nn

from acdc_cli.sparsity.methods import iht
from acdc_cli.sparsity.window import Window

ALWAYS = Window(0, 10_000, 1)


def test_three_steps_by_hand() -> None:
    layer = row(4.0, 3.0, 2.0, 1.0)
    optimizer = plain_sgd(layer)
    method = iht(0.5, ALWAYS).attach(layer, optimizer)
    assert weights_of(layer) == [4.0, 3.0, 2.0, 1.0]
    method.begin_epoch(0)  # theta_0 is k-sparse, as the theory begins
    assert weights_of(layer) == [4.0, 3.0, 0.0, 0.0]
    step(layer, optimizer, 0.0, 2.0, -2.5, 0.0)  # 4, 1, 2.5, 0
    assert weights_of(layer) == [4.0, 0.0, 2.5, 0.0]
    assert mask_of(method) == [1, 0, 1, 0]
    step(layer, optimizer, 1.0, -3.5, 0.0, -1.0)  # 3, 3.5, 2.5, 1: the second weight is back
    assert weights_of(layer) == [3.0, 3.5, 0.0, 0.0]
    assert mask_of(method) == [1, 1, 0, 0]
    step(layer, optimizer, 0.0, 0.0, 0.0, -5.0)  # 3, 3.5, 0, 5
    assert weights_of(layer) == [0.0, 3.5, 0.0, 5.0]


def test_eta_is_the_optimizers_rate_and_gradients_are_dense() -> None:
    layer = row(4.0, 3.0, 2.0, 1.0)
    optimizer = plain_sgd(layer, lr=0.5)
    iht(0.5, ALWAYS).attach(layer, optimizer).begin_epoch(0)
    backward(layer, 0.0, 0.0, 7.0, 0.0)
    assert gradient_of(layer) == [0.0, 0.0, 7.0, 0.0]
    optimizer.step()  # 4, 3, -3.5, 0
    assert weights_of(layer) == [4.0, 0.0, -3.5, 0.0]


def test_momentum_moves_what_stands_at_zero_as_the_definition_says() -> None:
    """Buffers are not touched: 2, then 0.5 * 2 + 2 = 3, and the third weight comes in with -3."""
    layer = row(4.0, 2.5, 0.0)
    optimizer = plain_sgd(layer, momentum=0.5)
    iht(1 / 3, ALWAYS).attach(layer, optimizer).begin_epoch(0)
    step(layer, optimizer, 0.0, 0.0, 2.0)
    assert weights_of(layer) == [4.0, 2.5, 0.0]
    step(layer, optimizer, 0.0, 0.0, 2.0)
    assert weights_of(layer) == [4.0, 0.0, -3.0]


def test_fewer_thresholds() -> None:
    layer = row(4.0, 3.0, 2.0, 1.0)
    optimizer = plain_sgd(layer)
    iht(0.5, Window(2, 4, 2)).attach(layer, optimizer).begin_epoch(0)
    seen = []
    for _ in range(4):
        step(layer, optimizer, 0.0, 0.0, -2.0, -1.0)
        seen.append(weights_of(layer))
    assert seen == [[4, 3, 4, 2], [4, 0, 6, 0], [4, 0, 8, 1], [4, 0, 10, 0]]  # 4 3 6 3 and 4 0 10 2 are cut to two


@pytest.mark.parametrize(
    ("spread", "kept"),
    [
        ({}, None),
        ({"distribution": "uniform"}, [20, 40]),
        ({"distribution": "erk"}, [24, 36]),
        ({"distribution": "uniform", "rules": {"first": 0}}, [100, 40]),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_count_is_exact_after_every_step(spread: dict, kept: list[int] | None, kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 20))
    optimizer = plain_sgd(model, 0.1, momentum=0.9, weight_decay=0.1)
    if kind == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
    method = iht(0.8, ALWAYS, **spread).attach(model, optimizer)
    for index in range(12):
        if index % 4 == 0:
            method.begin_epoch(index // 4)
        counts = [int(layer.weight.count_nonzero()) for layer in model]
        assert counts == kept if kept else sum(counts) == 60
        assert list(method.masks.kept_per_layer().values()) == counts
        optimizer.zero_grad()
        model(torch.randn(4, 10)).pow(2).mean().backward()
        optimizer.step()


def test_n_to_m_holds_after_every_step() -> None:
    layer = row(4.0, 3.0, 2.0, 1.0)
    optimizer = plain_sgd(layer)
    iht("1:4", ALWAYS).attach(layer, optimizer).begin_epoch(0)
    assert weights_of(layer) == [4.0, 0.0, 0.0, 0.0]
    step(layer, optimizer, 2.0, 0.0, -3.0, 0.0)
    assert weights_of(layer) == [0.0, 0.0, 3.0, 0.0]


def test_two_optimizers_threshold_after_the_last_of_them() -> None:
    model = rows((4.0, 3.0), (2.0, 1.0))
    optimizers = [plain_sgd(layer) for layer in model]
    iht(0.5, ALWAYS).attach(model, optimizers).begin_epoch(0)
    backward(model[0], 0.0, 2.0)
    backward(model[1], 0.0, 2.5)
    for optimizer in optimizers:
        optimizer.step()  # 4, 1; 0, -2.5
    assert [weights_of(layer) for layer in model] == [[4.0, 0.0], [0.0, -2.5]]
