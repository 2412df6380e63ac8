"""L-BFGS evaluates its closure many times in a step: each time at masked weights, with masked gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.small_runs import FISHER, METHODS, passes, small_net
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Optimizer

from acdc_cli.sparsity import ACDC, Static, Timeline
from acdc_cli.sparsity.methods import DSD, gmp, magnitude, random_static, set_, woodfisher
from acdc_cli.sparsity.window import Window

SHORT = Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 4)])
WEIGHTS = ("0.weight", "5.weight")
FOLLOWED: dict[str, Callable[[], Any]] = {
    "acdc": lambda: ACDC(SHORT, 0.8),
    "acdc_without_reset": lambda: ACDC(SHORT, 0.8, reset_moments=False),
    "dsd": lambda: DSD(Timeline.of([("dense", 0, 1), ("sparse", 1, 3), ("dense", 3, 4)]), 0.8),
    "gmp": lambda: gmp(0.8, Window(1, 5, 1)),
    "set": lambda: set_(0.8, Window(0, 18, 2), distribution="uniform", seed=3),
    "static": lambda: random_static(0.8, distribution="erk"),
    "magnitude": lambda: magnitude(0.8),
    "from_weights": Static,
    "woodfisher": lambda: woodfisher(0.8, passes, **FISHER),
}
REFUSED = ("rigl", "snip", "iht", "top_kast", "str", "sparse_vd")
LINE_SEARCH = {"line_search_fn": "strong_wolfe", "max_iter": 8, "history_size": 4}
OPTIONS: dict[str, dict[str, Any]] = {"wolfe": LINE_SEARCH, "fixed": {"lr": 0.1, "max_iter": 6}}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", FOLLOWED)
def test_each_evaluation_is_inside_the_masks(name: str, options: str) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(16, 2, 6, 6), torch.randint(4, (16,))
    model = small_net().eval()  # one and the same loss in every evaluation
    if name == "from_weights":
        with torch.no_grad():
            model[5].weight[:2] = 0.0
    optimizer = LBFGS(model.parameters(), **OPTIONS[options])
    method = FOLLOWED[name]().attach(model, optimizer)
    evaluations = outside = sparse = 0

    def closure() -> Tensor:
        nonlocal evaluations, outside, sparse
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        evaluations += 1
        if method.masks is not None and method.masks.enforced:
            sparse += 1
            for weight in WEIGHTS:
                dropped = ~method.masks[weight]
                outside += int(model.get_parameter(weight)[dropped].count_nonzero())
                outside += int(model.get_parameter(weight).grad[dropped].count_nonzero())
        return loss

    losses = []
    for epoch in range(4):
        method.begin_epoch(epoch)
        losses.append([optimizer.step(closure).item() for _ in range(2)])
        if method.masks is not None and method.masks.enforced:
            for weight in WEIGHTS:
                assert not model.get_parameter(weight)[~method.masks[weight]].any()
    assert outside == 0
    assert sparse > 10 and evaluations > 2 * 4 * 2  # many in a step
    if options == "wolfe" and name not in ("set", "gmp"):
        assert all(later <= earlier for earlier, later in losses), losses


def test_a_sparse_phase_begins_with_steepest_descent() -> None:
    """L = sum of (w_i - c)^2 / 2. The history of the dense phase is forgotten, so the direction is -g, masked.

    The first step of L-BFGS is min(1, 1 / |g|_1) * lr long. Weights 1, 2, 3, 4 after pruning are 0, 0, 3, 4; with
    c = 10 gradients are -7 and -6, so the step is 1/13 of that: 3 + 7/13, 4 + 6/13.
    """
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    optimizer = LBFGS(layer.parameters(), lr=1.0, max_iter=1)
    method = ACDC(SHORT, 0.5).attach(layer, optimizer)

    def closure(target: float) -> Tensor:
        optimizer.zero_grad()
        loss = ((layer.weight - target) ** 2).sum() / 2
        loss.backward()
        return loss

    method.begin_epoch(0)
    for _ in range(3):
        optimizer.step(partial(closure, -5.0))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    method.begin_epoch(1)
    optimizer.step(partial(closure, 10.0))
    assert layer.weight[0].tolist() == pytest.approx([0.0, 0.0, 3 + 7 / 13, 4 + 6 / 13], abs=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_methods_that_act_on_the_gradient_of_a_step_refuse_it_as_they_are_attached(name: str) -> None:
    model = small_net()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = LBFGS(model.parameters())
    with pytest.raises(ValueError, match="LBFGS evaluates its closure many times in a step"):
        METHODS[name]().attach(model, optimizer)
    assert len(optimizer.param_groups) == 1
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


class Wandering(SGD):
    """Evaluates its closure a second time where it has moved the weights to, all of them."""

    def step(self, closure: Callable[[], Tensor]) -> None:  # type: ignore[override]
        closure()
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter.add_(1.0)
        super().step(closure)


def test_any_optimizers_further_evaluations_are_masked() -> None:
    model = small_net()
    optimizer: Optimizer = Wandering(model.parameters(), lr=0.1)
    method = random_static(0.8, distribution="erk").attach(model, optimizer)
    seen: list[int] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        seen.append(sum(int(model.get_parameter(each)[~method.masks[each]].count_nonzero()) for each in WEIGHTS))
        loss = model(torch.ones(2, 2, 6, 6)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert seen == [0, 0]


def test_a_copy_of_lbfgs_is_refused_because_pytorch_makes_none_that_can_step() -> None:
    model = small_net()
    optimizer = LBFGS(model.parameters())
    method = ACDC(SHORT, 0.8).attach(model, optimizer)
    with pytest.raises(TypeError, match="PyTorch's LBFGS cannot be copied or pickled; make a new one"):
        copy.deepcopy((model, optimizer, method))
