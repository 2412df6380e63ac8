"""The bracket that a sample gives: with it, and where the sample misleads, the selection is that of a stable sort."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_topk_chunks import DTYPES, flat, stable_sort
from torch import Tensor

from acdc_cli.sparsity import topk
from acdc_cli.sparsity.topk import Cut, keep_largest

SHAPES = [(700, 3), (900,), (40, 25)]
TOTAL = 4000


@pytest.fixture(autouse=True)
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 of 4,000 weights, read 64 at a time."""
    monkeypatch.setattr(topk, "_SAMPLE", 200)
    monkeypatch.setattr(topk, "_CHUNK", 64)
    monkeypatch.setattr(topk, "_CROWD", 0.9)


def tensors(values: np.ndarray, dtype: torch.dtype) -> list[Tensor]:
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES])
    parts = np.split(values, ends[:-1])
    return [torch.from_numpy(part).to(dtype).reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]


def periodic(random: np.random.Generator) -> np.ndarray:
    """Every twentieth weight, as the sample takes them, is a hundred times as large as its neighbours."""
    values = random.standard_normal(TOTAL)
    values[::20] *= 100
    return values


KINDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "normal": lambda random: random.standard_normal(TOTAL),
    "half zeros": lambda random: random.standard_normal(TOTAL) * (random.random(TOTAL) < 0.5),
    "few values": lambda random: random.integers(-3, 4, TOTAL) / 4,
    "periodic": periodic,
    "not finite": lambda random: np.where(random.random(TOTAL) < 0.1, np.inf, random.standard_normal(TOTAL)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_a_stable_sort(kind: str, dtype: torch.dtype) -> None:
    weights = tensors(KINDS[kind](np.random.default_rng(3)), dtype)
    for removed in (1, 2, 40, 400, 2000, 3600, 3960, TOTAL - 1, TOTAL):
        assert np.array_equal(flat(keep_largest(weights, removed)), stable_sort(weights, removed)), removed


def test_the_threshold_of_normal_weights_is_in_the_bracket_and_of_periodic_ones_is_not() -> None:
    """Of 4,000 magnitudes the 3,600th smallest; the sample of the periodic ones has only large magnitudes."""
    for kind, is_inside in (("normal", True), ("periodic", False)):
        weights = tensors(KINDS[kind](np.random.default_rng(3)), torch.float32)
        low, high = topk._sampled_bracket(weights, 3600) or (0, 0)
        threshold = np.sort(np.abs(torch.cat([each.flatten() for each in weights]).numpy()))[3599]
        assert (low <= int(threshold.view(np.int32)) <= high) == is_inside
        assert (topk._cut_between(weights, 3600, low, high) is not None) == is_inside


def test_what_lies_between_is_counted_by_hand() -> None:
    """Magnitudes 1 2 2 3 4: between 2 and 3 lie the 2nd to the 4th smallest."""
    weights = [torch.tensor([3.0, -2, 1]), torch.tensor([2.0, -4])]
    bits = {value: int(torch.tensor(value).view(torch.int32)) for value in (1.0, 2.0, 3.0)}
    expected = {2: Cut(bits[2.0], 1, 2), 3: Cut(bits[2.0], 2, 2), 4: Cut(bits[3.0], 1, 1), 1: None, 5: None}
    for count, cut in expected.items():
        assert topk._cut_between(weights, count, bits[2.0], bits[3.0]) == cut


def test_a_crowd_of_equal_weights_is_left_to_the_histogram(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a threshold of 0 among 2,000 zeros the bracket holds half of the sample."""
    monkeypatch.setattr(topk, "_CROWD", 0.05)
    weights = tensors(np.arange(TOTAL) % 2 * 1.0, torch.float32)
    assert topk._sampled_bracket(weights, 1000) is None
    assert np.array_equal(flat(keep_largest(weights, 1000)), stable_sort(weights, 1000))
