"""SET: drops as RigL does, grows at random; drawn from seed, step and layer, so that every rank draws the same."""

from __future__ import annotations

import itertools

import torch
from helpers.toy_layers import gradient_of, mask_of, plain_sgd, row, set_masks, step, weights_of
from torch import nn

from acdc_cli.sparsity.methods import rigl, set_
from acdc_cli.sparsity.moving import MovingMasks
from acdc_cli.sparsity.window import Window

START = [1, 1, 1, 1, 0, 0, 0, 0]
WEIGHTS = (4.0, -1.0, 3.0, -2.0, 0.0, 0.0, 0.0, 0.0)
STILL = (0.0,) * 8


def run(seed: int, steps: int = 3) -> tuple[nn.Linear, MovingMasks]:
    """At step 2 of 4, with alpha 1, two of four connections move."""
    layer = row(*WEIGHTS)
    optimizer = plain_sgd(layer, momentum=0.9)
    method = set_(0.5, Window(0, 4, 2), drop_fraction=1.0, seed=seed, distribution="uniform").attach(layer, optimizer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([WEIGHTS]))
    set_masks(method, weight=START)
    method.begin_epoch(0)
    for _ in range(steps):
        step(layer, optimizer, *STILL)
    return layer, method


def test_the_smallest_are_dropped_and_as_many_grow_at_zero() -> None:
    grown = set()
    for seed in range(20):
        layer, method = run(seed, steps=2)
        mask = mask_of(method)
        assert sum(mask) == 4
        assert mask[0] == mask[2] == 1
        assert weights_of(layer)[0] == 4.0 and weights_of(layer)[2] == 3.0
        assert not any(weights_of(layer)[4:])
        assert [weight for weight, kept in zip(weights_of(layer), mask, strict=True) if not kept] == [0.0] * 4
        grown |= {place for place in range(8) if mask[place]}
    assert grown == set(range(8))  # every place has its chance, those just dropped too


def test_the_same_seed_grows_the_same() -> None:
    torch.manual_seed(1)
    first = mask_of(run(3)[1])
    torch.manual_seed(2)
    assert mask_of(run(3)[1]) == first


def layer_of_a_hundred(seed: int) -> list[torch.Tensor]:
    """Masks before the first step and after 10 and 20 steps."""
    torch.manual_seed(0)
    layer = nn.Linear(10, 20, bias=False)
    optimizer = plain_sgd(layer)
    method = set_(0.5, Window(0, 100, 10), seed=seed, distribution="uniform").attach(layer, optimizer)
    method.begin_epoch(0)
    masks = [method.masks.snapshot()["weight"]]
    for _ in range(20):
        optimizer.zero_grad()
        (layer(torch.zeros(1, 10)).sum()).backward()
        optimizer.step()
        if not torch.equal(masks[-1], method.masks["weight"]):
            masks.append(method.masks.snapshot()["weight"])
    assert len(masks) == 3
    return masks


def test_other_seeds_and_other_steps_grow_others() -> None:
    first, other = layer_of_a_hundred(0), layer_of_a_hundred(1)
    assert all(not torch.equal(*pair) for pair in zip(first, other, strict=True))
    grown = [after & ~before for before, after in itertools.pairwise(first)]
    assert all(places.any() for places in grown)
    assert not torch.equal(*grown)


def test_it_begins_with_rigls_masks_of_the_same_seed() -> None:
    masks = []
    for make in (rigl, set_):
        layer = nn.Linear(10, 20)
        method = make(0.8, Window(0, 4, 2), seed=5, distribution="erk").attach(layer, plain_sgd(layer))
        masks.append(method.masks["weight"])
    assert torch.equal(*masks)


def test_gradients_are_sparse_at_every_step_and_every_step_is_taken() -> None:
    layer, method = run(0, steps=0)
    optimizer = plain_sgd(layer)
    method.attach(layer, optimizer)
    method.begin_epoch(0)
    for index in range(6):
        before, mask = weights_of(layer), mask_of(method)
        step(layer, optimizer, *(0.5,) * 8)
        assert gradient_of(layer) == [0.5 * kept for kept in mask]
        now = mask_of(method)
        for place in range(8):
            if mask[place] and now[place]:
                assert weights_of(layer)[place] == before[place] - 0.5, index
            else:
                assert weights_of(layer)[place] == 0.0
        assert method.work().dense_gradient_share == 0.0
