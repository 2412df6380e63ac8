"""Exact selection over many tensors: toy masks written out, and a stable NumPy sort as the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from acdc_cli.sparsity.topk import keep_largest

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def reference(weights: list[Tensor], removed: int) -> list[np.ndarray]:
    """Drop the first ``removed`` of a stable sort by magnitude over all weights, in order and row-major."""
    arrays = [weight.double().numpy() for weight in weights]
    magnitudes = np.abs(np.concatenate([array.reshape(-1) for array in arrays]))
    keep = np.ones(len(magnitudes), bool)
    keep[np.argsort(magnitudes, kind="stable")[:removed]] = False
    ends = np.cumsum([array.size for array in arrays])[:-1]
    return [part.reshape(array.shape) for part, array in zip(np.split(keep, ends), arrays, strict=True)]


def assert_masks(masks: list[Tensor], expected: list) -> None:
    assert [mask.to(torch.int).tolist() for mask in masks] == [np.asarray(e).astype(int).tolist() for e in expected]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("removed", "first", "second"),
    [  # magnitudes 3 1 / 2 0 and 2 1 5; who goes, in turn: 0, 1 of the first, 1 of the second, 2, 2, 3, 5
        (0, [[1, 1], [1, 1]], [1, 1, 1]),
        (1, [[1, 1], [1, 0]], [1, 1, 1]),
        (2, [[1, 0], [1, 0]], [1, 1, 1]),
        (3, [[1, 0], [1, 0]], [1, 0, 1]),
        (4, [[1, 0], [0, 0]], [1, 0, 1]),
        (5, [[1, 0], [0, 0]], [0, 0, 1]),
        (6, [[0, 0], [0, 0]], [0, 0, 1]),
        (7, [[0, 0], [0, 0]], [0, 0, 0]),
    ],
)
def test_smallest_go_first_and_ties_by_position(dtype: torch.dtype, removed: int, first: list, second: list) -> None:
    weights = [torch.tensor([[3.0, -1.0], [2.0, 0.0]], dtype=dtype), torch.tensor([-2.0, 1.0, 5.0], dtype=dtype)]
    assert_masks(keep_largest(weights, removed), [first, second])


def test_all_equal_weights_go_in_order_across_tensors() -> None:
    weights = [torch.full((2, 2), -0.5), torch.full((3,), 0.5)]
    assert_masks(keep_largest(weights, 5), [[[0, 0], [0, 0]], [0, 1, 1]])


def test_tensors_of_one_weight() -> None:
    for dtype in DTYPES:
        weights = [torch.tensor([value], dtype=dtype) for value in (-3.0, 1.0, 3.0)]
        assert_masks(keep_largest(weights, 1), [[1], [0], [1]])
        assert_masks(keep_largest(weights, 2), [[0], [0], [1]])
        assert_masks(keep_largest([torch.tensor(-3.0, dtype=dtype), *weights], 3), [0, [0], [0], [1]])
        one = torch.ones(1, dtype=dtype)
        above = torch.nextafter(one, 2 * one)
        assert_masks(keep_largest([above, one, above], 1), [[1], [0], [1]])


def test_signed_zeros_are_equal() -> None:
    assert_masks(keep_largest([torch.tensor([0.0, -0.0, 0.0, -0.0])], 2), [[0, 0, 1, 1]])


def test_position_is_row_major_whatever_the_memory_format() -> None:
    weight = torch.ones(2, 2, 1, 2).to(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    (mask,) = keep_largest([weight], 3)
    assert_masks([mask], [[[[[0, 0]], [[0, 1]]], [[[1, 1]], [[1, 1]]]]])
    assert mask.stride() == weight.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbouring_floats_are_told_apart(dtype: torch.dtype) -> None:
    one = torch.ones((), dtype=dtype)
    above = torch.nextafter(one, 2 * one)
    weights = [torch.stack([above, one, -above, one])]
    assert_masks(keep_largest(weights, 2), [[1, 0, 1, 0]])
    assert_masks(keep_largest(weights, 3), [[0, 0, 1, 0]])


def test_subnormal_and_huge_numbers_are_ordered() -> None:
    weight = torch.tensor([3e38, 1e-45, 0.0, float("inf"), -3e-45, 1e-38])
    assert_masks(keep_largest([weight], 2), [[1, 0, 0, 1, 1, 1]])
    assert_masks(keep_largest([weight], 5), [[0, 0, 0, 1, 0, 0]])


def test_nan_counts_as_largest() -> None:
    weight = torch.tensor([float("nan"), 1.0, float("inf"), -2.0])
    assert_masks(keep_largest([weight], 3), [[1, 0, 0, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(15))
def test_agrees_with_a_stable_sort(dtype: torch.dtype, seed: int) -> None:
    """Random shapes, formats and counts; few distinct values, so there are zeros and long runs of ties."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(7,), (5, 8), (6, 4, 3, 3), (1, 1), (4, 4, 2)][: 1 + seed % 5]
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    if seed % 2:
        weights = [(3 * weight).round() / 3 for weight in weights]
    weights = [weight.to(dtype) for weight in weights]
    weights = [w.to(memory_format=torch.channels_last) if w.ndim == 4 else w for w in weights]
    total = sum(weight.numel() for weight in weights)
    for removed in sorted({0, 1, total // 2, total - 1, total, int(torch.randint(total, (), generator=generator))}):
        masks = keep_largest(weights, removed)
        assert_masks(masks, reference(weights, removed))
        assert sum(int((~mask).sum()) for mask in masks) == removed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_topk_on_many_distinct_weights(dtype: torch.dtype) -> None:
    weight = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unique()
    weight = weight[torch.randperm(len(weight), generator=torch.Generator().manual_seed(1))].to(dtype).abs().unique()
    kept = len(weight) // 10
    expected = torch.zeros(len(weight), dtype=torch.bool)
    expected[weight.topk(kept).indices] = True
    (mask,) = keep_largest([weight], len(weight) - kept)
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_ties_are_counted_exactly(dtype: torch.dtype) -> None:
    """Half precisions have few values: a threshold alone would drop too many."""
    weights = [torch.randn(20_000, generator=torch.Generator().manual_seed(s)).mul(4).round().to(dtype) for s in (0, 1)]
    for removed in (1, 12_345, 39_999):
        assert sum(int((~mask).sum()) for mask in keep_largest(weights, removed)) == removed


@pytest.mark.parametrize("first", [torch.bfloat16, torch.float16])
def test_magnitudes_of_two_types_are_compared_exactly(first: torch.dtype) -> None:
    """Neighbours of 1 in bfloat16 are 0.996 and 1.008, in float16 0.9995 and 1.001: in either, all five are 1."""
    weights = [torch.tensor([1.0, -1.0], dtype=first), torch.tensor([1.0002, 0.9998, -1.0001])]
    assert_masks(keep_largest(weights, 1), [[1, 1], [1, 0, 1]])
    assert_masks(keep_largest(weights, 2), [[0, 1], [1, 0, 1]])
    assert_masks(keep_largest(weights, 4), [[0, 0], [1, 0, 0]])
    assert_masks(keep_largest(weights[::-1], 4), [[1, 0, 0], [0, 0]])


def test_two_half_precisions_meet_in_float32() -> None:
    """In bfloat16 60000 would be 59904, in float16 2^-30 and 2^-40 would both be 0."""
    weights = [torch.tensor([2.0**-24, 60000.0]).half(), torch.tensor([2.0**-30, 2.0**-40, 59904.0]).bfloat16()]
    assert [weight.tolist() for weight in weights] == [[2.0**-24, 60000.0], [2.0**-30, 2.0**-40, 59904.0]]
    assert_masks(keep_largest(weights, 1), [[1, 1], [1, 0, 1]])
    assert_masks(keep_largest(weights, 4), [[0, 1], [0, 0, 0]])


@pytest.mark.parametrize("removed", [-1, 4])
def test_more_than_there_is_is_refused(removed: int) -> None:
    with pytest.raises(ValueError, match=str(removed)):
        keep_largest([torch.ones(3)], removed)


def test_weights_stay_as_they_are() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    (mask,) = keep_largest([weight], 1)
    assert weight.tolist() == [1.0, -2.0, 3.0]
    assert weight.requires_grad
    assert mask.dtype == torch.bool
    assert not mask.requires_grad
