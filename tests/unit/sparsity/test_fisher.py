"""The block inverse against an exact one, pruning statistic and update by hand and against the constrained optimum."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from acdc_cli.sparsity import fisher
from acdc_cli.sparsity.fisher import (
    block_shape,
    in_blocks,
    inverse_bytes,
    is_singular,
    joint_update,
    pruning_statistic,
    scaled_identity,
    summed_update,
    woodbury_,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inverse_of(gradients: Tensor, block: int, damping: float, together: int) -> Tensor:
    """gradients (N, n) -> (b, s, s)."""
    blocks = torch.stack([in_blocks(gradient, block) for gradient in gradients])
    inverse = scaled_identity(torch.full((blocks.shape[1],), damping, dtype=gradients.dtype), blocks.shape[2])
    for part in blocks.split(together):
        woodbury_(inverse, part, len(gradients))
    return inverse


@pytest.mark.parametrize("together", [1, 3, 16])
@pytest.mark.parametrize(("count", "block"), [(24, 6), (23, 6), (5, 6), (7, 1), (12, 12)])
def test_the_block_inverse_is_the_exact_one(
    count: int, block: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of lambda I + 1/N G^T G with all entries between blocks dropped, by torch.linalg.inv in float64."""
    monkeypatch.setattr(fisher, "CHUNK_ELEMENTS", 2 * block * block)  # two blocks at a time
    gradients, damping = drawn(10, count), 1e-3
    whole = damping * torch.eye(count, dtype=torch.float64) + gradients.T @ gradients / 10
    inverse = inverse_of(gradients, block, damping, together)
    for index, start in enumerate(range(0, count, block)):
        exact = torch.linalg.inv(whole[start : start + block, start : start + block])
        torch.testing.assert_close(inverse[index, : len(exact), : len(exact)], exact, rtol=1e-9, atol=1e-9)
    assert not is_singular(inverse, torch.full((len(inverse),), damping, dtype=torch.float64)).any()


def test_one_gradient_by_hand() -> None:
    """Sherman and Morrison: lambda = 1/2, g = (2, 0), N = 1: F = diag(4.5, 0.5)."""
    inverse = inverse_of(torch.tensor([[2.0, 0.0]]), 2, 0.5, 1)
    torch.testing.assert_close(inverse, torch.tensor([[[2 / 9, 0.0], [0.0, 2.0]]]))


def test_a_block_is_singular_below_four_roundings_of_the_inverse_damping() -> None:
    """lambda = 1/2: the inverse began as 2 on the diagonal, whose rounding is 2 eps."""
    eps = torch.finfo(torch.float32).eps
    inverse = torch.stack([torch.diag(torch.tensor([1.0, pivot * 2 * eps])) for pivot in (4.5, 3.5)])
    assert is_singular(inverse, torch.full((2,), 0.5)).tolist() == [False, True]


def test_a_block_that_is_larger_than_a_chunk_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "CHUNK_ELEMENTS", 3)
    assert list(fisher._chunks(torch.empty(3, 2, 2))) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    monkeypatch.setattr(fisher, "CHUNK_ELEMENTS", 8)
    assert list(fisher._chunks(torch.empty(3, 2, 2))) == [slice(0, 2), slice(2, 4)]


def test_inverses_are_where_their_weights_are() -> None:
    inverse = scaled_identity(torch.ones(2, device="meta", dtype=torch.float64), 3)
    assert inverse.device.type == "meta" and inverse.dtype == torch.float64 and inverse.shape == (2, 3, 3)


def test_blocks_follow_rows_whatever_the_memory_format() -> None:
    weight = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    for each in (weight, weight.to(memory_format=torch.channels_last)):
        assert in_blocks(each, 10).tolist() == [
            [*range(10)],
            [*range(10, 20)],
            [20.0, 21.0, 22.0, 23.0, *(0.0,) * 6],
        ]
    assert block_shape(24, 10) == (3, 10)
    assert block_shape(4, 10) == (1, 4)
    assert inverse_bytes([24, 4], 10) == 4 * (3 * 100 + 16)


# F = [[2, 1], [1, 1]]: its inverse is [[1, -1], [-1, 2]].
HESSIAN_INVERSE = torch.tensor([[[1.0, -1.0], [-1.0, 2.0]]])


