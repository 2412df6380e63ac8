"""What a step of each method costs, by the formulas of their papers: f sparse, F dense, a step is three passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from helpers.toy_layers import plain_sgd, row, step
from torch import nn

from acdc_cli.measure.flops import LayerSize, inference_flops, layer_sizes, nonzeros, step_flops
from acdc_cli.sparsity.method import Work
from acdc_cli.sparsity.methods import (
    SoftThreshold,
    SparseVD,
    TopKAST,
    gmp,
    iht,
    magnitude,
    random_static,
    rigl,
    set_,
    snip,
    woodfisher,
)
from acdc_cli.sparsity.moving import MovingMasks
from acdc_cli.sparsity.window import Window

DENSE, SPARSE = 1000, 100  # F and f


def one_pass(model: nn.Module) -> Iterator[None]:
    model(torch.ones(1, 10)).sum().backward()
    yield


def worked(method: object, steps: int, begin: int = 0) -> Work:
    """What it says after some steps of an epoch that begins after ``begin`` others."""
    layer = row(*(float(number) for number in range(1, 11)))
    optimizer = plain_sgd(layer)
    method.attach(layer, optimizer).begin_epoch(0)
    for index in range(begin + steps):
        if index == begin:
            method.begin_epoch(1)
        step(layer, optimizer, *(0.0,) * 10)
    return method.work()


def test_rigl_over_a_window() -> None:
    """(3 f dT + 2 f + F) / (dT + 1), RigL's appendix: one step in dT + 1 takes all gradients."""
    for ordinary in (1, 4, 99):
        window = Window(0, 10 * (ordinary + 1), ordinary + 1)
        method = rigl(0.5, window, distribution="uniform")
        cost = step_flops(worked(method, ordinary + 1, begin=ordinary + 1), DENSE, SPARSE)
        assert cost == round((3 * SPARSE * ordinary + 2 * SPARSE + DENSE) / (ordinary + 1))


@pytest.mark.parametrize(("begin", "steps", "dense_steps"), [(0, 10, 2), (10, 10, 2), (20, 10, 3), (30, 10, 0)])
def test_rigl_is_charged_by_the_steps_that_an_epoch_has(begin: int, steps: int, dense_steps: int) -> None:
    """Due every 4 steps from 4 on, before T_end = 30: at 4 and 8, 12 and 16, 20, 24 and 28."""
    method = rigl(0.5, Window(0, 30, 4), distribution="uniform")
    cost = step_flops(worked(method, steps, begin), DENSE, SPARSE)
    assert cost == 3 * SPARSE + round(dense_steps / steps * (DENSE - SPARSE))


@pytest.mark.parametrize(
    "make",
    [
        lambda: set_(0.5, Window(0, 30, 3), distribution="uniform"),
        lambda: gmp(0.5, Window(0, 5, 1)),
        lambda: random_static(0.5),
        lambda: magnitude(0.5),
        lambda: SoftThreshold(s_init=1.0, s_weight_decay=0.1),
        lambda: woodfisher(0.5, one_pass, samples=1, block=5, damping=1.0),
    ],
    ids=["set", "gmp", "static", "magnitude", "str", "woodfisher"],
)
def test_methods_without_dense_gradients_cost_three_sparse_passes(make: Callable[[], object]) -> None:
    assert step_flops(worked(make(), 10), DENSE, SPARSE) == 3 * SPARSE


def test_iht_takes_all_gradients_at_every_step() -> None:
    assert step_flops(worked(iht(0.5, Window(0, 100, 1)), 7), DENSE, SPARSE) == 2 * SPARSE + DENSE


def test_snip_takes_all_gradients_once() -> None:
    method = snip(0.5)
    assert step_flops(worked(method, 10), DENSE, SPARSE) == 3 * SPARSE + round(0.1 * (DENSE - SPARSE))
    method = snip(0.5)
    assert step_flops(worked(method, 10, begin=5), DENSE, SPARSE) == 3 * SPARSE


def test_gmp_follows_the_density_there_is() -> None:
    """40 weights used once: 0, 14 and 16 of 20 are gone (see test_gmp), so f is 40, 12 and 8 and a step three times."""
    layer = row(*(float(number) for number in range(1, 21)))
    optimizer = plain_sgd(layer)
    method = gmp(0.8, Window(1, 3, 1)).attach(layer, optimizer)
    method.begin_epoch(0)
    sizes = layer_sizes(layer, (20,))
    costs = []
    for _ in range(3):
        step(layer, optimizer, *(0.0,) * 20)
        current = inference_flops(sizes, nonzeros(layer))
        costs.append(step_flops(method.work(), inference_flops(sizes), current))
    assert costs == [3 * 40, 3 * 12, 3 * 8]


