"""What is done to a model or an optimizer after ``attach``: the masks act on it, or the next step says what to do."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from helpers.small_runs import METHODS, STEPS, backward, small_net, train_step
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrizations import weight_norm
from torch.optim import SGD, Optimizer

from acdc_cli.sparsity import ACDC, Allocation, Method, Timeline

SHORT = Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 4)])
WEIGHTS = ("0.weight", "5.weight")
REMOVED = 83  # round(0.8 * 104)


def sgd(model: nn.Module) -> Optimizer:
    return SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.05)


def sparse_run() -> tuple[nn.Module, Optimizer, ACDC]:
    """In the middle of AC/DC's first sparse phase."""
    model = small_net()
    optimizer = sgd(model)
    method = ACDC(SHORT, 0.8).attach(model, optimizer)
    method.begin_epoch(0)
    train_step(model, optimizer, 0)
    method.begin_epoch(1)
    train_step(model, optimizer, 1)
    return model, optimizer, method


def outside(model: nn.Module, method: Method, gradients: bool = False) -> int:
    """Numbers outside the masks that are not zero."""
    weights = {name: model.get_parameter(name) for name in WEIGHTS}
    tensors = {name: weight.grad if gradients else weight for name, weight in weights.items()}
    return sum(int(tensor[~method.masks[name]].count_nonzero()) for name, tensor in tensors.items())


def dense_state() -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, 0.5) for name, tensor in small_net().state_dict().items()}


def assign(model: nn.Module) -> None:
    model.load_state_dict(dense_state(), assign=True)


def new_parameter(model: nn.Module) -> None:
    model[5].weight = nn.Parameter(torch.ones(4, 8))


def new_module(model: nn.Module) -> None:
    model[5] = nn.Linear(8, 4)


def overwritten(model: nn.Module) -> None:
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        model.double()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


class Twice(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


REPLACEMENTS: dict[str, Callable[[nn.Module], object]] = {
    "load_state_dict(assign=True)": assign,
    "new parameter": new_parameter,
    "new module": new_module,
    "to() that overwrites": overwritten,
    "parametrization": lambda model: parametrize.register_parametrization(model[5], "weight", Twice()),
    "weight norm": lambda model: weight_norm(model[0]),
    "torch's own pruning": lambda model: prune.identity(model[5], "weight"),
}


@pytest.mark.parametrize("new_optimizer", [False, True])
@pytest.mark.parametrize("name", REPLACEMENTS)
def test_a_replaced_parameter_is_named_at_the_next_step(name: str, new_optimizer: bool) -> None:
    model, optimizer, _ = sparse_run()
    REPLACEMENTS[name](model)
    if new_optimizer:
        optimizer = sgd(model)
    backward(model, optimizer, 2)
    with pytest.raises(RuntimeError, match=r"[05]\.weight: .*method\.rebind\(model, "):
        optimizer.step()


@pytest.mark.parametrize("name", ["load_state_dict(assign=True)", "new parameter", "new module"])
def test_rebound_it_goes_on_with_its_masks(name: str) -> None:
    model, _, method = sparse_run()
    masks = method.masks.digest()
    REPLACEMENTS[name](model)
    optimizer = sgd(model)
    assert method.rebind(model, optimizer) is method
    assert outside(model, method) == 0 and method.masks.digest() == masks
    for index in (2, 3):
        backward(model, optimizer, index)
        assert outside(model, method, gradients=True) == 0
        optimizer.step()
        assert outside(model, method) == 0
    method.begin_epoch(2)
    assert not optimizer.state  # the new optimizer's moments are reset
    train_step(model, optimizer, 4)
    assert outside(model, method) > 0
    method.begin_epoch(3)
    train_step(model, optimizer, 5)
    zeros = sum(int((model.get_parameter(name) == 0).sum()) for name in WEIGHTS)
    assert zeros == REMOVED and outside(model, method) == 0


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_bound_again_with_its_masks(name: str) -> None:
    """Other parameters of the same values and an optimizer of the same state: the same steps as without."""
    runs = []
    for replaced in (False, True):
        model = small_net()
        optimizer = sgd(model)
        method = METHODS[name]().attach(model, optimizer)
        for index in range(4 * STEPS):
            if index % STEPS == 0:
                method.begin_epoch(index // STEPS)
            if replaced and index == 2 * STEPS + 1:
                state = copy.deepcopy(optimizer.state_dict())
                model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
                optimizer = sgd(model)
                method.rebind(model, optimizer)
                optimizer.load_state_dict(state)
            train_step(model, optimizer, index)
        runs.append((model.state_dict(), method))
    for key, tensor in runs[0][0].items():
        assert torch.equal(tensor, runs[1][0][key]), key


def test_an_embedding_that_a_rule_prunes_is_bound_again() -> None:
    """Four of its eight weights, whose magnitudes are 1 to 8, are zero in the sparse phase, and in the other model."""

    def model() -> nn.Sequential:
        return nn.Sequential(nn.Embedding(4, 2), nn.Linear(2, 2))

    first, other = model(), model()
    with torch.no_grad():
        first[0].weight.copy_(torch.arange(1.0, 9).reshape(4, 2))
    method = ACDC(SHORT, Allocation(0.5, rules={"embedding": 0.5})).attach(first, sgd(first))
    method.begin_epoch(1)
    other.load_state_dict({name: torch.ones_like(value) for name, value in first.state_dict().items()})
    method.rebind(other, sgd(other))
    assert other[0].weight.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_another_model_is_not_bound() -> None:
    _, _, method = sparse_run()
    other = nn.Sequential(nn.Conv2d(2, 4, 3))
    with pytest.raises(ValueError, match=r"5\.weight: this model has no weight of that name and shape"):
        method.rebind(other, sgd(other))


def test_a_second_optimizer_of_the_same_weights_is_refused_at_its_step() -> None:
    model, optimizer, method = sparse_run()
    other = torch.optim.Adam(model.parameters())
    backward(model, other, 2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match=r"0\.weight: Adam is about to move .*rebind.*detach\(\) the method first"):
        other.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    method.detach()
    other.step()
    optimizer.step()
    assert outside(model, method) > 0


def test_other_models_optimizers_are_not_bothered() -> None:
    model, _, _ = sparse_run()
    assign(model)
    other = small_net(1)
    optimizer = sgd(other)
    train_step(other, optimizer, 0)


def test_groups_may_be_rearranged_but_no_weight_may_be_lost() -> None:
    model, optimizer, method = sparse_run()
    (group,) = optimizer.param_groups
    group["params"] = [each for each in group["params"] if each is not model[5].weight]
    optimizer.add_param_group({"params": [model[5].weight], "lr": 0.01})
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))]})
    train_step(model, optimizer, 2)
    assert outside(model, method) == 0
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # new dictionaries
    train_step(model, optimizer, 3)
    assert outside(model, method) == 0
    del optimizer.param_groups[1:]
    with pytest.raises(RuntimeError, match=r"5\.weight: the optimizer no longer holds"):
        train_step(model, optimizer, 4)
    model[5].weight.requires_grad_(False)
    train_step(model, optimizer, 4)