def test_statistic_and_update_by_hand() -> None:
    """w = (3, 4): rho = 9 / 2 and 16 / 4. Without the second, the least of 1/2 d^T F d at d_2 = -4 is at d_1 = 2."""
    weights = torch.tensor([[3.0, 4.0]])
    assert pruning_statistic(weights, HESSIAN_INVERSE).tolist() == [[4.5, 4.0]]
    assert pruning_statistic(-weights, HESSIAN_INVERSE).tolist() == [[4.5, 4.0]]
    update = joint_update(weights, HESSIAN_INVERSE, torch.tensor([[False, True]]))
    torch.testing.assert_close(update, torch.tensor([[2.0, -4.0]]))
    hessian = torch.tensor([[2.0, 1.0], [1.0, 1.0]])
    assert (update @ hessian @ update.T / 2).item() == pytest.approx(4.0)  # what the statistic promised


def test_both_removed_and_none() -> None:
    weights = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(joint_update(weights, HESSIAN_INVERSE, torch.tensor([[True, True]])), -weights)
    assert joint_update(weights, HESSIAN_INVERSE, torch.tensor([[False, False]])).tolist() == [[0.0, 0.0]]


def test_the_update_is_the_constrained_optimum_of_a_quadratic() -> None:
    """Six weights, every set of them: the loss 1/2 d^T F d with the removed at 0 and F_RR d_R = F_RQ w_Q."""
    factor = drawn(6, 6, seed=1)
    hessian = factor @ factor.T + 0.1 * torch.eye(6, dtype=torch.float64)
    weights, inverse = drawn(1, 6, seed=2), torch.linalg.inv(hessian)[None]
    for removed in itertools.product([False, True], repeat=6):
        gone = torch.tensor([removed])
        stay, q = (~gone[0]).nonzero()[:, 0], gone[0].nonzero()[:, 0]
        best = -weights[0].clone()
        best[stay] = torch.linalg.solve(hessian[stay][:, stay], hessian[stay][:, q] @ weights[0, q])
        torch.testing.assert_close(joint_update(weights, inverse, gone)[0], best, rtol=1e-9, atol=1e-9)


def test_of_one_weight_it_is_the_papers() -> None:
    """-w_q A e_q / A_qq; and rho_q is what the quadratic then costs."""
    factor = drawn(5, 5, seed=3)
    hessian = factor @ factor.T + 0.1 * torch.eye(5, dtype=torch.float64)
    inverse, weights = torch.linalg.inv(hessian)[None], drawn(1, 5, seed=4)
    for q in range(5):
        only = torch.eye(5, dtype=torch.bool)[q : q + 1]
        update = joint_update(weights, inverse, only)[0]
        torch.testing.assert_close(summed_update(weights, inverse, only)[0], update)
        torch.testing.assert_close(update, -weights[0, q] * inverse[0, :, q] / inverse[0, q, q])
        cost = update @ hessian @ update / 2
        torch.testing.assert_close(cost, pruning_statistic(weights, inverse)[0, q])


def test_the_papers_sum_by_hand() -> None:
    """A = [[1, -1], [-1, 2]], w = (3, 4): (-3, 3) for the first and (2, -4) for the second."""
    weights = torch.tensor([[3.0, 4.0]])
    for removed, update in (((1, 0), (-3.0, 3.0)), ((0, 1), (2.0, -4.0)), ((1, 1), (-1.0, -1.0)), ((0, 0), (0.0, 0.0))):
        found = summed_update(weights, HESSIAN_INVERSE, torch.tensor([removed], dtype=torch.bool))
        torch.testing.assert_close(found, torch.tensor([update]))


def test_padding_changes_nothing() -> None:
    gradients, weights = drawn(9, 7), drawn(7, seed=5)
    inverse = inverse_of(gradients, 4, 1e-2, 4)
    alone = inverse_of(gradients[:, 4:], 3, 1e-2, 4)
    removed = in_blocks(torch.tensor([True, False, True, False, True, False, True]), 4)
    update = joint_update(in_blocks(weights, 4), inverse, removed)
    torch.testing.assert_close(inverse[1, :3, :3], alone[0])
    torch.testing.assert_close(update[1, :3], joint_update(weights[None, 4:], alone, removed[1:, :3])[0])
    assert update[1, 3] == 0


def test_what_float32_cannot_hold_is_singular() -> None:
    """lambda = 1e-5, and gradients of 1e4 in the second block: its inverse is 1e-8 beside roundings of 1e5."""
    gradients = torch.ones(3, 4) * torch.tensor([1e-2, -1e-2, 1e4, 2e4])
    damping = torch.full((2,), 1e-5)
    inverse = inverse_of(gradients, 2, 1e-5, 2)
    assert is_singular(inverse, damping).tolist() == [False, True]
    inverse[0, 0, 1] = float("nan")
    assert is_singular(inverse, damping).tolist() == [True, True]
