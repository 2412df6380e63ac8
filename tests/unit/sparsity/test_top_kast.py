"""Top-KAST: what the forward pass sees, what the backward pass moves, and the pull on B without A, all by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.toy_layers import backward, gradient_of, mask_of, plain_sgd, row, rows, step, weights_of
from torch import nn
from torch.optim import Optimizer

from acdc_cli.sparsity.methods import TopKAST
from acdc_cli.sparsity.target import AllocationError

EIGHT = (8.0, -7.0, 6.0, -5.0, 4.0, -3.0, 2.0, 1.0)
STILL = (0.0,) * 8


def eight(
    make: Callable[[nn.Module], Optimizer] = plain_sgd, **options: object
) -> tuple[nn.Linear, Optimizer, TopKAST]:
    """A: the two largest of eight; B: the four largest."""
    layer = row(*EIGHT)
    optimizer = make(layer)
    method = TopKAST(0.75, **{"backward_sparsity": 0.5, **options}).attach(layer, optimizer)
    method.begin_epoch(0)
    return layer, optimizer, method


def stored_of(method: TopKAST, name: str = "weight") -> list[float]:
    return method.state_dict()["stored"][name][0].tolist()


def test_two_steps_by_hand() -> None:
    layer, optimizer, method = eight()
    assert weights_of(layer) == [8.0, -7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    backward(layer, 2.0, 1.0, 1.5, 2.0, 9.0, 9.0, 9.0, 9.0)
    assert gradient_of(layer) == [2.0, 1.0, 1.5, 2.0, 0.0, 0.0, 0.0, 0.0]  # B
    optimizer.step()
    assert stored_of(method) == [6.0, -8.0, 4.5, -7.0, 4.0, -3.0, 2.0, 1.0]
    assert mask_of(method) == [0, 1, 0, 1, 0, 0, 0, 0]
    assert weights_of(layer) == [0.0, -8.0, 0.0, -7.0, 0.0, 0.0, 0.0, 0.0]
    step(layer, optimizer, 2.5, 0.0, 2.0, 0.0, 9.0, 9.0, 9.0, 9.0)
    assert stored_of(method) == [3.5, -8.0, 2.5, -7.0, 4.0, -3.0, 2.0, 1.0]
    assert weights_of(layer) == [0.0, -8.0, 0.0, -7.0, 0.0, 0.0, 0.0, 0.0]
    optimizer.zero_grad()
    backward(layer, *(1.0,) * 8)  # B is now 8, 7, 4 and 3.5
    assert gradient_of(layer) == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_the_forward_pass_uses_a_alone() -> None:
    layer, _, _ = eight()
    assert layer(torch.ones(1, 8)).item() == 8.0 - 7.0


def test_a_weight_that_leaves_a_keeps_its_value_and_comes_back_with_it() -> None:
    layer, optimizer, method = eight()
    step(layer, optimizer, 2.5, 0.0, -3.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # 5.5 leaves, 9 enters
    assert weights_of(layer) == [0.0, -7.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    step(layer, optimizer, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # 9 - 4 = 5
    assert weights_of(layer) == [5.5, -7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert stored_of(method) == [5.5, -7.0, 5.0, -5.0, 4.0, -3.0, 2.0, 1.0]


def test_a_and_b_are_chosen_anew_after_every_interval() -> None:
    layer, optimizer, method = eight(interval=3)
    for count in (1, 2):
        step(layer, optimizer, 3.0, 0.0, -3.0, 0.0, 9.0, 9.0, 9.0, 9.0)
        assert weights_of(layer) == [8.0 - 3 * count, -7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        assert mask_of(method) == [1, 1, 0, 0, 0, 0, 0, 0]
    step(layer, optimizer, 0.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0)
    assert mask_of(method) == [0, 1, 1, 0, 0, 0, 0, 0]
    assert stored_of(method) == [2.0, -7.0, 12.0, -5.0, 4.0, -3.0, 2.0, 1.0]
    assert weights_of(layer) == [0.0, -7.0, 12.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_with_backward_sparsity_0_every_weight_moves() -> None:
    layer, optimizer, method = eight(backward_sparsity=0)
    step(layer, optimizer, *(0.5,) * 8)
    assert stored_of(method) == [7.5, -7.5, 5.5, -5.5, 3.5, -3.5, 1.5, 0.5]
    assert sum(weight != 0 for weight in weights_of(layer)) == 2
    assert method.work().weight_gradient_weights == {"weight": 8}


def test_with_equal_sparsities_a_alone_moves() -> None:
    layer, optimizer, method = eight(backward_sparsity=0.75)
    step(layer, optimizer, *(0.5,) * 8)
    assert stored_of(method) == [7.5, -7.5, *EIGHT[2:]]


def test_the_regulariser_pulls_four_times_as_hard_outside_a_quarter_dense() -> None:
    """D = 2 / 8: with decay 0.125 a weight of A loses an eighth, one of B without A four, others nothing."""
    layer, optimizer, method = eight(lambda model: plain_sgd(model, weight_decay=0.125))
    step(layer, optimizer, *STILL)
    assert stored_of(method) == [7.0, -6.125, 3.0, -2.5, 4.0, -3.0, 2.0, 1.0]


def test_the_regulariser_adds_to_the_loss_gradient() -> None:
    layer, optimizer, method = eight(lambda model: plain_sgd(model, weight_decay=0.125))
    step(layer, optimizer, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert stored_of(method) == [6.0, -7.125, 2.0, -3.5, 4.0, -3.0, 2.0, 1.0]


def test_the_regulariser_of_decoupled_decay_is_decoupled_too() -> None:
    """AdamW multiplies by 1 - lr * decay: here by 7/8 in A, and by 1 - 4/8 in B without A."""
    layer, optimizer, method = eight(lambda model: torch.optim.AdamW(model.parameters(), lr=0.5, weight_decay=0.25))
    step(layer, optimizer, *STILL)
    expected = torch.tensor([7.0, -6.125, 3.0, -2.5, 4.0, -3.0, 2.0, 1.0])
    torch.testing.assert_close(torch.tensor(stored_of(method)), expected)


def test_the_density_of_a_global_ranking_is_one_for_all_layers() -> None:
    """A: 8 and 7, B: 6 and 5 too, of eight: D = 1/4 in both layers, of which one has half of its weights in A."""
    model = rows((8.0, 7.0, 6.0, 0.25), (5.0, 0.5, 0.5, 0.25))
    optimizer = plain_sgd(model, weight_decay=0.125)
    method = TopKAST(0.75, backward_sparsity=0.5).attach(model, optimizer)
    sum(layer(torch.zeros(1, 4)).sum() for layer in model).backward()
    optimizer.step()
    assert stored_of(method, "0.weight") == [7.0, 6.125, 3.0, 0.25]
    assert stored_of(method, "1.weight") == [2.5, 0.5, 0.5, 0.25]


def test_the_regulariser_has_no_gradient_outside_b() -> None:
    """As the optimizer is given it: (1/D - 1) * decay = 3/8 of 6, -5 in B without A; the loss pulls at none of them."""
    layer, optimizer, _ = eight(lambda model: plain_sgd(model, weight_decay=0.125))
    seen: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(gradient_of(layer)))
    step(layer, optimizer, *STILL)
    assert seen == [[0.0, 0.0, 2.25, -1.875, 0.0, 0.0, 0.0, 0.0]]


def test_the_density_that_the_regulariser_divides_by_is_that_of_the_weights_ranked_together() -> None:
    """D = 2/8, and 4/8 where a rule says so: of B without A, decay 1/8 takes 4/8 and 2/8 (of A an eighth)."""
    model = rows(EIGHT, EIGHT)
    optimizer = plain_sgd(model, weight_decay=0.125)
    method = TopKAST(0.75, backward_sparsity=0.25, rules={"1": 0.5}).attach(model, optimizer)
    sum(layer(torch.zeros(1, 8)).sum() for layer in model).backward()
    optimizer.step()
    assert stored_of(method, "0.weight") == [7.0, -6.125, 3.0, -2.5, 2.0, -1.5, 2.0, 1.0]
    assert stored_of(method, "1.weight") == [7.0, -6.125, 5.25, -4.375, 3.0, -2.25, 2.0, 1.0]


def test_that_density_is_counted_and_not_what_was_asked_for() -> None:
    """Half of 3 weights is 1.5, of which round(1.5) = 2 go: D = 1/3, so B without A loses 3/8 and A an eighth."""
    layer = row(16.0, 8.0, -4.0)
    optimizer = plain_sgd(layer, weight_decay=0.125)
    method = TopKAST(0.5, backward_sparsity=0, distribution="uniform").attach(layer, optimizer)
    step(layer, optimizer, 0.0, 0.0, 0.0)
    assert stored_of(method) == [14.0, 5.0, -2.5]


def test_a_layer_that_a_global_ranking_empties_is_pulled_as_hard_as_the_others() -> None:
    """A: 8 and 7, B: 8, 7, 2 and 1, of eight; D = 1/4 of them all, and decay 0.125 takes half of 2 and of 1."""
    model = rows((8.0, 7.0, 0.25, 0.25), (2.0, 1.0, 0.5, 0.25))
    optimizer = plain_sgd(model, weight_decay=0.125)
    method = TopKAST(0.75, backward_sparsity=0.5).attach(model, optimizer)
    method.begin_epoch(0)
    sum(layer(torch.zeros(1, 4)).sum() for layer in model).backward()
    optimizer.step()
    assert stored_of(method, "0.weight") == [7.0, 6.125, 0.25, 0.25]
    assert stored_of(method, "1.weight") == [1.0, 0.5, 0.5, 0.25]


def test_decay_reaches_neither_c_nor_its_momentum_through_three_steps_with_moving_masks() -> None:
    """A is the largest of four, B the two largest: D = 1/4. Decay is 1/8, so 1/2 in B without A; momentum 1/2, rate 1.

    Step 1, B = {8, 4}: gradients 0 + 8/8 = 1 and 1 + 4/2 = 3; C has none. The second weight falls to 1 and leaves B.
    Step 2, B = {7, 2}: momentum 1/2 + 7/8 = 1.375; the third comes in with empty momentum: 1 + 2/2 = 2. The second,
    outside, keeps half of its momentum, 1.5, and does not move.
    Step 3, B = {5.625, 1}: 0.6875 + 5.625/8 = 1.390625; the second again: 0.75 + 1/2 = 1.25.
    """
    layer = row(8.0, 4.0, 2.0, 0.5)
    optimizer = plain_sgd(layer, momentum=0.5, weight_decay=0.125)
    method = TopKAST(0.75, backward_sparsity=0.5).attach(layer, optimizer)
    method.begin_epoch(0)
    for gradient, momentum, stored in (
        ((0.0, 1.0, 9.0, 9.0), [1.0, 3.0, 0.0, 0.0], [7.0, 1.0, 2.0, 0.5]),
        ((0.0, 9.0, 1.0, 9.0), [1.375, 1.5, 2.0, 0.0], [5.625, 1.0, 0.0, 0.5]),
        ((0.0, 0.0, 9.0, 9.0), [1.390625, 1.25, 1.0, 0.0], [4.234375, -0.25, 0.0, 0.5]),
    ):
        step(layer, optimizer, *gradient)
        assert optimizer.state[layer.weight]["momentum_buffer"][0].tolist() == momentum
        assert stored_of(method) == stored


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.NAdam, torch.optim.RMSprop, torch.optim.AdamW])
def test_no_moment_of_c_gathers_decay(make: Callable[..., Optimizer]) -> None:
    layer, optimizer, method = eight(lambda model: make(model.parameters(), lr=0.01, weight_decay=0.25))
    for _ in range(3):
        step(layer, optimizer, *STILL)
    state = optimizer.state[layer.weight]
    moments = {name: each[0].tolist() for name, each in state.items() if each.shape == layer.weight.shape}
    is_coupled = make is not torch.optim.AdamW
    assert moments and all(any(each[:4]) == is_coupled and not any(each[4:]) for each in moments.values()), moments
    assert stored_of(method)[4:] == [4.0, -3.0, 2.0, 1.0]


def test_the_regulariser_pulls_towards_zero_where_the_optimizer_maximizes_too() -> None:
    layer, optimizer, method = eight(lambda model: plain_sgd(model, weight_decay=0.125, maximize=True))
    step(layer, optimizer, *STILL)
    assert stored_of(method) == [7.0, -6.125, 3.0, -2.5, 4.0, -3.0, 2.0, 1.0]


OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda model: plain_sgd(model, 0.2, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda model: plain_sgd(model, 0.2, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.1),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.5),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("interval", [1, 3])
def test_invariants_of_every_step(name: str, interval: int) -> None:
    """A exact in the forward pass and inside B; what is outside B does not move by one bit."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 20))
    optimizer = OPTIMIZERS[name](model)
    method = TopKAST(0.8, backward_sparsity=0.5, interval=interval, distribution="uniform").attach(model, optimizer)
    seen: list[list[int]] = []
    model[1].register_forward_pre_hook(lambda *_: seen.append([int(layer.weight.count_nonzero()) for layer in model]))
    entered = 0
    for index in range(12):
        if index % 4 == 0:
            method.begin_epoch(index // 4)
        kept, state = method.masks.snapshot(), method.state_dict()
        backward_set = {key: mask.clone() for key, mask in method._backward.items()}
        stored = {key: value.clone() for key, value in state["stored"].items()}
        assert all(not (kept[key] & ~backward_set[key]).any() for key in kept)
        assert list(method.work().weight_gradient_weights.values()) == [50, 100]
        optimizer.zero_grad()
        model(torch.randn(4, 10)).pow(2).mean().backward()
        optimizer.step()
        for key, value in method.state_dict()["stored"].items():
            outside = ~backward_set[key]
            assert torch.equal(value[outside], stored[key][outside]), (index, key)
            assert not torch.equal(value, stored[key])
            assert torch.equal(model.get_parameter(key), torch.where(method.masks[key], value, 0.0))
            entered += int((method.masks[key] & ~kept[key]).sum())
        if (index + 1) % interval:
            assert all(torch.equal(mask, kept[key]) for key, mask in method.masks.items())
    assert seen == [[20, 40]] * 12
    assert entered > 0


def test_mask_change_by_hand() -> None:
    """None in the first epoch. In the second 8 falls to 5.5 and 6 enters A: 2 of 8 weights; counted from its start."""
    layer, optimizer, method = eight()
    step(layer, optimizer, *STILL)
    assert method.mask_change is None
    method.begin_epoch(1)
    assert method.mask_change == 0.0
    step(layer, optimizer, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert mask_of(method) == [0, 1, 1, 0, 0, 0, 0, 0]
    method.begin_epoch(1)  # again: nothing begins
    assert method.mask_change == 0.25
    step(layer, optimizer, *STILL)
    assert method.mask_change == 0.25
    method.begin_epoch(2)
    assert method.mask_change == 0.0


def test_a_step_that_the_scaler_skips_does_no_harm() -> None:
    for options in ({}, {"fused": True}):
        layer, optimizer, method = eight(lambda model, options=options: plain_sgd(model, weight_decay=0.125, **options))
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for gradient in ((float("inf"),) * 8, STILL):
            optimizer.zero_grad()
            scaler.scale(layer(torch.tensor([gradient])).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            if gradient != STILL:
                assert stored_of(method) == list(EIGHT)
                assert weights_of(layer) == [8.0, -7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        assert stored_of(method) == [7.0, -6.125, 3.0, -2.5, 4.0, -3.0, 2.0, 1.0]


def test_rules_and_dense_layers() -> None:
    model = rows(EIGHT, EIGHT, EIGHT)
    rules = {"0": 0, "1": 0.25}
    method = TopKAST(0.75, backward_sparsity=0.5, rules=rules).attach(model, plain_sgd(model))
    assert method.masks.kept_per_layer() == {"0.weight": 8, "1.weight": 6, "2.weight": 2}
    assert method.work().weight_gradient_weights == {"0.weight": 8, "1.weight": 6, "2.weight": 4}


def test_rules_by_words() -> None:
    """A has 8, 6 and 2 of eight, B 8, 6 and 4; after a step too."""
    model = rows(EIGHT, EIGHT, EIGHT)
    optimizer = plain_sgd(model)
    method = TopKAST(0.75, backward_sparsity=0.5, rules={"first": 0, "last": 0.25}).attach(model, optimizer)
    for _ in range(2):
        assert method.masks.kept_per_layer() == {"0.weight": 8, "1.weight": 2, "2.weight": 6}
        assert method.work().weight_gradient_weights == {"0.weight": 8, "1.weight": 4, "2.weight": 6}
        sum(layer(torch.zeros(1, 8)).sum() for layer in model).backward()
        optimizer.step()


@pytest.mark.parametrize("backward_sparsity", [-0.1, 0.76, 1.0])
def test_a_backward_set_smaller_than_the_forward_one_is_refused(backward_sparsity: float) -> None:
    with pytest.raises(AllocationError, match=f"backward_sparsity {backward_sparsity} is outside"):
        TopKAST(0.75, backward_sparsity=backward_sparsity)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(AllocationError, match="top_kast cannot honour N:M"):
        TopKAST("2:4", backward_sparsity=0.0)
    model = rows(EIGHT, EIGHT)
    with pytest.raises(ValueError, match="one optimizer"):
        TopKAST(0.5, backward_sparsity=0.0).attach(model, [plain_sgd(layer) for layer in model])
