"""What a reset returns an optimizer's state to, and what a new connection begins with: as a new optimizer has it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from helpers.toy_layers import mask_of, row, set_masks, step, weights_of
from timm.optim import Lamb
from torch import Tensor, nn
from torch.optim import (
    ASGD,
    LBFGS,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Muon,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
)

from acdc_cli import ACDC, Timeline
from acdc_cli.sparsity.methods import rigl, set_
from acdc_cli.sparsity.moments import InitialState, initial_values
from acdc_cli.sparsity.window import Window

ADAGRAD = partial(Adagrad, lr=0.5, initial_accumulator_value=0.25)
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adadelta": partial(Adadelta, lr=0.5),
    "adafactor": Adafactor,
    "adagrad": partial(ADAGRAD, lr_decay=0.5),
    "adam": partial(Adam, lr=0.01, amsgrad=True, weight_decay=0.1),
    "adam_foreach": partial(Adam, lr=0.01, foreach=True),
    "adam_fused": partial(Adam, lr=0.01, fused=True),
    "adam_tensor_rate": partial(Adam, lr=torch.tensor(0.01)),
    "adamax": Adamax,
    "adamw": partial(AdamW, lr=0.01),
    "asgd": partial(ASGD, lr=0.1, t0=1.0, lambd=0.1),
    "muon": partial(Muon, lr=0.1),
    "nadam": NAdam,
    "radam": RAdam,
    "rmsprop": partial(RMSprop, momentum=0.9, centered=True),
    "rprop": Rprop,
    "lamb": partial(Lamb, lr=0.1),
    "lamb_corrected": partial(Lamb, lr=0.1, decoupled_decay=True, corrected_weight_decay=True),
}


class CountsInItsGroup(Optimizer):
    """Its counter has a name that nobody could guess, its state a beginning that depends on an option."""

    def __init__(self, params: Any, *, begin: float = 3.0) -> None:
        super().__init__(params, {"begin": begin, "lr": 1.0})
        for group in self.param_groups:
            group["rounds"] = 5

    def step(self, closure: object = None) -> None:
        for group in self.param_groups:
            group["rounds"] += 1
            group["half"] = group["rounds"] / 2
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["sum"] = torch.full_like(parameter, group["begin"])
                    state["ever"] = [1]
                state["sum"] += parameter.grad
                with torch.no_grad():
                    parameter -= state["sum"] / group["rounds"]


class NeedsMore(CountsInItsGroup):
    """Cannot be made from its options alone."""

    def __init__(self, params: Any, begin_at: float) -> None:
        super().__init__(params, begin=begin_at)


def three_steps(parameter: nn.Parameter, optimizer: Optimizer) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("name", [*OPTIMIZERS, "counts_in_its_group"])
def test_after_a_reset_the_next_steps_are_a_new_optimizers(name: str) -> None:
    """Of the same weights and gradients, at a rate that a schedule has changed: the same bits and the same state."""
    make = OPTIMIZERS.get(name, CountsInItsGroup)
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(3, 4))
    optimizer = make([parameter])
    initial = InitialState(optimizer)
    three_steps(parameter, optimizer)
    optimizer.param_groups[0]["initial_lr"] = 7.0  # what a scheduler keeps there is none of the optimizer's state
    optimizer.param_groups[0]["lr"] *= 0.5
    initial.reset()
    other = nn.Parameter(parameter.detach().clone())
    new = make([other])
    new.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
    three_steps(parameter, optimizer)
    three_steps(other, new)
    assert torch.equal(parameter, other)
    ours, theirs = optimizer.state_dict(), new.state_dict()
    assert ours["param_groups"][0].pop("initial_lr") == 7.0
    assert str(ours) == str(theirs)


def test_groups_begin_anew_each_with_its_own_options() -> None:
    parameters = [nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
    optimizer = Adagrad(
        [{"params": parameters[:1], "initial_accumulator_value": 0.5}, {"params": parameters[1:]}],
        initial_accumulator_value=0.25,
    )
    initial = InitialState(optimizer)
    for parameter in parameters:
        parameter.grad = torch.ones(2, 2)
    optimizer.step()
    initial.reset()
    # Adagrad's own constructor gives all groups the default.
    assert [optimizer.state[each]["sum"].flatten().tolist() for each in parameters] == [[0.25] * 4, [0.25] * 4]


def test_an_optimizer_that_cannot_be_made_anew_returns_to_what_it_was() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = NeedsMore([parameter], 4.0)
    optimizer.state[parameter]["sum"] = torch.full((2, 2), 4.0)
    initial = InitialState(optimizer)
    parameter.grad = torch.ones(2, 2)
    optimizer.step()
    initial.reset()
    assert optimizer.state[parameter]["sum"].flatten().tolist() == [4.0] * 4
    assert initial_values(optimizer, parameter) == {}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sgd", {"momentum_buffer": 0.0}),
        ("adagrad", {"sum": 0.25}),
        ("adam", {"exp_avg": 0.0, "exp_avg_sq": 0.0, "max_exp_avg_sq": 0.0}),
        ("adam_fused", {"exp_avg": 0.0, "exp_avg_sq": 0.0}),
        ("adamax", {"exp_avg": 0.0, "exp_inf": 0.0}),  # a step on zeros leaves eps in exp_inf
        ("asgd", {"ax": 0.0}),
        ("adafactor", {}),  # a mean for each row and each column
        ("rprop", {"prev": 0.0, "step_size": 0.01}),
        ("rmsprop", {"square_avg": 0.0, "momentum_buffer": 0.0, "grad_avg": 0.0}),
        ("muon", {"momentum_buffer": 0.0}),
        ("lamb", {"exp_avg": 0.0, "exp_avg_sq": 0.0}),
        ("counts_in_its_group", {"sum": 3.0}),
    ],
)
def test_initial_values_by_entry(name: str, values: dict[str, float]) -> None:
    parameter = nn.Parameter(torch.ones(3, 4))
    optimizer = OPTIMIZERS.get(name, CountsInItsGroup)([parameter])
    three_steps(parameter, optimizer)
    before = copy.deepcopy(optimizer.state_dict())
    found = initial_values(optimizer, parameter)
    assert found == pytest.approx(values, rel=1e-7)
    assert str(optimizer.state_dict()) == str(before)


def test_lbfgs_is_reset_whole() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = LBFGS([parameter])
    initial = InitialState(optimizer)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = ((parameter - 3) ** 4).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert optimizer.state[parameter]["n_iter"] > 0
    initial.reset()
    assert not optimizer.state


# --------------------------------------------------------------------------------------------- new connections, by hand


def moved_row(optimizer: Callable[..., Optimizer], method: str) -> tuple[nn.Linear, Optimizer, Any]:
    """Two of four weights exist, 1 and 4. After two steps the smaller one has gone, and the third place is new."""
    layer = row(1.0, 0.0, 0.0, 4.0)
    its_optimizer = optimizer(layer.parameters())
    window = Window(0, 100, 2)
    build = rigl if method == "rigl" else set_
    made = build(0.5, window, drop_fraction=0.6, distribution="uniform").attach(layer, its_optimizer)
    set_masks(made, weight=[1, 0, 0, 1])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 4.0]]))
    made.begin_epoch(0)
    return layer, its_optimizer, made


def test_rprop_moves_a_connection_that_rigl_has_grown() -> None:
    """Two steps of gradients 1: step sizes 0.1 and 0.12. The third step grows the second place, by its gradient of 9.

    alpha / 2 (1 + cos(2 pi / 100)) = 0.5994..., of 2 connections 1 moves: 1 - 0.1 - 0.12 = 0.78 goes. Its step size
    begins at the rate again; then the new weight moves by -0.1, the old one, 4 - 0.1 - 0.12, by -0.144.
    """
    layer, optimizer, method = moved_row(partial(Rprop, lr=0.1), "rigl")
    step(layer, optimizer, 1.0, 0.0, 0.0, 1.0)
    step(layer, optimizer, 1.0, 0.0, 0.0, 1.0)
    assert weights_of(layer) == pytest.approx([0.78, 0.0, 0.0, 3.78])
    step(layer, optimizer, 1.0, 9.0, 0.0, 1.0)
    assert mask_of(method) == [0, 1, 0, 1]
    assert optimizer.state[layer.weight]["step_size"][0].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.12])
    step(layer, optimizer, 1.0, 9.0, 0.0, 1.0)
    assert weights_of(layer) == pytest.approx([0.0, -0.1, 0.0, 3.78 - 0.144])


def test_rprop_begins_at_the_rate_of_the_moment() -> None:
    layer, optimizer, _ = moved_row(partial(Rprop, lr=0.1), "rigl")
    for _ in range(2):
        step(layer, optimizer, 1.0, 0.0, 0.0, 1.0)
    optimizer.param_groups[0]["lr"] = 0.03
    step(layer, optimizer, 1.0, 9.0, 0.0, 1.0)
    step(layer, optimizer, 1.0, 9.0, 0.0, 1.0)
    assert weights_of(layer)[1] == pytest.approx(-0.03)


def test_adagrads_sum_begins_at_its_initial_value_under_rigl() -> None:
    """The sums of the existing places are 0.25 + 1 + 1 after two steps of gradients 1; of the moved ones 0.25.

    The new weight's first step is -0.5 * 3 / sqrt(0.25 + 9).
    """
    layer, optimizer, method = moved_row(ADAGRAD, "rigl")
    for _ in range(2):
        step(layer, optimizer, 1.0, 0.0, 0.0, 1.0)
    step(layer, optimizer, 1.0, 3.0, 0.0, 1.0)
    assert mask_of(method) == [0, 1, 0, 1]
    assert optimizer.state[layer.weight]["sum"][0].tolist() == [0.25, 0.25, 0.25, 2.25]
    step(layer, optimizer, 1.0, 3.0, 0.0, 1.0)
    assert weights_of(layer)[1] == pytest.approx(-1.5 / 9.25**0.5)


@pytest.mark.parametrize(
    ("optimizer", "entry", "initial", "kept"),
    [(ADAGRAD, "sum", 0.25, 2.25), (partial(Rprop, lr=0.1), "step_size", 0.1, 0.12)],
)
def test_set_begins_its_new_connections_there_too(
    optimizer: Callable[..., Optimizer], entry: str, initial: float, kept: float
) -> None:
    """After the second step one of the two connections goes, the smaller: whatever grows, only the 4's state is old."""
    layer, its_optimizer, method = moved_row(optimizer, "set")
    for _ in range(2):
        step(layer, its_optimizer, 1.0, 0.0, 0.0, 1.0)
    expected = [initial] * 3 + [kept]
    if mask_of(method)[0]:  # the place that went has grown again at once
        expected[0] = kept
    assert its_optimizer.state[layer.weight][entry][0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_acdc_resets_every_optimizer_at_the_start_of_a_dense_phase(name: str) -> None:
    """The dense phase's first step is that of a new optimizer over the same weights."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False)
    optimizer = OPTIMIZERS[name](layer.parameters())
    timeline = Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 4)])
    method = ACDC(timeline, 0.5).attach(layer, optimizer)
    for epoch in range(2):
        method.begin_epoch(epoch)
        three_steps(layer.weight, optimizer)
    method.begin_epoch(2)
    other = nn.Parameter(layer.weight.detach().clone())
    new = OPTIMIZERS[name]([other])
    three_steps(layer.weight, optimizer)
    three_steps(other, new)
    assert torch.equal(layer.weight, other)
    assert str(optimizer.state_dict()) == str(new.state_dict())


def test_an_empty_group_of_parameters_is_nothing_to_reset() -> None:
    """SGD: a buffer of 1 after a step of gradient 1, and after the reset 1 again, not 0.9 + 1."""
    weight = nn.Parameter(torch.zeros(2))
    optimizer = SGD([{"params": []}, {"params": [weight]}], lr=0.1, momentum=0.9)
    initial = InitialState(optimizer)
    for _ in range(2):
        weight.grad = torch.ones(2)
        optimizer.step()
        assert optimizer.state[weight]["momentum_buffer"].tolist() == [1.0, 1.0]
        initial.reset()


class CountsInGroup(SGD):
    """Counts its steps in the parameter group, as LAMB of Apex does, and cannot be made from its options alone."""

    def __init__(self, weights: list[nn.Parameter], secret: object) -> None:
        super().__init__(weights, lr=0.1)
        self.secret = secret

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1


def test_a_counter_that_a_group_did_not_begin_with_is_gone_after_the_reset() -> None:
    optimizer = CountsInGroup([nn.Parameter(torch.zeros(2))], object())
    initial = InitialState(optimizer)
    for _ in range(2):
        optimizer.step()
        assert optimizer.param_groups[0]["step"] == 1
        initial.reset()
        assert "step" not in optimizer.param_groups[0]
