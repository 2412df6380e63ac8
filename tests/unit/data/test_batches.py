"""Which samples are in which pass of which rank: written out by hand, and the gradients that come of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from acdc_cli.data.loading.batches import MicroBatch, evaluation_batches, training_batches

ORDER = np.array([5, 3, 0, 4, 1, 2, 6])


def written_out(batches: list[MicroBatch]) -> list[tuple[list[int], float, int, bool, bool]]:
    return [(b.samples.tolist(), b.weight, b.count, b.begins_step, b.ends_step) for b in batches]


def test_one_rank_takes_whole_batches() -> None:
    assert written_out(training_batches(ORDER, 4)) == [
        ([5, 3, 0, 4], 1.0, 4, True, True),
        ([1, 2, 6], 1.0, 3, True, True),
    ]


def test_two_ranks_take_a_half_each() -> None:
    """The last step has 3 samples: 2 x 2/3 and 2 x 1/3, whose mean is 1."""
    assert written_out(training_batches(ORDER, 4, rank=0, ranks=2)) == [
        ([5, 3], 1.0, 2, True, True),
        ([1, 2], 4 / 3, 2, True, True),
    ]
    assert written_out(training_batches(ORDER, 4, rank=1, ranks=2)) == [
        ([0, 4], 1.0, 2, True, True),
        ([6], 2 / 3, 1, True, True),
    ]


def test_two_passes_make_a_step() -> None:
    assert written_out(training_batches(ORDER, 4, passes=2)) == [
        ([5, 3], 0.5, 2, True, False),
        ([0, 4], 0.5, 2, False, True),
        ([1, 2], 2 / 3, 2, True, False),
        ([6], 1 / 3, 1, False, True),
    ]


def test_a_rank_that_goes_without_passes_a_stand_in_of_no_weight() -> None:
    """Two ranks, two passes, 3 samples in the last step: its fourth place is empty."""
    assert written_out(training_batches(ORDER, 4, 2, rank=0, ranks=2)) == [
        ([5], 0.5, 1, True, False),
        ([0], 0.5, 1, False, True),
        ([1], 2 / 3, 1, True, False),
        ([6], 2 / 3, 1, False, True),
    ]
    assert written_out(training_batches(ORDER, 4, 2, rank=1, ranks=2)) == [
        ([3], 0.5, 1, True, False),
        ([4], 0.5, 1, False, True),
        ([2], 2 / 3, 1, True, False),
        ([1], 0.0, 0, False, True),
    ]


@pytest.mark.parametrize("first_step", [0, 1, 2])
def test_an_epoch_can_begin_at_any_step(first_step: int) -> None:
    """Two passes a step, two steps: from the first, the second, and after the last."""
    whole = training_batches(ORDER, 4, passes=2)
    rest = training_batches(ORDER, 4, passes=2, first_step=first_step)
    assert written_out(rest) == written_out(whole)[2 * first_step :]


# Samples x of y = 0 under w = 1: the loss x^2 has the gradient 2 w x^2.
XS = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0]], dtype=torch.float64)
FULL_BATCH_GRADIENTS = [
    2 * (6**2 + 4**2 + 1**2 + 5**2) / 4,  # samples 5 3 0 4 are x = 6 4 1 5
    2 * (2**2 + 3**2 + 7**2) / 3,  # samples 1 2 6 are x = 2 3 7
]


@pytest.mark.parametrize(("passes", "ranks"), [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (1, 4)])
def test_the_mean_over_ranks_of_summed_gradients_is_the_full_batch_gradient(passes: int, ranks: int) -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.fill_(1.0)
    found = [0.0, 0.0]
    for rank in range(ranks):
        step = -1
        for batch in training_batches(ORDER, 4, passes, rank, ranks):
            step += batch.begins_step
            loss = model(XS[batch.samples]).pow(2).mean()
            (loss * batch.weight).backward()
            if batch.ends_step:
                assert model.weight.grad is not None
                found[step] += model.weight.grad.item() / ranks
                model.zero_grad()
        assert step == 1
    assert found == pytest.approx(FULL_BATCH_GRADIENTS, rel=1e-15)


@pytest.mark.parametrize(("passes", "ranks"), [(1, 1), (3, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize("count", [1, 6, 7, 12, 29])
def test_an_epoch_trains_on_every_sample_once(passes: int, ranks: int, count: int) -> None:
    order = np.random.default_rng(0).permutation(count)
    shares = [training_batches(order, 6, passes, rank, ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1  # no rank waits for another in vain
    seen = [sample for share in shares for batch in share for sample in batch.samples[: batch.count].tolist()]
    assert sorted(seen) == list(range(count))


def test_evaluation_by_hand() -> None:
    assert [batch.tolist() for batch in evaluation_batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [batch.tolist() for batch in evaluation_batches(7, 3, 0, 2)] == [[0, 1, 2], [3]]
    assert [batch.tolist() for batch in evaluation_batches(7, 3, 1, 2)] == [[4, 5, 6]]


@pytest.mark.parametrize("count", [1, 2, 5, 16, 360])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_every_sample_is_evaluated_once_and_in_order(count: int, ranks: int) -> None:
    shares = [evaluation_batches(count, 4, rank, ranks) for rank in range(ranks)]
    assert [sample for share in shares for batch in share for sample in batch.tolist()] == list(range(count))