def test_str_follows_the_thresholds_there_are() -> None:
    """g(s) = 1/2, then 1/2 + 1/4 (s = ln 3), then 1/2 again: of 0.4, 0.6, 0.8 and 1 three, two and three are above."""
    layer = row(0.4, 0.6, 0.8, 1.0)
    optimizer = plain_sgd(layer)
    method = SoftThreshold(s_init=0.0, s_weight_decay=0.0).attach(layer, optimizer)
    sizes = layer_sizes(layer, (4,))
    costs = []
    for s in (0.0, 1.0986123, 0.0):
        method.load_state_dict(method.state_dict() | {"s": torch.tensor([s])})
        step(layer, optimizer, *(0.0,) * 4)
        current = inference_flops(sizes, nonzeros(layer))
        costs.append(step_flops(method.work(), inference_flops(sizes), current))
    assert costs == [3 * 6, 3 * 4, 3 * 6]


def test_top_kast_pays_for_a_twice_and_for_b_once() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 20))
    method = TopKAST(0.8, backward_sparsity=0.5, distribution="uniform").attach(model, plain_sgd(model))
    sizes = layer_sizes(model, (3, 10))  # a sequence of three
    assert sizes == {"0.weight": LayerSize(100, 3), "1.weight": LayerSize(200, 3)}
    work = method.work()
    backward = inference_flops(sizes, work.weight_gradient_weights)
    assert backward == 2 * 3 * (50 + 100)
    current = inference_flops(sizes, nonzeros(model))
    assert current == 2 * 3 * (20 + 40)
    assert step_flops(work, inference_flops(sizes), current, backward) == 2 * 360 + 900


def test_top_kast_with_backward_sparsity_0_pays_for_all_gradients() -> None:
    layer = row(*(float(number) for number in range(1, 11)))
    method = TopKAST(0.8, backward_sparsity=0).attach(layer, plain_sgd(layer))
    sizes = layer_sizes(layer, (10,))
    backward = inference_flops(sizes, method.work().weight_gradient_weights)
    assert step_flops(method.work(), 20, 4, backward) == 2 * 4 + 20


def test_a_share_of_dense_gradients_adds_to_what_there_is() -> None:
    """A quarter of the steps takes all of them: (3 * 500 + 1000) / 4."""
    work = Work(True, True, True, dense_gradient_share=0.25)
    assert step_flops(work, DENSE, SPARSE, weight_gradient=500) == 2 * SPARSE + 625
    assert step_flops(work, DENSE, SPARSE) == 2 * SPARSE + (3 * 100 + 1000) // 4


@pytest.mark.parametrize("make", [rigl, set_])
def test_connections_that_have_just_grown_are_counted_though_they_are_zeros(make: Callable[..., MovingMasks]) -> None:
    """Half way through the window half of five connections move: floor(2.5), and the model has two zeros more."""
    layer = row(*(float(number) for number in range(1, 11)))
    optimizer = plain_sgd(layer)
    method = make(0.5, Window(0, 4, 2), drop_fraction=1.0, distribution="uniform").attach(layer, optimizer)
    method.begin_epoch(0)
    gradient = [0.0 if kept else 1.0 for kept in method.masks["weight"][0].tolist()]
    for _ in range(3 if make is rigl else 2):
        step(layer, optimizer, *gradient)
    assert nonzeros(layer) == {"weight": 3}
    assert method.work().forward_weights == {"weight": 5}


def test_thresholding_is_charged_by_the_weights_there_are() -> None:
    """Between two thresholds they are dense, whatever the masks say."""
    assert worked(iht(0.5, Window(0, 100, 1)), 1).forward_weights is None


def test_sparse_variational_dropout_does_every_dense_pass_twice() -> None:
    """AC/DC, appendix B.5: it doubles the cost of training. 10 weights used once: 20 for F, 2 * 3 * 20 for a step."""
    ramp = Window(0, 4, 1)
    method = SparseVD(0.5, samples=10, ramp=ramp, kl_weight=0.0, log_alpha_threshold=3.0, initial_log_sigma2=-8.0)
    work = worked(method, 3)
    assert step_flops(work, DENSE, SPARSE) == 6 * DENSE
    layer = row(*(float(number) for number in range(1, 11)))
    assert step_flops(work, inference_flops(layer_sizes(layer, (10,))), 4) == 120
