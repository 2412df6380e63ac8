"""Methods that read gradients read those of all ranks; methods that draw at random draw the same on each."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from rank_pair import RankPair
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from acdc_cli.sparsity.masks import pack
from acdc_cli.sparsity.methods import DSD, SoftThreshold, TopKAST, gmp, iht, magnitude, random_static, rigl, set_, snip
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.sparsity.window import Window

START = [1, 1, 1, 1, 0, 0, 0, 0]
WEIGHTS = [4.0, -1.0, 3.0, -2.0, 0.0, 0.0, 0.0, 0.0]
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


METHODS = {
    "gmp": lambda: gmp(0.8, Window(1, 9, 2)),
    "rigl": lambda: rigl(0.8, Window(0, 10, 2), distribution="erk"),
    "set": lambda: set_(0.8, Window(0, 10, 2), distribution="erk"),
    "snip": lambda: snip(0.8),
    "iht": lambda: iht(0.8, Window(0, 99, 1)),
    "static": lambda: random_static(0.8),
    "magnitude": lambda: magnitude(0.8),
    "top_kast": lambda: TopKAST(0.8, backward_sparsity=0.5),
    "str": lambda: SoftThreshold(s_init=-3.0, s_weight_decay=0.1),
    "dsd": lambda: DSD(Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3)]), 0.8),
}


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
