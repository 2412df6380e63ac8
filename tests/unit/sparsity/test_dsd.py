"""DSD: dense, sparse, dense again; both ends are kept."""

from __future__ import annotations

import pytest
import torch
from helpers.toy_layers import backward, gradient_of, mask_of, plain_sgd, row, step, weights_of
from torch import nn
from torch.optim import Optimizer

from acdc_cli.sparsity import Timeline, Work
from acdc_cli.sparsity.methods import DSD

PHASES = Timeline.of([("dense", 0, 1), ("sparse", 1, 3), ("dense", 3, 5)])
WEIGHTS = (1.0, -4.0, 2.0, 3.0)


def attached(sparsity: float | str = 0.5, **options: float) -> tuple[nn.Linear, Optimizer, DSD]:
    layer = row(*WEIGHTS)
    optimizer = plain_sgd(layer, **options)
    return layer, optimizer, DSD(PHASES, sparsity).attach(layer, optimizer)


def test_three_phases_by_hand() -> None:
    layer, optimizer, method = attached()
    method.begin_epoch(0)
    assert method.masks is None
    step(layer, optimizer, -9.0, 0.0, 0.0, 1.0)
    assert weights_of(layer) == [10.0, -4.0, 2.0, 2.0]
    method.begin_epoch(1)  # 2 and 2 are the smallest
    assert mask_of(method) == [1, 1, 0, 0]
    assert weights_of(layer) == [10.0, -4.0, 0.0, 0.0]
    for epoch in (1, 2):
        method.begin_epoch(epoch) if epoch == 2 else None
        step(layer, optimizer, 1.0, 1.0, 1.0, 1.0)
        assert gradient_of(layer) == [1.0, 1.0, 0.0, 0.0]
    assert weights_of(layer) == [8.0, -6.0, 0.0, 0.0]
    method.begin_epoch(3)  # what was pruned trains again, from zero
    assert weights_of(layer) == [8.0, -6.0, 0.0, 0.0]
    step(layer, optimizer, 1.0, 1.0, 1.0, 1.0)
    assert gradient_of(layer) == [1.0, 1.0, 1.0, 1.0]
    assert weights_of(layer) == [7.0, -7.0, -1.0, -1.0]
    assert mask_of(method) == [1, 1, 0, 0]
    assert not method.masks.enforced


def test_both_models_come_out() -> None:
    layer, optimizer, method = attached()
    for epoch in range(5):
        method.begin_epoch(epoch)
        step(layer, optimizer, 1.0, 1.0, 1.0, 1.0)
        if epoch < 3:
            with pytest.raises(RuntimeError, match="no outputs before the last dense phase"):
                method.outputs()
    outputs = method.outputs()  # dense: 0, -5, 1, 2; sparse: -5, 2 less 1 twice; dense: 1 less twice
    assert outputs["sparse"]["weight"].tolist() == [[0.0, -7.0, 0.0, 0.0]]
    assert outputs["dense"]["weight"].tolist() == [[-2.0, -9.0, -2.0, -2.0]]
    outputs["sparse"]["weight"].fill_(9.0)
    assert method.outputs()["sparse"]["weight"].tolist() == [[0.0, -7.0, 0.0, 0.0]]


@pytest.mark.parametrize("epoch", range(5))
def test_beginning_an_epoch_twice_changes_nothing(epoch: int) -> None:
    layer, optimizer, method = attached()
    for earlier in range(epoch + 1):
        method.begin_epoch(earlier)
        step(layer, optimizer, -1.0, 4.5, 1.0, 1.0)
    masks, weights = method.masks and mask_of(method), weights_of(layer)
    sparse = method.outputs()["sparse"]["weight"].tolist() if epoch >= 3 else None
    method.begin_epoch(epoch)
    assert weights_of(layer) == weights
    assert (method.masks and mask_of(method)) == masks
    assert epoch < 3 or method.outputs()["sparse"]["weight"].tolist() == sparse


def test_weights_stay_zero_in_the_sparse_phase_alone() -> None:
    layer, optimizer, method = attached(lr=0.1, momentum=0.9, weight_decay=0.1)
    for epoch in range(5):
        method.begin_epoch(epoch)
        for _ in range(2):
            step(layer, optimizer, 1.0, 1.0, 1.0, 1.0)
            assert weights_of(layer).count(0.0) == (2 if epoch in (1, 2) else 0)


def test_n_to_m_in_the_sparse_phase() -> None:
    layer, _, method = attached("1:4")
    method.begin_epoch(0)
    method.begin_epoch(1)
    assert weights_of(layer) == [0.0, -4.0, 0.0, 0.0]


def test_what_a_step_costs() -> None:
    layer, _, method = attached()
    costs = []
    for epoch in range(5):
        method.begin_epoch(epoch)
        costs.append(method.work())
        backward(layer, 1.0, 1.0, 1.0, 1.0)
    sparse, dense = Work(True, True, True), Work(True, True, False)
    assert costs == [dense, sparse, sparse, dense, dense]


@pytest.mark.parametrize(
    "phases",
    [
        [("dense", 0, 4)],
        [("dense", 0, 1), ("sparse", 1, 2)],
        [("sparse", 0, 1), ("dense", 1, 2)],
        [("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 4), ("dense", 4, 5)],
    ],
)
def test_other_timelines_are_refused(phases: list[tuple[str, int, int]]) -> None:
    with pytest.raises(ValueError, match="one dense, one sparse and one dense phase"):
        DSD(Timeline.of(phases), 0.5)


def test_before_it_is_attached() -> None:
    method = DSD(PHASES, 0.5)
    with pytest.raises(RuntimeError, match="attach"):
        method.begin_epoch(0)
    with pytest.raises(RuntimeError):
        method.outputs()


def test_the_optimizers_moments_go_on_through_all_phases() -> None:
    layer, optimizer, method = attached(momentum=0.5)
    for epoch, expected in enumerate([1.0, 1.5, 1.75, 1.875, 1.9375]):
        method.begin_epoch(epoch)
        step(layer, optimizer, 0.0, 1.0, 0.0, 0.0)
        assert torch.equal(optimizer.state[layer.weight]["momentum_buffer"][0, 1], torch.tensor(expected))
