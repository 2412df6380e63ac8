"""RigL (Algorithm 1) and SET: which connections move, written out by hand, and that nothing else does."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from helpers.toy_layers import backward, gradient_of, mask_of, plain_sgd, row, set_masks, step, weights_of
from torch import nn
from torch.optim import Optimizer

from acdc_cli.sparsity.methods import rigl, set_
from acdc_cli.sparsity.moving import MovingMasks
from acdc_cli.sparsity.target import AllocationError
from acdc_cli.sparsity.window import Window

START = [1, 1, 1, 1, 0, 0, 0, 0]
EIGHT = (4.0, -1.0, 3.0, -2.0, 0.0, 0.0, 0.0, 0.0)
STILL = (0.0,) * 8
GROWING = (1.0, 1.0, 1.0, 1.0, 5.0, -9.0, 2.0, 7.0)
# Half the way through, 1 / 2 (1 + cos(pi / 2)) = 0.5: two of four connections move.
HALF_WAY = Window(0, 4, 2)
MakeOptimizer = Callable[[nn.Module], Optimizer]
OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd": lambda model: plain_sgd(model, lr=0.01, momentum=0.9, weight_decay=0.1),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1, amsgrad=True),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1),
}


def eight(make: MakeOptimizer = plain_sgd, window: Window = HALF_WAY) -> tuple[nn.Linear, Optimizer, MovingMasks]:
    """Four connections of eight, on a layer that is at ``EIGHT``."""
    layer = row(*EIGHT)
    optimizer = make(layer)
    method = rigl(0.5, window, drop_fraction=1.0, distribution="uniform").attach(layer, optimizer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([EIGHT]))
    set_masks(method, weight=START)
    method.begin_epoch(0)
    return layer, optimizer, method


def test_the_smallest_weights_go_and_the_largest_gradients_come() -> None:
    layer, optimizer, method = eight()
    for _ in range(2):
        step(layer, optimizer, *STILL)
        assert mask_of(method) == START
    step(layer, optimizer, *GROWING)  # drops -1 and -2; grows -9 and 7
    assert mask_of(method) == [1, 0, 1, 0, 0, 1, 0, 1]
    assert weights_of(layer) == [4.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    step(layer, optimizer, *(1.0,) * 8)  # now the new ones train
    assert weights_of(layer) == [3.0, 0.0, 2.0, 0.0, 0.0, -1.0, 0.0, -1.0]


def test_a_dropped_connection_that_grows_again_keeps_its_weight() -> None:
    """As in RigL's code: it is no new connection."""
    layer, optimizer, method = eight()
    for _ in range(2):
        step(layer, optimizer, *STILL)
    step(layer, optimizer, 0.0, 8.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0)  # drops 1 and 3; grows 1 (8) and 7 (4)
    assert mask_of(method) == [1, 1, 1, 0, 0, 0, 0, 1]
    assert weights_of(layer) == [4.0, -1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_the_number_that_moves_follows_the_cosine() -> None:
    """int(alpha / 2 (1 + cos(pi t / T)) k): with k = 100, alpha = 0.3, T = 40: 25.6, 15 and 4.4 at t = 10, 20, 30."""
    layer = row(*(float(number) for number in range(1, 201)))
    optimizer = plain_sgd(layer)
    method = rigl(0.5, Window(0, 40, 10), drop_fraction=0.3, distribution="uniform").attach(layer, optimizer)
    method.begin_epoch(0)
    moved = {}
    for index in range(50):
        before = method.masks.snapshot()["weight"]
        gradient = torch.where(before, 0.0, 1.0)[0]  # all that are outside want in, none that is dropped
        step(layer, optimizer, *gradient.tolist())
        changed = int((before & ~method.masks["weight"]).sum())
        assert int((~before & method.masks["weight"]).sum()) == changed
        assert int(method.masks["weight"].sum()) == 100
        if changed:
            moved[index] = changed
    assert moved == {10: 25, 20: 15, 30: 4}
    assert math.floor(0.15 * (1 + math.sqrt(0.5)) * 100) == 25


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_new_connections_begin_at_zero_with_cleared_moments_and_the_others_keep_theirs(name: str) -> None:
    layer, optimizer, method = eight(OPTIMIZERS[name])
    for _ in range(2):
        step(layer, optimizer, *(1.0,) * 8)
    state = optimizer.state[layer.weight]
    moments = {key: value.clone() for key, value in state.items() if value.shape == layer.weight.shape}
    assert len(moments) == {"sgd": 1, "adam": 3, "adamw": 2}[name]
    weights = weights_of(layer)
    step(layer, optimizer, *GROWING)
    moved, stayed = [1, 3, 5, 7], [0, 2, 4, 6]
    assert mask_of(method) == [1, 0, 1, 0, 0, 1, 0, 1]
    for key, before in moments.items():
        assert not state[key][0, moved].any(), key
        assert torch.equal(state[key][0, stayed], before[0, stayed]), key
    assert [weights_of(layer)[place] for place in moved] == [0.0] * 4
    assert [weights_of(layer)[place] for place in stayed] == [weights[place] for place in stayed]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_replaces_a_step_of_the_optimizer(name: str) -> None:
    """Algorithm 1: either the connections move or the weights do. Biases, norms, decay and counters stand still."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    optimizer = OPTIMIZERS[name](model)
    method = rigl(0.5, Window(0, 30, 3), distribution="uniform").attach(model, optimizer)
    method.begin_epoch(0)
    for index in range(7):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).pow(2).mean().backward()
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        states = {p: {k: torch.as_tensor(v).clone() for k, v in s.items()} for p, s in optimizer.state.items()}
        masks = method.masks.snapshot()
        optimizer.step()
        is_due = index in (3, 6)
        for key, parameter in model.named_parameters():
            moved = masks[key] != method.masks[key] if key in masks else torch.zeros_like(parameter, dtype=torch.bool)
            assert bool(moved.any()) == (is_due and key in masks), (index, key)
            assert torch.equal(before[key][~moved], parameter[~moved]) == is_due, (index, key)
            for state, value in states.get(parameter, {}).items() if is_due else ():
                now = torch.as_tensor(optimizer.state[parameter][state])
                same = ~moved if now.shape == moved.shape else ...
                assert torch.equal(now[same], value[same]), (index, key, state)


def test_gradients_are_dense_before_a_due_step_alone() -> None:
    layer, optimizer, _ = eight(window=Window(0, 8, 2))
    seen = []
    for _ in range(6):
        optimizer.zero_grad()
        backward(layer, *GROWING)
        seen.append(sum(value != 0 for value in gradient_of(layer)))
        optimizer.step()
    assert seen == [4, 4, 8, 4, 8, 4]  # 4 connections; all 8 weights at steps 2 and 4


def test_gradients_outside_the_masks_are_zero_at_other_steps() -> None:
    layer, _, _ = eight()
    backward(layer, *GROWING)
    backward(layer, *GROWING)
    assert gradient_of(layer) == [2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]


def test_gradients_of_several_passes_add_up() -> None:
    layer, optimizer, method = eight()
    for _ in range(2):
        step(layer, optimizer, *STILL)
    optimizer.zero_grad()
    backward(layer, *GROWING)
    backward(layer, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 0.5, -6.5)  # together 5, 0, 2.5 and 0.5
    optimizer.step()
    assert mask_of(method) == [1, 0, 1, 0, 1, 0, 1, 0]


def test_no_move_at_the_end_of_the_window_takes_no_step_away() -> None:
    """Algorithm 1: t < T_end."""
    layer, optimizer, method = eight(window=Window(0, 2, 2))
    for _ in range(3):
        step(layer, optimizer, *(0.5,) * 8)
    assert mask_of(method) == START
    assert weights_of(layer)[:4] == [2.5, -2.5, 1.5, -3.5]


def test_a_window_that_starts_later() -> None:
    """Due after 3 and 5 steps; the cosine counts from the run's first step, as in the paper: half of it at 3 of 6."""
    layer, optimizer, method = eight(window=Window(3, 6, 2))
    for _ in range(3):
        step(layer, optimizer, *STILL)
        assert mask_of(method) == START
    step(layer, optimizer, *GROWING)
    assert mask_of(method) == [1, 0, 1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("options", [{}, {"fused": True}], ids=["plain", "fused"])
def test_a_due_step_that_the_scaler_skips_is_due_again(options: dict) -> None:
    layer, optimizer, method = eight(lambda model: plain_sgd(model, **options))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def scaled(*gradient: float) -> None:
        optimizer.zero_grad()
        scaler.scale(layer(torch.tensor([gradient])).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    for _ in range(2):
        scaled(*STILL)
    scaled(1.0, 1.0, 1.0, 1.0, math.inf, math.inf, 2.0, 7.0)
    assert mask_of(method) == START
    assert weights_of(layer) == list(EIGHT)
    scaled(*GROWING)
    assert mask_of(method) == [1, 0, 1, 0, 0, 1, 0, 1]
    scaled(*(1.0,) * 8)
    assert weights_of(layer) == [3.0, 0.0, 2.0, 0.0, 0.0, -1.0, 0.0, -1.0]


def test_under_bf16_autocast() -> None:
    layer, optimizer, method = eight()
    for gradient in (STILL, STILL, GROWING):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(torch.tensor([gradient])).sum()
        output.backward()
        optimizer.step()
    assert mask_of(method) == [1, 0, 1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("make", [rigl, set_])
@pytest.mark.parametrize(
    ("distribution", "kept"),
    [("uniform", [20, 40]), ("erk", [24, 36])],  # ERK: 60 over (10 + 10) + (10 + 20) dimensions are 1.2 each
)
def test_counts_are_exact_and_constant(make: Callable, distribution: str, kept: list[int]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 20))
    optimizer = plain_sgd(model, lr=0.1, momentum=0.9)
    method = make(0.8, Window(0, 20, 2), distribution=distribution).attach(model, optimizer)
    for index in range(20):
        if index % 5 == 0:
            method.begin_epoch(index // 5)
        assert list(method.masks.kept_per_layer().values()) == kept
        optimizer.zero_grad()
        model(torch.randn(4, 10)).pow(2).mean().backward()
        optimizer.step()
        for key, mask in method.masks.items():
            assert not model.get_parameter(key)[~mask].any()


@pytest.mark.parametrize("make", [rigl, set_])
def test_what_layer_by_layer_methods_cannot_do_is_refused(make: Callable) -> None:
    with pytest.raises(AllocationError, match=r"distribution global.*layer by layer"):
        make(0.5, Window(0, 4, 2))
    with pytest.raises(AllocationError, match="cannot honour N:M"):
        make("2:4", Window(0, 4, 2), distribution="uniform")
    with pytest.raises(AllocationError, match="cannot honour N:M"):
        make(0.5, Window(0, 4, 2), distribution="uniform", rules={"last": "1:4"})


def test_a_dense_layer_has_nothing_to_move_and_a_layer_without_gradient_does_not() -> None:
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)])
    optimizer = plain_sgd(model)
    method = rigl(0.5, Window(0, 4, 1), drop_fraction=1.0, distribution="uniform", rules={"first": 0})
    method.attach(model, optimizer).begin_epoch(0)
    before = method.masks.snapshot()
    assert int(before["0.weight"].sum()) == 16
    for _ in range(3):
        optimizer.zero_grad()
        model[1](model[0](torch.randn(8, 4))).pow(2).sum().backward()
        optimizer.step()
    assert torch.equal(method.masks["0.weight"], before["0.weight"])
    assert not torch.equal(method.masks["1.weight"], before["1.weight"])
    assert torch.equal(method.masks["2.weight"], before["2.weight"])
