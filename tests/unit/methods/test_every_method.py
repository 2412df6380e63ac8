"""What holds for every method that moves masks: restarts, detaching, zeros, plain outputs, odd optimizers."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pytest
import torch
from helpers.every_method import facts_of, learns_sparsity
from helpers.small_runs import EPOCHS, METHODS, OPTIMIZERS, STEPS, Run, assert_same, new_run, small_net, train_step
from torch import Tensor, nn
from torch.optim import Optimizer

from acdc_cli.sparsity import excluded

EVALUATED = (4, 6)  # before these steps
MEANS_TOO = "sparse_vd"  # it hands out its means, which are dense but did not train as a dense network
WEIGHTS = ("0.weight", "5.weight")


def evaluate(model: nn.Module) -> None:
    """A pass after which a model that is thresholded for evaluations alone holds what they saw."""
    model.eval()(torch.zeros(1, 2, 6, 6).to(model[0].weight))
    model.train()


def train(run: Run, steps: range) -> list[object]:
    """Returns what the method says of every step."""
    said: list[object] = []
    for index in steps:
        if index % STEPS == 0:
            run[2].begin_epoch(index // STEPS)
        if index in EVALUATED:
            evaluate(run[0])
        train_step(run[0], run[1], index)
        said.append((run[2].mask_change, run[2].work(), run[2].masks and run[2].masks.digest()))
    return said


@pytest.mark.parametrize(
    "optimizer", [pytest.param(name, marks=() if name == "sgd" else pytest.mark.exhaustive) for name in OPTIMIZERS]
)
@pytest.mark.parametrize("name", METHODS)
def test_a_restarted_run_is_bit_identical(name: str, optimizer: str) -> None:
    """Stopped before the first step, inside epochs, between them, right before and right after due steps."""
    whole = new_run(name, optimizer)
    files = {}
    said: list[object] = []
    for index in range(STEPS * EPOCHS):
        if index % STEPS == 0:
            whole[2].begin_epoch(index // STEPS)
        if index in EVALUATED:
            evaluate(whole[0])
        if index in (0, 1, 3, 4, 6, 11, 13, 16):
            torch.save([part.state_dict() for part in whole], files.setdefault(index, io.BytesIO()))
        train_step(*whole[:2], index)
        said.append((whole[2].mask_change, whole[2].work(), whole[2].masks and whole[2].masks.digest()))
    for stop, file in files.items():
        file.seek(0)
        other = new_run(name, optimizer, seed=7)
        for part, state in zip(other, torch.load(file, weights_only=True), strict=True):
            part.load_state_dict(state)
        # A loop that begins its epoch again does no harm either.
        other[2].begin_epoch(stop // STEPS)
        assert train(other, range(stop, STEPS * EPOCHS)) == said[stop:], stop
        assert_same(other[0].state_dict(), whole[0].state_dict())
        for kind in ("sparse", "dense"):
            assert_same(other[2].outputs()[kind], whole[2].outputs()[kind])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", METHODS)
def test_zeros_are_exact_after_every_step(name: str, optimizer: str) -> None:
    """For thresholding and Top-KAST too: between two steps the model holds what the next forward pass may use."""
    run = new_run(name, optimizer)
    model, _, method = run
    removed = most = 0
    for index in range(STEPS * EPOCHS):
        train(run, range(index, index + 1))
        evaluate(model)
        is_held = method.masks is not None and method.masks.enforced
        for weight in WEIGHTS if is_held else ():
            assert not model.get_parameter(weight)[~method.masks[weight]].any(), (index, weight)
        removed = sum(int((~mask).sum()) for _, mask in method.masks.items()) if is_held else 0
        most = max(most, removed)
        assert torch.isfinite(model[5].weight).all()
    # Of 104: 83.2; 57.6 and 25.6 of 72 and 32 layer by layer. (Right after RigL has moved there are more zeros.)
    if learns_sparsity(name):  # learns how many
        assert 0 < removed <= most < 104
        return
    assert removed == (0 if name == "dsd" else most)
    assert most == (84 if name in ("set", "top_kast") else 83)


@pytest.mark.parametrize("name", METHODS)
def test_outputs_are_plain_copies_with_the_models_keys(name: str) -> None:
    run = new_run(name)
    if name != "dsd":
        METHODS[name]()
        with pytest.raises(RuntimeError):
            METHODS[name]().outputs()
    train(run, range(STEPS * EPOCHS))
    outputs = run[2].outputs()
    assert list(outputs) == ["sparse", "dense"]
    assert (outputs["dense"] is None) == (not facts_of(name).makes_dense_model and name != MEANS_TOO)
    for state in filter(None, outputs.values()):
        assert list(state) == list(run[0].state_dict())
        assert all(type(tensor) is Tensor and not tensor.requires_grad for tensor in state.values())
        small_net(1).load_state_dict(state)
        kept = copy.deepcopy(state["5.weight"])
        state["5.weight"].fill_(7.0)
        kind = "sparse" if state is outputs["sparse"] else "dense"
        assert torch.equal(run[2].outputs()[kind]["5.weight"], kept)
    assert sum(int((outputs["sparse"][weight] == 7.0).sum()) for weight in WEIGHTS) == 32
    assert int((outputs["sparse"]["0.weight"] == 0).sum()) > 0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("goes_on", [False, True], ids=["detached", "attached to another model"])
def test_detached_it_does_nothing_more(name: str, goes_on: bool) -> None:
    """The next steps are those of a plain loop from the same state."""
    run = new_run(name)
    train(run, range(2 * STEPS))
    model, optimizer, method = run
    if goes_on:
        other = small_net(2)
        method.attach(other, OPTIMIZERS["sgd"](other)).begin_epoch(0)
    else:
        method.detach()
        method.detach()
    zeros = int((model[5].weight == 0).sum())
    plain = small_net(1)
    plain.load_state_dict(model.state_dict())
    its_optimizer = OPTIMIZERS["sgd"](plain)
    its_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for index in range(4):
        train_step(model, optimizer, index)
        train_step(plain, its_optimizer, index)
        assert_same(model.state_dict(), plain.state_dict())
    assert int((model[5].weight == 0).sum()) < zeros or name == "dsd"  # dense by then


@pytest.mark.parametrize("name", METHODS)
def test_attached_again_it_begins_anew(name: str) -> None:
    first = new_run(name)
    train(first, range(2 * STEPS))
    again = small_net()
    optimizer = OPTIMIZERS["sgd"](again)
    first[2].attach(again, optimizer)
    other = new_run(name)
    assert train((again, optimizer, first[2]), range(2 * STEPS)) == train(other, range(2 * STEPS))
    assert_same(again.state_dict(), other[0].state_dict())


class Wrapper(Optimizer):
    """As Accelerate's: the base class's constructor is never called, and no hook either."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.param_groups, self.defaults, self.state = optimizer.param_groups, optimizer.defaults, optimizer.state
        self._optimizer_step_post_hooks: dict = {}

    def step(self, closure: Callable[[], float] | None = None) -> None:
        self.optimizer.step(closure)


