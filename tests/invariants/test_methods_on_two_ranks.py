"""Methods that read gradients read those of all ranks; methods that draw at random draw the same on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers.every_method import every_method, from_defaults
from rank_pair import RankPair
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from acdc_cli.sparsity.masks import pack
from acdc_cli.sparsity.methods import (
    DSD,
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
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.sparsity.window import Window

START = [1, 1, 1, 1, 0, 0, 0, 0]
WEIGHTS = [4.0, -1.0, 3.0, -2.0, 0.0, 0.0, 0.0, 0.0]
VARIATIONAL = {
    "samples": 100,
    "ramp": Window(0, 4, 1),
    "kl_weight": 1.0,
    "log_alpha_threshold": 1.0,
    "initial_log_sigma2": -4.0,
}
# Rank 0 alone would grow 4 and 5, rank 1 alone 4 and 6; together 5 and 6 are largest, because 4 cancels.
GROWING = ([0.0, 0.0, 0.0, 0.0, 20.0, 8.0, 6.0, 1.0], [0.0, 0.0, 0.0, 0.0, -20.0, 6.0, 8.0, 1.0])


def row_on_a_rank() -> DistributedDataParallel:
    layer = nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([WEIGHTS]))
    return DistributedDataParallel(layer)


def step(model: DistributedDataParallel, optimizer: torch.optim.Optimizer, passes: list[list[float]]) -> list[float]:
    """One step of several passes, all but the last without an all-reduce. Returns the gradient before it."""
    optimizer.zero_grad()
    for index, gradient in enumerate(passes):
        with nullcontext() if index + 1 == len(passes) else model.no_sync():
            model(torch.tensor([gradient])).sum().backward()
    seen = model.module.weight.grad[0].tolist()
    optimizer.step()
    return seen


def grow(passes: int) -> tuple[list[int], list[list[float]], list[float]]:
    """On a rank: two ordinary steps, a due one. Returns the mask, all gradients and the weights."""
    model = row_on_a_rank()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    method = rigl(0.5, Window(0, 4, 2), drop_fraction=1.0, distribution="uniform").attach(model, optimizer)
    model.module.weight.data.copy_(torch.tensor([WEIGHTS]))
    packed = {"weight": pack(torch.tensor([START], dtype=torch.bool))}
    method.load_state_dict(method.state_dict() | {"masks": packed})
    method.begin_epoch(0)
    mine = GROWING[distributed.get_rank()]
    seen = [step(model, optimizer, [mine] * passes) for _ in range(3)]
    return method.masks["weight"][0].int().tolist(), seen, model.module.weight[0].tolist()


@pytest.mark.parametrize("passes", [1, 3])
def test_rigl_grows_by_the_gradients_of_both_ranks(passes: int, two_ranks: RankPair) -> None:
    for mask, seen, weights in two_ranks.run(grow, passes):
        assert mask == [1, 0, 1, 0, 0, 1, 1, 0]
        assert seen[:2] == [[0.0] * 8] * 2  # outside the masks there is none
        assert seen[2] == [0.0, 0.0, 0.0, 0.0, 0.0, 7.0 * passes, 7.0 * passes, 1.0 * passes]
        assert weights == [4.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def score() -> list[int]:
    """On a rank: SNIP's masks."""
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    model = DistributedDataParallel(layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    method = snip(0.5).attach(model, optimizer)
    method.begin_epoch(0)
    step(model, optimizer, [[[8.0, 9.0, 0.0, 1.0], [8.0, -9.0, 2.0, 1.0]][distributed.get_rank()]])
    return method.masks["weight"][0].int().tolist()


def test_snip_scores_by_the_gradients_of_both_ranks(two_ranks: RankPair) -> None:
    """Means 8, 0, 1, 1 times 1, 2, 3, 4: 8, 0, 3, 4. Either rank alone would keep the second weight."""
    assert two_ranks.run(score) == [[1, 0, 0, 1]] * 2


def own_passes(model: nn.Module) -> Iterator[None]:
    """Mini-batches of four for a Fisher matrix, dealt out to the ranks if there are some."""
    ranks, rank = (distributed.get_world_size(), distributed.get_rank()) if distributed.is_initialized() else (1, 0)
    for index in range(10):
        inputs = torch.randn(4, 10, generator=torch.Generator().manual_seed(100 + index)).chunk(ranks)[rank]
        model(inputs.to(model[0].weight)).pow(2).sum(dim=1).mean().backward()
        yield


SPECIAL: dict[str, Callable[[], Any]] = {
    "gmp": lambda: gmp(0.8, Window(1, 9, 2)),
    "rigl": lambda: rigl(0.8, Window(0, 10, 2), distribution="erk"),
    "set": lambda: set_(0.8, Window(0, 10, 2), distribution="erk"),
    "snip": lambda: snip(0.8),
    "iht": lambda: iht(0.8, Window(0, 99, 1)),
    "static": lambda: random_static(0.8),
    "magnitude": lambda: magnitude(0.8),
    "woodfisher": lambda: woodfisher(0.8, own_passes, samples=10, block=30, damping=0.1, window=Window(0, 2, 1)),
    "top_kast": lambda: TopKAST(0.8, backward_sparsity=0.5),
    "str": lambda: SoftThreshold(s_init=-3.0, s_weight_decay=0.1),
    "dsd": lambda: DSD(Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3)]), 0.8),
    "sparse_vd": lambda: SparseVD(0.8, **VARIATIONAL),
}
METHODS = every_method(SPECIAL, lambda name: lambda: from_defaults(name, 0.8, steps=4, epochs=3))
FIXED_FROM_THE_START = ("static", "magnitude", "snip")


