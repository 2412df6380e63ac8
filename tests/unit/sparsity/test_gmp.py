"""GMP: the counts of Zhu & Gupta's equation 1 at every step, and what is pruned stays pruned."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers.toy_layers import mask_of, plain_sgd, row, rows, step, weights_of
from torch import Tensor, nn

from acdc_cli.sparsity.methods import gmp
from acdc_cli.sparsity.target import AllocationError
from acdc_cli.sparsity.window import Window

TWENTY = tuple(float(number) for number in range(1, 21))
STILL = (0.0,) * 20


def removed_after_each_step(window: Window, steps: int, **options: float) -> list[int]:
    """Of 20 weights at a final 0.8, before the first step and after each; the smallest of them every time."""
    layer = row(*TWENTY)
    optimizer = plain_sgd(layer)
    method = gmp(0.8, window, **options).attach(layer, optimizer)
    counts = []
    for done in range(steps + 1):
        if done == 0:
            method.begin_epoch(0)
        else:
            step(layer, optimizer, *STILL)
        counts.append(weights_of(layer).count(0.0))
        assert weights_of(layer) == [0.0] * counts[-1] + list(TWENTY[counts[-1] :])
        assert method.masks is None or mask_of(method) == [0] * counts[-1] + [1] * (20 - counts[-1])
    return counts


def test_cubic_counts_by_hand() -> None:
    """s = 0, 0.4625, 0.7, 0.7875, 0.8 after 1 to 5 steps: 0, 9.25, 14, 15.75 and 16 of 20."""
    assert removed_after_each_step(Window(1, 5, 1), 7) == [0, 0, 9, 14, 16, 16, 16, 16]


def test_linear_counts_by_hand() -> None:
    assert removed_after_each_step(Window(1, 5, 1), 6, power=1.0) == [0, 0, 4, 8, 12, 16, 16]


def test_between_due_steps_nothing_moves() -> None:
    """Due after 2, 4 and 6 steps: s = 0, 0.7, 0.8."""
    assert removed_after_each_step(Window(2, 7, 2), 9) == [0, 0, 0, 0, 14, 14, 16, 16, 16, 16]


def test_the_initial_sparsity_is_there_before_the_first_step() -> None:
    """0.8 - 0.55 (1 - p)^3 of 20: 5, 11.36, 14.625, 15.83, 16."""
    assert removed_after_each_step(Window(0, 4, 1), 5, initial_sparsity=0.25) == [5, 11, 15, 16, 16, 16]


def test_a_window_of_one_step_prunes_at_once() -> None:
    assert removed_after_each_step(Window(3, 3, 1), 5) == [0, 0, 0, 16, 16, 16]


def test_there_are_no_masks_before_the_window() -> None:
    layer = row(*TWENTY)
    optimizer = plain_sgd(layer)
    method = gmp(0.8, Window(2, 4, 1)).attach(layer, optimizer)
    method.begin_epoch(0)
    step(layer, optimizer, *STILL)
    assert method.masks is None
    step(layer, optimizer, *STILL)
    assert mask_of(method) == [1] * 20


PAIR = ((1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0))


@pytest.mark.parametrize(
    ("distribution", "first", "second"),
    [
        ("global", [0, 0, 0, 0], [1, 1, 1, 1]),
        ("uniform", [0, 0, 1, 1], [0, 0, 1, 1]),
        ("erk", [0, 0, 1, 1], [0, 0, 1, 1]),
    ],
)
def test_ranked_over_all_layers_or_within_each(distribution: str, first: list[int], second: list[int]) -> None:
    model = rows(*PAIR)
    method = gmp(0.5, Window(0, 0, 1), distribution=distribution).attach(model, plain_sgd(model))
    method.begin_epoch(0)
    assert [mask_of(method, "0.weight"), mask_of(method, "1.weight")] == [first, second]


def test_layers_with_a_target_of_their_own_follow_a_schedule_of_their_own() -> None:
    """After 1 of 2 steps seven eighths of the way: of 8 at 0.5 (from 0.25) 3.75, of 8 at 0.25 (no lower) 2, none."""
    numbers = tuple(float(number) for number in range(1, 9))
    model = rows(numbers, numbers, numbers)
    optimizer = plain_sgd(model)
    rules = {"1": 0.25, "2": 0}
    method = gmp(0.5, Window(0, 2, 1), initial_sparsity=0.25, rules=rules).attach(model, optimizer)
    method.begin_epoch(0)
    counts = [[8 - sum(mask_of(method, f"{index}.weight")) for index in range(3)]]
    for _ in range(2):
        optimizer.zero_grad()
        sum(layer(torch.zeros(1, 8)).sum() for layer in model).backward()
        optimizer.step()
        counts.append([8 - sum(mask_of(method, f"{index}.weight")) for index in range(3)])
    assert counts == [[2, 2, 0], [4, 2, 0], [4, 2, 0]]
    assert weights_of(model[2]) == list(numbers)


@pytest.mark.parametrize("options", [{"sparsity": "2:4"}, {"sparsity": 0.5, "rules": {"last": "2:4"}}])
def test_n_to_m_is_refused(options: dict) -> None:
    with pytest.raises(AllocationError, match=r"gmp cannot honour N:M"):
        gmp(window=Window(0, 2, 1), **options)


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"sparsity": 0.9, "rules": {"last": 0.5}}])
def test_a_start_above_the_final_sparsity_is_refused(options: dict) -> None:
    """What is pruned never comes back."""
    with pytest.raises(AllocationError, match=r"initial_sparsity 0\.6 is above"):
        gmp(window=Window(0, 2, 1), initial_sparsity=0.6, **options)


def test_layers_at_0_stay_whole_whatever_the_start() -> None:
    model = rows(TWENTY, TWENTY)
    method = gmp(0.0, Window(0, 0, 1), initial_sparsity=0.25, rules={"1": 0.5}).attach(model, plain_sgd(model))
    method.begin_epoch(0)
    assert [sum(mask_of(method, f"{index}.weight")) for index in range(2)] == [20, 10]


def test_what_is_pruned_never_comes_back_though_a_kept_weight_becomes_zero() -> None:
    layer = row(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    optimizer = plain_sgd(layer)
    method = gmp(0.5, Window(0, 2, 1), power=1.0).attach(layer, optimizer)
    method.begin_epoch(0)
    step(layer, optimizer, *(0.0,) * 8)  # 0.25: 1 and 2 go
    assert mask_of(method) == [0, 0, 1, 1, 1, 1, 1, 1]
    step(layer, optimizer, -9.0, -9.0, 0.0, 0.0, 0.0, 0.0, 7.0, 8.0)  # the last two are now exactly 0: they go
    assert mask_of(method) == [0, 0, 1, 1, 1, 1, 0, 0]
    assert weights_of(layer) == [0.0, 0.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("weights", "zeroed", "expected"),
    [
        ((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), (2, 3, 4), [0, 0, 0, 0, 1, 1, 1, 1]),
        ((5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0), (0, 1, 2), [0, 0, 1, 1, 0, 0, 1, 1]),
    ],
)
def test_a_kept_weight_that_training_has_moved_to_zero_outranks_what_is_pruned(
    weights: tuple[float, ...], zeroed: tuple[int, ...], expected: list[int]
) -> None:
    """1 and 2 are pruned; then three connections become exactly 0, and the first two of them go, not all three."""
    layer = row(*weights)
    optimizer = plain_sgd(layer)
    method = gmp(0.5, Window(0, 2, 1), power=1.0).attach(layer, optimizer)
    method.begin_epoch(0)
    step(layer, optimizer, *(0.0,) * 8)
    assert mask_of(method) == [int(weight > 2) for weight in weights]
    step(layer, optimizer, *(weights[place] if place in zeroed else 0.0 for place in range(8)))
    assert mask_of(method) == expected


def deep_net() -> nn.Sequential:
    torch.manual_seed(0)
    sizes = [6, 14, 10, 26, 8, 4]
    return nn.Sequential(*(nn.Linear(*pair) for pair in itertools.pairwise(sizes)))


@pytest.mark.parametrize(
    "spread",
    [
        {"distribution": "global"},
        {"distribution": "global", "min_layer_density": 0.05},
        {"distribution": "uniform"},
        {"distribution": "erk"},
        {"distribution": "global", "block": (2, 2)},
        {"distribution": "uniform", "block": (2, 2)},
    ],
    ids=str,
)
def test_masks_are_nested_and_zeros_exact_whatever_trains(spread: dict) -> None:
    model = deep_net()
    optimizer = plain_sgd(model, lr=0.3, momentum=0.9, weight_decay=0.05)
    method = gmp(0.9, Window(2, 40, 1), power=1.0, **spread).attach(model, optimizer)
    total = sum(layer.weight.numel() for layer in model)
    before: dict[str, Tensor] = {}
    for index in range(42):
        method.begin_epoch(index) if index % 10 == 0 else None
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(index)
        images, labels = torch.randn(8, 6, generator=generator), torch.randint(4, (8,), generator=generator)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        if index == 0:
            continue
        progress = min(max(index + 1 - 2, 0) / 38, 1.0)
        removed = sum(int((~mask).sum()) for _, mask in method.masks.items())
        if spread["distribution"] != "uniform":
            assert removed == round(0.9 * progress * total)
        for name, mask in method.masks.items():
            assert not (mask & ~before.get(name, mask)).any(), f"{name} grew in step {index}"
            assert not model.get_parameter(name)[~mask].any()
        before = method.masks.snapshot()


def test_masks_are_nested_where_erk_would_give_a_weight_back() -> None:
    """One weight more in all can be one less for a layer, when whole weights go by the largest remainder."""
    model = deep_net()
    total = sum(layer.weight.numel() for layer in model)
    optimizer = plain_sgd(model)
    method = gmp(0.9, Window(0, total, 1), power=1.0, distribution="erk").attach(model, optimizer)
    method.begin_epoch(0)
    before = method.masks.kept_per_layer()
    for _ in range(total):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        kept = method.masks.kept_per_layer()
        assert all(kept[name] <= before[name] for name in kept)
        before = kept
    assert abs(sum(before.values()) - (total - round(0.9 * total))) <= len(model)
