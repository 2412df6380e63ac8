"""SNIP: |g * w| of the first step's gradients, by hand; then the masks are fixed."""

from __future__ import annotations

import math

import torch
from helpers.toy_layers import backward, gradient_of, mask_of, plain_sgd, row, rows, step, weights_of

from acdc_cli.sparsity.methods import snip

WEIGHTS = (1.0, -2.0, 3.0, -4.0)
GRADIENT = (9.0, 4.0, -1.0, 0.5)  # |g w|: 9, 8, 3, 2


def test_the_largest_products_stay_and_the_first_step_is_taken_with_masked_gradients() -> None:
    layer = row(*WEIGHTS)
    optimizer = plain_sgd(layer, momentum=0.9)
    method = snip(0.5).attach(layer, optimizer)
    method.begin_epoch(0)
    assert method.masks is None
    assert weights_of(layer) == list(WEIGHTS)
    backward(layer, *GRADIENT)
    assert gradient_of(layer) == list(GRADIENT)
    optimizer.step()
    assert mask_of(method) == [1, 1, 0, 0]
    assert gradient_of(layer) == [9.0, 4.0, 0.0, 0.0]
    assert weights_of(layer) == [-8.0, -6.0, 0.0, 0.0]
    assert optimizer.state[layer.weight]["momentum_buffer"].tolist() == [[9.0, 4.0, 0.0, 0.0]]


def test_then_the_masks_are_fixed() -> None:
    layer = row(*WEIGHTS)
    optimizer = plain_sgd(layer)
    method = snip(0.5).attach(layer, optimizer)
    method.begin_epoch(0)
    step(layer, optimizer, *GRADIENT)
    for epoch in range(1, 4):
        method.begin_epoch(epoch)
        step(layer, optimizer, -8.0 if epoch == 1 else 0.0, 0.0, 100.0, 100.0)  # the first becomes exactly 0
        assert gradient_of(layer)[2:] == [0.0, 0.0]
        assert mask_of(method) == [1, 1, 0, 0]
        assert weights_of(layer) == [0.0, -6.0, 0.0, 0.0]
        assert method.mask_change == 0.0
    step(layer, optimizer, 1.0, 0.0, 0.0, 0.0)
    assert weights_of(layer) == [-1.0, -6.0, 0.0, 0.0]


def test_gradients_of_several_passes_add_up_before_they_are_ranked() -> None:
    layer = row(*WEIGHTS)
    optimizer = plain_sgd(layer)
    method = snip(0.5).attach(layer, optimizer)
    method.begin_epoch(0)
    backward(layer, *GRADIENT)
    backward(layer, -9.0, 0.0, 0.0, 0.0)  # 0, 8, 3, 2
    optimizer.step()
    assert mask_of(method) == [0, 1, 1, 0]


def ranked(**spread: object) -> list[list[int]]:
    """Products of the layers: 4, 3, 2, 1 and 40, 30, 20, 10."""
    model = rows((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 10.0, 10.0))
    optimizer = plain_sgd(model)
    method = snip(0.5, **spread).attach(model, optimizer)
    method.begin_epoch(0)
    sum(layer(torch.tensor([[4.0, 3.0, 2.0, 1.0]])).sum() for layer in model).backward()
    optimizer.step()
    return [mask_of(method, "0.weight"), mask_of(method, "1.weight")]


def test_ranked_over_all_layers_or_within_each() -> None:
    assert ranked() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert ranked(distribution="uniform") == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert ranked(rules={"first": 0}) == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_n_to_m_keeps_the_largest_products_of_every_group() -> None:
    layer = row(1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0)
    optimizer = plain_sgd(layer)
    method = snip("2:4").attach(layer, optimizer)
    method.begin_epoch(0)
    step(layer, optimizer, 9.0, 4.0, 1.0, 0.5, 1.0, 1.0, 1.0, 5.0)  # 9 8 3 2, 4 3 2 5
    assert mask_of(method) == [1, 1, 0, 0, 1, 0, 0, 1]


def test_a_first_step_that_the_scaler_skips_chooses_nothing() -> None:
    for options in ({}, {"fused": True}):
        layer = row(*WEIGHTS)
        optimizer = plain_sgd(layer, **options)
        method = snip(0.5).attach(layer, optimizer)
        method.begin_epoch(0)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for gradient in ((math.inf, 1.0, 1.0, 1.0), GRADIENT):
            assert method.masks is None
            optimizer.zero_grad()
            scaler.scale(layer(torch.tensor([gradient])).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        assert mask_of(method) == [1, 1, 0, 0]
        assert weights_of(layer) == [-8.0, -6.0, 0.0, 0.0]


def test_a_layer_without_gradient_goes_first() -> None:
    model = rows((1.0, 1.0), (9.0, 9.0))
    optimizer = plain_sgd(model)
    method = snip(0.5).attach(model, optimizer)
    method.begin_epoch(0)
    backward(model[0], 1.0, 1.0)
    optimizer.step()
    assert [mask_of(method, "0.weight"), mask_of(method, "1.weight")] == [[1, 1], [0, 0]]