def prune_by_both() -> tuple[list[int], list[float]]:
    """On a rank: a Fisher matrix of one gradient, whose mean over the ranks is (0, 4, 2, 2)."""
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 1.0, 1.0, 0.5]]))
    mine = [[8.0, 4.0, 0.0, 4.0], [-8.0, 4.0, 4.0, 0.0]][distributed.get_rank()]

    def one(model: nn.Module) -> Iterator[None]:
        model(torch.tensor([mine])).sum().backward()
        yield

    model = DistributedDataParallel(layer)
    method = woodfisher(0.5, one, samples=1, block=1, damping=1e-3)
    method.attach(model, torch.optim.SGD(model.parameters(), lr=1.0)).begin_epoch(0)
    return method.masks["weight"][0].int().tolist(), layer.weight[0].tolist()


def test_woodfisher_prunes_by_the_gradients_of_both_ranks(two_ranks: RankPair) -> None:
    """rho = w^2 F / 2 = 0, 8, 2 and 1/2; either rank alone would keep the first weight, whose 64 cancels to 0."""
    assert two_ranks.run(prune_by_both) == [([0, 1, 1, 0], [0.0, 1.0, 1.0, 0.0])] * 2


def train(name: str) -> list[tuple[str | None, bytes]]:
    """On a rank: batches of its own. Returns masks and weights after every step."""
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 20)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    method = METHODS[name]().attach(model, optimizer)
    torch.manual_seed(distributed.get_rank())  # a rank's own random numbers must not matter
    after = []
    for index in range(12):
        if index % 4 == 0:
            method.begin_epoch(index // 4)
        optimizer.zero_grad()
        model(torch.randn(4, 10)).pow(2).mean().backward()
        optimizer.step()
        weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        after.append((method.masks and method.masks.digest(), weights.numpy().tobytes()))
    return after


@pytest.mark.parametrize("name", METHODS)
def test_masks_and_weights_are_the_same_on_both_ranks_after_every_step(name: str, two_ranks: RankPair) -> None:
    first, second = two_ranks.run(train, name)
    assert first == second
    assert first[-1][0] is not None


def whole_batch(step: int) -> Tensor:
    """Eight samples that depend on the step alone."""
    return torch.randn(8, 10, generator=torch.Generator().manual_seed(step), dtype=torch.float64)


def noise_of_a_share(output: Tensor) -> Tensor:
    """A rank's rows of the noise that one process would draw for all rows of a layer of that width."""
    ranks, rank = (distributed.get_world_size(), distributed.get_rank()) if distributed.is_initialized() else (1, 0)
    generator = torch.Generator().manual_seed(output.shape[1])
    noise = torch.randn(len(output) * ranks, output.shape[1], generator=generator, dtype=output.dtype)
    return noise.chunk(ranks)[rank]


def train_on_a_share(name: str) -> tuple[list[str | None], dict[str, Tensor]]:
    """In float64, each rank on its half of every batch, or one process on all of it. Returns masks and weights."""
    ranks, rank = (distributed.get_world_size(), distributed.get_rank()) if distributed.is_initialized() else (1, 0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 20)).double()
    trained = DistributedDataParallel(model) if ranks > 1 else model
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
    method = METHODS[name]().attach(trained, optimizer)
    digests = []
    for index in range(12):
        if index % 4 == 0:
            method.begin_epoch(index // 4)
        optimizer.zero_grad()
        inputs = whole_batch(index).chunk(ranks)[rank]
        with patch.object(torch, "randn_like", noise_of_a_share):  # SparseVD's
            (trained(inputs) - 3 * inputs.repeat(1, 2)).pow(2).sum(dim=1).mean().backward()
        optimizer.step()
        digests.append(method.masks and method.masks.digest())
    return digests, {key: value.detach().clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_are_one_process_on_both_halves_of_the_batch(name: str, two_ranks: RankPair) -> None:
    """The same masks after every step, and weights that differ by the order of a sum of two halves."""
    digests, weights = train_on_a_share(name)
    if name in SPECIAL:
        assert len(set(digests)) > 1 or name in FIXED_FROM_THE_START
    rtol = 1e-9 if name == "sparse_vd" else 1e-12  # whose divergence goes with 1 / theta, and the rounding with it
    for its_digests, its_weights in two_ranks.run(train_on_a_share, name):
        assert its_digests == digests
        for key, value in weights.items():
            torch.testing.assert_close(its_weights[key], value, rtol=rtol, atol=1e-14)


def compare_often(name: str, steps: int, drift_at: int | None) -> tuple[int, int, str]:
    """On a rank: steps of one epoch, on one rank with weights that drift apart at some step.

    Returns the comparisons over the ranks, the steps done, and the error that ended it.
    """
    torch.manual_seed(0)
    model = nn.Linear(4, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = OFTEN[name]().attach(model, optimizer)
    compared, gather = 0, distributed.all_gather_object

    def counted(*arguments: Any) -> None:
        nonlocal compared
        compared += 1
        gather(*arguments)

    distributed.all_gather_object = counted
    try:
        method.begin_epoch(0)
        for done in range(steps):
            optimizer.zero_grad()
            model(torch.ones(1, 4)).pow(2).mean().backward()
            if done == drift_at and distributed.get_rank() == 1:
                model.weight.grad.add_(torch.randn(8, 4, generator=torch.Generator().manual_seed(1)) * 100)
            optimizer.step()
    except RuntimeError as error:
        return compared, done, str(error)
    finally:
        distributed.all_gather_object = gather
    return compared, steps, ""


OFTEN = {
    "iht": lambda: iht(0.5, Window(0, 10_000, 1)),
    "top_kast": lambda: TopKAST(0.5, backward_sparsity=0.0, interval=1),
}


@pytest.mark.parametrize("name", OFTEN)
def test_masks_of_every_step_are_compared_every_hundred_steps(name: str, two_ranks: RankPair) -> None:
    """Before the first step or after it, and 100 and 200 steps later: not 250 times."""
    for compared, steps, error in two_ranks.run(compare_often, name, 250, None):
        assert (compared, steps, error) == (3, 250, "")


@pytest.mark.parametrize("name", OFTEN)
def test_ranks_that_drift_apart_are_found_at_the_next_comparison(name: str, two_ranks: RankPair) -> None:
    for compared, steps, error in two_ranks.run(compare_often, name, 250, 20):
        assert "ranks [1] differ from those of rank 0" in error
        assert 20 < steps <= 100 and compared == 2


def noisy_layer_on_a_rank(passes: int) -> list[list[float]]:
    """Gradients of log sigma^2 that a rank had alone, and those that the step was done with."""
    rank = distributed.get_rank()
    model = row_on_a_rank()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    SparseVD(0.5, **{**VARIATIONAL, "kl_weight": 0.0}).attach(model, optimizer)
    log_sigma2 = optimizer.param_groups[1]["params"][0]
    torch.manual_seed(rank)
    inputs = [[float(index + rank) for index in range(8)] for _ in range(passes)]
    for index, features in enumerate(inputs):
        with nullcontext() if index + 1 == passes else model.no_sync():
            model(torch.tensor([features])).sum().backward()
    alone = log_sigma2.grad[0].tolist()
    optimizer.step()
    return [alone, log_sigma2.grad[0].tolist()]


@pytest.mark.parametrize("passes", [1, 3])
def test_the_gradients_of_variances_are_means_over_the_ranks(passes: int, two_ranks: RankPair) -> None:
    """DistributedDataParallel does not know them."""
    first, second = two_ranks.run(noisy_layer_on_a_rank, passes)
    assert first[0] != second[0] and first[1] == second[1]
    means = [(left + right) / 2 for left, right in zip(first[0], second[0], strict=True)]
    assert first[1] == pytest.approx(means, rel=1e-6)
