"""Selection where it is easily off by one: ties over chunk and tensor borders, massive ties, odd layouts and dtypes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from acdc_cli.sparsity import topk
from acdc_cli.sparsity.topk import keep_largest

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def flat(masks: list[Tensor]) -> list[int]:
    return torch.cat([mask.reshape(-1) for mask in masks]).int().tolist()


def stable_sort(weights: list[Tensor], removed: int) -> np.ndarray:
    magnitudes = np.abs(np.concatenate([weight.double().numpy().reshape(-1) for weight in weights]))
    keep = np.ones(len(magnitudes), bool)
    keep[np.argsort(magnitudes, kind="stable")[:removed]] = False
    return keep


def counts(total: int, random: np.random.Generator) -> list[int]:
    return sorted({0, 1, total // 10, total // 2, total - 1, total, *random.integers(0, total + 1, size=4).tolist()})


@pytest.fixture
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "_CHUNK", 4)


@pytest.mark.usefixtures("tiny_chunks")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("removed", range(19))
def test_ties_run_across_chunks_and_tensors(dtype: torch.dtype, removed: int) -> None:
    """Eighteen equal weights in tensors of 6, 1, 4 and 7, read four at a time, go one after the other."""
    weights = [torch.full((size,), -1.5, dtype=dtype) for size in (6, 1, 4, 7)]
    assert flat(keep_largest(weights, removed)) == [0] * removed + [1] * (18 - removed)


@pytest.mark.usefixtures("tiny_chunks")
def test_ties_between_larger_and_smaller_weights() -> None:
    """1 2 2 9 | 2 9 : 0 2 | 2 9 2 0 : 2. Two zeros, the one, then the 2s from the left."""
    weights = [torch.tensor([1.0, 2, -2, 9, 2, 9]), torch.tensor([0.0, -2]), torch.tensor([[2.0, 9], [-2, 0]])]
    weights.append(torch.tensor([2.0]))
    order = [6, 11, 0, 1, 2, 4, 7, 8, 10, 12, 3, 5, 9]
    for removed in range(14):
        expected = [int(position not in order[:removed]) for position in range(13)]
        assert flat(keep_largest(weights, removed)) == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", [3, 16, 64, 1 << 22])
def test_agrees_with_a_stable_sort_for_any_chunk(
    dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topk, "_CHUNK", chunk)
    random = np.random.default_rng(chunk)
    for values in (1, 2, 5, 1000):
        weights = [
            torch.from_numpy(random.integers(-values, values + 1, size=shape) / 8).to(dtype)
            for shape in [(3, 8, 2, 2), (5,), (4, 4)]
        ]
        weights[0] = weights[0].to(memory_format=torch.channels_last)
        for removed in counts(117, random):
            masks = keep_largest(weights, removed)
            assert np.array_equal(flat(masks), stable_sort(weights, removed)), (values, removed)
            assert [mask.stride() for mask in masks] == [weight.stride() for weight in weights]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
def test_a_threshold_inside_the_zeros(dtype: torch.dtype, seed: int) -> None:
    """Nine in ten are zero, of either sign, as when a sparse model is pruned again to less than it has."""
    random = np.random.default_rng(seed)
    weights = []
    for shape in [(40, 25), (16, 8, 3, 3), (999,)]:
        values = random.standard_normal(shape) * (random.random(shape) < 0.1)
        weights.append(torch.from_numpy(np.where(random.random(shape) < 0.5, -values, values)).to(dtype))
    total = sum(weight.numel() for weight in weights)
    for removed in [total // 5, total // 2, int(0.8 * total), int(0.95 * total)]:
        masks = keep_largest(weights, removed)
        assert np.array_equal(flat(masks), stable_sort(weights, removed))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_tie_massively(dtype: torch.dtype) -> None:
    """300,000 normal weights have a few thousand magnitudes: 90% is a tie of hundreds, cut where it has to be."""
    weights = [torch.randn(150_000, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (0, 1)]
    for target in (0.1, 0.5, 0.9, 0.99):
        removed = round(target * 300_000)
        masks = keep_largest(weights, removed)
        assert np.array_equal(torch.cat(masks).numpy(), stable_sort(weights, removed))


def test_the_low_bits_decide_in_double_precision() -> None:
    """Weights that are equal in their first 16, 32 or 48 bits, with digits on both sides of the sign of 16 bits."""
    base = np.float64(1.0).view(np.int64)
    steps = [0x8000_0000_0000, 0x7FFF_0000_0000, 0x8000_0000, 0x7FFF_0000, 0x8000, 0x7FFF, 0xFFFF, 1, 0]
    weight = torch.from_numpy(np.array([base + step for step in steps], np.int64).view(np.float64))
    smallest_first = sorted(range(len(steps)), key=lambda index: steps[index])
    for removed in range(len(steps) + 1):
        expected = [int(index not in smallest_first[:removed]) for index in range(len(steps))]
        assert flat([*keep_largest([weight], removed)]) == expected


@pytest.mark.usefixtures("tiny_chunks")
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_above_infinity_above_numbers(dtype: torch.dtype) -> None:
    weight = torch.tensor([float("inf"), float("nan"), 5.0, float("-inf"), -float("nan"), 1.0], dtype=dtype)
    expected = {2: [1, 1, 0, 1, 1, 0], 3: [0, 1, 0, 1, 1, 0], 4: [0, 1, 0, 0, 1, 0], 5: [0, 0, 0, 0, 1, 0]}
    for removed, mask in expected.items():
        assert flat(keep_largest([weight], removed)) == mask


def test_subnormal_weights_are_not_zero() -> None:
    for dtype in DTYPES:
        weight = torch.tensor([torch.finfo(dtype).smallest_normal, 0.0, 0.0, 0.0], dtype=dtype)
        weight[2] = weight[0] / 4
        assert weight[2] > 0
        assert flat(keep_largest([weight], 2)) == [1, 0, 1, 0], dtype


def test_layers_of_several_dtypes_are_ranked_by_value() -> None:
    """A head kept in single precision over a body in half: 1 1.5 2 3, 1 2.5 and 0.5 1.5 2."""
    weights = [
        torch.tensor([1.0, -1.5, 2.0, 3.0], dtype=torch.bfloat16),
        torch.tensor([1.0, 2.5], dtype=torch.float64),
        torch.tensor([0.5, -1.5, 2.0], dtype=torch.float16),
    ]
    order = [6, 0, 4, 1, 7, 2, 8, 5, 3]
    for removed in range(10):
        masks = keep_largest(weights, removed)
        assert flat(masks) == [int(position not in order[:removed]) for position in range(9)]
        assert {mask.dtype for mask in masks} == {torch.bool}


def test_layers_without_weights_are_passed_over() -> None:
    weights = [torch.zeros(0, 3), torch.tensor([2.0, 1.0]), torch.zeros(4, 0)]
    masks = keep_largest(weights, 1)
    assert [mask.shape for mask in masks] == [weight.shape for weight in weights]
    assert masks[1].tolist() == [True, False]
    assert keep_largest([], 0) == []


def test_layouts_with_holes_and_repeats() -> None:
    """Views: every other column, a transposed matrix, one row expanded to three."""
    base = torch.arange(12.0).view(3, 4)
    for view in (base[:, ::2], base.t(), base[:1].expand(3, 4), base.flip(1)):
        for removed in range(view.numel() + 1):
            (mask,) = keep_largest([view], removed)
            assert np.array_equal(flat([mask]), stable_sort([view], removed))


@pytest.mark.parametrize("length", [1, 7, 8, 9, 64, 203])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_the_few_inside_come_in_order(length: int, share: float) -> None:
    random = np.random.default_rng(length)
    bits, inside = random.integers(-9, 9, size=length, dtype=np.int32), random.random(length) < share
    found = topk._few(torch.from_numpy(bits), torch.from_numpy(inside))
    assert found.tolist() == bits[inside].tolist()


def test_an_empty_weight_is_nothing() -> None:
    weights = [torch.empty(0, 3), torch.tensor([3.0, -1, 2]), torch.empty(0)]
    assert [mask.tolist() for mask in keep_largest(weights, 2)] == [[], [True, False, False], []]
