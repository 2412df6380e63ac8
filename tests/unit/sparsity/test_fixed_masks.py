"""Masks chosen once: at random, and by the magnitudes that are there when the method is attached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.toy_layers import mask_of, plain_sgd, row, rows, step, weights_of
from torch import nn

from acdc_cli.sparsity.methods import magnitude, random_static, rigl
from acdc_cli.sparsity.target import AllocationError
from acdc_cli.sparsity.window import Window


def test_magnitude_keeps_the_largest_weights_there_are() -> None:
    layer = row(1.0, -4.0, 2.0, 3.0, -0.5, 0.25)
    optimizer = plain_sgd(layer, momentum=0.9, weight_decay=0.1)
    method = magnitude(0.5).attach(layer, optimizer)
    assert mask_of(method) == [0, 1, 1, 1, 0, 0]
    assert weights_of(layer) == [0.0, -4.0, 2.0, 3.0, 0.0, 0.0]
    for epoch in range(3):
        method.begin_epoch(epoch)
        step(layer, optimizer, *(9.0, -1.0) * 3)
        assert mask_of(method) == [0, 1, 1, 1, 0, 0]
        assert [weights_of(layer)[place] for place in (0, 4, 5)] == [0.0] * 3
    assert weights_of(layer)[1] > -4.0


def test_magnitude_over_all_layers_within_each_by_rule_and_in_groups() -> None:
    def masks(target: float | str, **spread: object) -> list[list[int]]:
        model = rows((1.0, 2.0, 3.0, 4.0), (10.0, 30.0, 40.0, 20.0))
        method = magnitude(target, **spread).attach(model, plain_sgd(model))
        return [mask_of(method, "0.weight"), mask_of(method, "1.weight")]

    assert masks(0.5) == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert masks(0.5, min_layer_density=0.25) == [[0, 0, 0, 1], [0, 1, 1, 1]]
    assert masks(0.5, distribution="uniform") == [[0, 0, 1, 1], [0, 1, 1, 0]]
    assert masks(0.5, rules={"last": 0.75}, distribution="uniform") == [[0, 0, 1, 1], [0, 0, 1, 0]]
    assert masks("1:4") == [[0, 0, 0, 1], [0, 0, 1, 0]]


def random_masks(seed: int, target: float | str = 0.8, **spread: object) -> dict[str, torch.Tensor]:
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 20))
    return random_static(target, seed=seed, **spread).attach(model, plain_sgd(model)).masks.snapshot()


@pytest.mark.parametrize(
    ("spread", "kept"), [({"distribution": "uniform"}, [20, 40]), ({"distribution": "erk"}, [24, 36])], ids=str
)
def test_random_counts_are_exact(spread: dict, kept: list[int]) -> None:
    assert [int(mask.sum()) for mask in random_masks(0, **spread).values()] == kept


def test_random_over_all_layers_is_exact_in_sum_and_n_to_m_in_every_group() -> None:
    assert sum(int(mask.sum()) for mask in random_masks(0).values()) == 60
    layer = nn.Linear(8, 16)
    method = random_static("2:4").attach(layer, plain_sgd(layer))
    assert torch.equal(method.masks["weight"].view(-1, 4).sum(dim=1), torch.full((32,), 2))


def test_random_masks_depend_on_the_seed_alone_and_not_on_the_weights() -> None:
    torch.manual_seed(1)
    first = random_masks(0)
    torch.manual_seed(2)
    assert all(torch.equal(mask, first[name]) for name, mask in random_masks(0).items())
    assert not any(torch.equal(mask, first[name]) for name, mask in random_masks(1).items())


def test_random_masks_are_spread_evenly() -> None:
    """Of 100 x 100 at 0.5, each half keeps 2500 +- 5 deviations of 35 (hypergeometric)."""
    layer = nn.Linear(100, 100)
    mask = random_static(0.5).attach(layer, plain_sgd(layer)).masks["weight"]
    assert int(mask.sum()) == 5000
    assert abs(int(mask[:50].sum()) - 2500) < 177
    assert abs(int(mask[:, :50].sum()) - 2500) < 177


def test_random_masks_stay_and_their_zeros_too() -> None:
    layer = row(*(1.0,) * 8)
    optimizer = plain_sgd(layer, lr=0.1, momentum=0.9, weight_decay=0.1)
    method = random_static(0.5).attach(layer, optimizer)
    first = mask_of(method)
    assert sum(first) == 4
    assert weights_of(layer) == [float(kept) for kept in first]
    for epoch in range(3):
        method.begin_epoch(epoch)
        step(layer, optimizer, *(1.0,) * 8)
        assert mask_of(method) == first
        assert [weight != 0.0 for weight in weights_of(layer)] == [bool(kept) for kept in first]


@pytest.mark.parametrize("make", [random_static, lambda *a, **o: rigl(*a, window=Window(0, 4, 2), **o)])
def test_a_random_network_with_an_empty_layer_is_refused_and_leaves_no_hook(make: Callable[..., Any]) -> None:
    """Of 8 and 2 weights at 0.9 stay 8 - 7 = 1 and 2 - 2 = 0."""
    model = nn.ModuleDict({"wide": row(*(1.0,) * 8), "narrow": row(1.0, 1.0)})
    optimizer = plain_sgd(model)
    with pytest.raises(AllocationError, match=r"target 0\.9: narrow\.weight would keep no weight"):
        make(0.9, distribution="uniform").attach(model, optimizer)
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    assert weights_of(model["wide"]) == [1.0] * 8