@pytest.mark.parametrize("name", METHODS)
def test_optimizers_it_cannot_follow_are_refused(name: str) -> None:
    model = small_net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TypeError, match=r"Wrapper wraps an optimizer.*; attach to its \.optimizer"):
        METHODS[name]().attach(model, Wrapper(OPTIMIZERS["sgd"](model)))
    with pytest.raises(ValueError, match=r"0\.weight and 1 more: not among the optimizer's parameters"):
        METHODS[name]().attach(model, OPTIMIZERS["sgd"](small_net(1)))
    with pytest.raises(ValueError, match="prune"):
        METHODS[name]().attach(nn.LayerNorm(4), OPTIMIZERS["sgd"](nn.LayerNorm(4)))
    assert_same(model.state_dict(), before)


@pytest.mark.parametrize("name", METHODS)
def test_frozen_layers_are_left_alone(name: str) -> None:
    model = small_net()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    optimizer = OPTIMIZERS["sgd"](model)
    method = METHODS[name]().attach(model, optimizer)
    assert excluded(method.shares, "frozen") == ["0.weight"]
    said = train((model, optimizer, method), range(3 * STEPS))
    assert said[-1]
    assert torch.equal(model[0].weight, before)
    assert list(method.masks) == ["5.weight"]
    evaluate(model)
    assert int((model[5].weight == 0).sum()) >= (1 if name == "sparse_vd" else 20)


@pytest.mark.parametrize("move", [nn.Module.double, lambda m: m.to(memory_format=torch.channels_last)])
@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_becomes_another_kind_after_attach(name: str, move: Callable[[nn.Module], nn.Module]) -> None:
    run = new_run(name)
    train(run, range(STEPS))
    move(run[0])
    run[1].load_state_dict(run[1].state_dict())
    for index in range(STEPS, 3 * STEPS):
        train(run, range(index, index + 1))
        evaluate(run[0])
        for weight in WEIGHTS:
            assert not run[0].get_parameter(weight)[~run[2].masks[weight]].any(), (index, weight)