@pytest.mark.parametrize("name", ["str", "sparse_vd"])
def test_a_methods_own_parameters_must_stay_in_the_optimizer(name: str) -> None:
    model = small_net()
    optimizer = sgd(model)
    METHODS[name]().attach(model, optimizer).begin_epoch(0)
    del optimizer.param_groups[1]
    with pytest.raises(RuntimeError, match="the method's own"):
        train_step(model, optimizer, 0)


def set_data(model: nn.Module) -> None:
    for name in WEIGHTS:
        model.get_parameter(name).data = torch.full_like(model.get_parameter(name), 0.5)


def freeze_and_thaw(model: nn.Module) -> None:
    model.requires_grad_(False)
    model.requires_grad_(True)


KEPT: dict[str, Callable[[nn.Module], object]] = {
    "param.data = ...": set_data,
    "load_state_dict": lambda model: model.load_state_dict(dense_state()),
    "frozen and thawed": freeze_and_thaw,
    "half and back": lambda model: model.half().float(),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_keeps_the_parameters_keeps_the_masks(name: str) -> None:
    model, optimizer, method = sparse_run()
    KEPT[name](model)
    for index in (2, 3):
        backward(model, optimizer, index)
        assert outside(model, method, gradients=True) == 0
        optimizer.step()
        assert outside(model, method) == 0


def test_frozen_after_attach_what_is_zero_stays_zero() -> None:
    model, optimizer, method = sparse_run()
    model[0].requires_grad_(False)
    for index in (2, 3):
        train_step(model, optimizer, index)
        assert outside(model, method) == 0


@pytest.fixture
def swapping() -> Iterator[None]:
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


def moments_outside(model: nn.Module, optimizer: Optimizer, method: Method) -> int:
    buffers = {name: optimizer.state[model.get_parameter(name)]["momentum_buffer"] for name in WEIGHTS}
    return sum(int(buffer[~method.masks[name]].count_nonzero()) for name, buffer in buffers.items())


@pytest.mark.usefixtures("swapping")
def test_swapped_parameters_lose_their_hooks_and_are_masked_at_the_step() -> None:
    """PyTorch keeps the objects and gives them other insides, where no gradient hook is."""
    model, optimizer, method = sparse_run()
    model.double()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.state.clear()
    for index in (2, 3):
        train_step(model, optimizer, index)
        assert outside(model, method) == moments_outside(model, optimizer, method) == 0


def test_gradients_that_somebody_puts_there_are_masked_at_the_step() -> None:
    model, optimizer, method = sparse_run()
    optimizer.state.clear()
    for name in WEIGHTS:
        model.get_parameter(name).grad = torch.ones_like(model.get_parameter(name))
    optimizer.step()
    assert outside(model, method) == moments_outside(model, optimizer, method) == 0
    assert float(optimizer.state[model[5].weight]["momentum_buffer"].abs().max()) > 0


def test_a_run_that_is_dropped_leaves_memory() -> None:
    model, optimizer, method = sparse_run()
    alive = [weakref.ref(each) for each in (model, optimizer, method)]
    del model, optimizer, method
    gc.collect()
    assert [each() for each in alive] == [None] * 3
