"""A copy of (model, optimizer, method), pickled or not, is a run of its own that goes on as the first one would."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.small_runs import FISHER, METHODS, OPTIMIZERS, STEPS, assert_same, new_run, small_net, train_step
from torch import nn
from torch.optim.swa_utils import AveragedModel

from acdc_cli.sparsity import ACDC, Dense, Static, Timeline
from acdc_cli.sparsity.methods import woodfisher

TIMELINE = Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 5)])
ALL: dict[str, Callable[[], Any]] = {"acdc": lambda: ACDC(TIMELINE, 0.8), "dense": Dense, "from_weights": Static}
ALL |= METHODS


def run_of(name: str, optimizer: str = "sgd") -> tuple[Any, Any, Any]:
    if name in METHODS:
        return new_run(name, optimizer)
    model = small_net()
    if name == "from_weights":
        with torch.no_grad():
            model[5].weight[0] = 0.0
            model[0].weight[1:3] = 0.0
    its_optimizer = OPTIMIZERS[optimizer](model)
    return model, its_optimizer, ALL[name]().attach(model, its_optimizer)


def train(run: tuple[Any, Any, Any], steps: range) -> None:
    model, optimizer, method = run
    for index in steps:
        if index % STEPS == 0:
            method.begin_epoch(index // STEPS)
        train_step(model, optimizer, index)


def by_torch(run: Any) -> Any:
    file = io.BytesIO()
    torch.save(run, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def method_first(run: Any) -> Any:
    method, model, optimizer = copy.deepcopy((run[2], run[0], run[1]))
    return model, optimizer, method


WAYS = {
    "deepcopy": copy.deepcopy,
    "method_first": method_first,
    "pickle": lambda run: pickle.loads(pickle.dumps(run)),
    "torch_save": by_torch,
}


def assert_equal_runs(left: tuple[Any, Any, Any], right: tuple[Any, Any, Any]) -> None:
    assert_same(left[0].state_dict(), right[0].state_dict())
    assert (left[2].masks is None) == (right[2].masks is None)
    assert left[2].masks is None or left[2].masks.digest() == right[2].masks.digest()
    for (_, states), (_, others) in zip(
        left[1].state_dict()["state"].items(), right[1].state_dict()["state"].items(), strict=True
    ):
        for key, value in states.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(others[key])), key


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ALL)
def test_a_copy_goes_on_alone_as_the_first_one_does(name: str, way: str) -> None:
    """Copied inside an epoch, after an evaluation; first the copy trains, then the run it was made from."""
    run, whole = run_of(name), run_of(name)
    middle, end = 2 * STEPS + 2, 5 * STEPS
    for each in (run, whole):
        train(each, range(middle))
        each[0].eval()(torch.zeros(1, 2, 6, 6))
        each[0].train()
    before = copy.deepcopy(run[0].state_dict()), copy.deepcopy(run[1].state_dict())
    copied = WAYS[way](run)
    assert copied[0] is not run[0] and copied[1] is not run[1] and copied[2] is not run[2]
    train(copied, range(middle, end))
    assert_same(run[0].state_dict(), before[0])
    assert str(run[1].state_dict()) == str(before[1])
    train(whole, range(middle, end))
    assert_equal_runs(copied, whole)
    train(run, range(middle, end))
    assert_equal_runs(run, whole)
    for each in (copied, run):
        outputs, expected = each[2].outputs(), whole[2].outputs()
        for kind in ("sparse", "dense"):
            assert_same(outputs[kind], expected[kind])


@pytest.mark.parametrize("name", ALL)
def test_a_detached_method_stays_detached_in_its_copy(name: str) -> None:
    run = run_of(name)
    train(run, range(2 * STEPS))
    run[2].detach()
    model, optimizer, _ = copy.deepcopy(run)
    plain = small_net(1)
    plain.load_state_dict(model.state_dict())
    its_optimizer = OPTIMIZERS["sgd"](plain)
    its_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for index in range(4):
        train_step(model, optimizer, index)
        train_step(plain, its_optimizer, index)
    assert_same(model.state_dict(), plain.state_dict())


@pytest.mark.parametrize("name", [name for name in ALL if name != "sparse_vd"])
def test_a_method_that_its_model_holds_is_copied_with_it(name: str) -> None:
    """As a LightningModule may keep its method."""
    model, optimizer, method = run_of(name)
    model.method = method
    train((model, optimizer, method), range(STEPS))
    copied, its_optimizer = copy.deepcopy((model, optimizer))
    train((model, optimizer, method), range(STEPS, 3 * STEPS))
    train((copied, its_optimizer, copied.method), range(STEPS, 3 * STEPS))
    assert_same(copied.state_dict(), model.state_dict())


def test_sparse_vd_says_that_it_cannot_be_copied_inside_its_model() -> None:
    model, optimizer, method = run_of("sparse_vd")
    model.method = method
    with pytest.raises(TypeError, match=r"sparse_vd cannot be copied as a part of its model; copy \(model, optimizer"):
        copy.deepcopy((model, optimizer))


def test_woodfisher_names_the_function_that_cannot_be_pickled() -> None:
    def passes(model: nn.Module) -> list[None]:
        return []

    model = small_net()
    optimizer = OPTIMIZERS["sgd"](model)
    run = (model, optimizer, woodfisher(0.8, passes, **FISHER).attach(model, optimizer))
    with pytest.raises(
        pickle.PicklingError, match=r"cannot be pickled with passes=.*<locals>\.passes.*top of a module"
    ):
        pickle.dumps(run)
    copied = copy.deepcopy(run)
    train_step(*copied[:2], 0)


@pytest.mark.parametrize("name", ALL)
def test_a_copy_of_the_model_alone_is_an_ordinary_network(name: str) -> None:
    """An average, say: it trains as any network of its weights does, and the run that it was made from goes on."""
    run, whole = run_of(name), run_of(name)
    for each in (run, whole):
        train(each, range(2 * STEPS))
    average = AveragedModel(run[0])
    copies = average.module, small_net(1)
    copies[1].load_state_dict(copies[0].state_dict())
    optimizers = [OPTIMIZERS["sgd"](each) for each in copies]
    for index in range(3):
        for each, its_optimizer in zip(copies, optimizers, strict=True):
            train_step(each, its_optimizer, index)
    assert_same(copies[0].state_dict(), copies[1].state_dict())
    for each in (run, whole):
        train(each, range(2 * STEPS, 3 * STEPS))
    assert_equal_runs(run, whole)


@pytest.mark.parametrize("name", [name for name in ALL if name != "dense"])
def test_a_copy_that_is_trained_without_its_method_is_noticed_an_epoch_later(name: str) -> None:
    model, optimizer, method = run_of(name)
    copied, its_optimizer = copy.deepcopy((model, optimizer))
    train((copied, its_optimizer, method), range(1, STEPS))
    method.begin_epoch(0)
    with pytest.warns(UserWarning, match=r"epoch 0 \(0-based\) has had no step .* Copy \(model, optimizer, method\)"):
        method.begin_epoch(1)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("dense", "sparse_vd")])
def test_copies_made_one_by_one_are_noticed_at_the_first_step(name: str) -> None:
    """The method's copy has a model of its own: nothing would mask the one that is trained."""
    run = run_of(name)
    train(run, range(STEPS))
    model, method = copy.deepcopy(run[0]), copy.deepcopy(run[2])
    optimizer = OPTIMIZERS["sgd"](model)
    method.begin_epoch(1)
    with pytest.warns(UserWarning, match=r"no method masks the weights that this optimizer moves, while a copy"):
        train_step(model, optimizer, STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        train_step(model, optimizer, STEPS + 1)
    with pytest.raises(RuntimeError, match=r"epoch 1 \(0-based\) has had no step .* Copy \(model, optimizer, method\)"):
        method.begin_epoch(2)


def test_a_copy_that_is_kept_says_nothing_while_its_original_or_another_network_is_trained() -> None:
    run = run_of("acdc")
    kept = copy.deepcopy(run)
    other = nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(run, range(2 * STEPS))
        torch.optim.SGD(other.parameters(), lr=0.1).step()
        train(kept, range(2 * STEPS))
    assert_same(run[0].state_dict(), kept[0].state_dict())


def test_a_copy_that_failed_midway_disturbs_no_other_optimizer() -> None:
    """It may wait for the garbage collector while other models are trained."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = ACDC(Timeline.of([("dense", 0, 1), ("sparse", 1, 4)]), 0.5).attach(model, optimizer)
    half = nn.Sequential.__new__(nn.Sequential)  # as copy.deepcopy begins
    method._covered.model = half
    other = nn.Linear(2, 2)
    torch.optim.SGD(other.parameters(), lr=0.1).step()
