"""N:M for any N and M: masks by hand and a loop over groups, in every memory format and dtype."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from acdc_cli.sparsity import Allocation, AllocationError, Layer, Pattern, excluded, magnitude_masks, shares_of
from acdc_cli.sparsity.allocate import closed_form_nonzeros

PATTERNS = [Pattern(1, 4), Pattern(2, 8), Pattern(3, 5), Pattern(4, 5), Pattern(1, 2), Pattern(7, 10)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def mask_of(weight: Tensor, pattern: Pattern, indivisible: str = "skip") -> Tensor:
    return magnitude_masks({"w": weight}, Allocation(pattern, indivisible=indivisible))["w"]


def reference(weight: Tensor, pattern: Pattern) -> np.ndarray:
    """A stable sort within each group of neighbours along the input channels."""
    channels_last = np.moveaxis(np.abs(weight.double().numpy()), 1, -1)
    groups = channels_last.reshape(-1, pattern.group)
    keep = np.ones(groups.shape, bool)
    order = np.argsort(groups, axis=1, kind="stable")[:, : pattern.group - pattern.kept]
    np.put_along_axis(keep, order, False, axis=1)
    return np.moveaxis(keep.reshape(channels_last.shape), -1, 1)


def strided_like(weight: Tensor) -> dict[str, Tensor]:
    """The same numbers in other layouts: dense in memory in another order, and with holes."""
    layouts = {
        "contiguous": weight.contiguous(),
        "transposed": weight.transpose(0, 1).contiguous().transpose(0, 1),
        "with holes": torch.stack([weight, weight], dim=-1)[..., 0],
        "expanded storage": torch.cat([weight, weight])[: weight.shape[0]],
    }
    if weight.ndim == 4:
        layouts["channels_last"] = weight.to(memory_format=torch.channels_last)
    if weight.ndim == 5:
        layouts["channels_last_3d"] = weight.to(memory_format=torch.channels_last_3d)
    return layouts


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (Pattern(1, 4), [0, 0, 0, 1, 0, 0, 1, 0]),  # of 1 3 2 4: 4; of 2 5 5 2: the later 5
        (Pattern(3, 4), [0, 1, 1, 1, 0, 1, 1, 1]),  # the first 2 goes
        (Pattern(2, 8), [0, 0, 0, 0, 0, 1, 1, 0]),
        (Pattern(5, 8), [0, 1, 0, 1, 0, 1, 1, 1]),  # 1 and two of the three 2s go
        (Pattern(1, 8), [0, 0, 0, 0, 0, 0, 1, 0]),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_by_hand(pattern: Pattern, expected: list[int], dtype: torch.dtype) -> None:
    weight = torch.tensor([[1.0, -3.0, 2.0, 4.0, -2.0, -5.0, 5.0, 2.0]], dtype=dtype)
    assert mask_of(weight, pattern).int().tolist() == [expected]
    assert mask_of(weight.view(1, 8, 1, 1), pattern).flatten().int().tolist() == expected


def test_three_of_five_in_a_convolution() -> None:
    """One output, five channels, a kernel of 2: columns 5 4 3 2 1 and 0 0 1 0 0."""
    weight = torch.tensor([[[5.0, 0.0], [4.0, 0.0], [3.0, -1.0], [2.0, 0.0], [1.0, 0.0]]])
    expected = [[[1, 0], [1, 0], [1, 1], [0, 1], [0, 1]]]
    assert mask_of(weight, Pattern(3, 5)).int().tolist() == expected


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(6, 40), (3, 40, 5), (4, 40, 3, 2), (2, 40, 1, 2, 3)], ids=str)
def test_agrees_with_a_stable_sort_in_every_layout(pattern: Pattern, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(pattern.group)
    for dtype in DTYPES:
        weight = torch.randn(shape, generator=generator).mul(2).round().to(dtype)
        expected = reference(weight, pattern)
        for name, layout in strided_like(weight).items():
            mask = mask_of(layout, pattern)
            assert np.array_equal(mask.numpy(), expected), (dtype, name)
            if name not in ("with holes", "expanded storage"):
                assert mask.stride() == layout.stride(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_group_keeps_exactly_n_among_zeros(dtype: torch.dtype) -> None:
    """Most groups are tied at zero: still N of M each, the last ones of those that are equal."""
    weight = torch.zeros(8, 40, 3, 3, dtype=dtype)
    weight[torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.05] = -0.5
    for pattern in PATTERNS:
        kept = mask_of(weight, pattern).movedim(1, -1).reshape(-1, pattern.group).sum(dim=1)
        assert kept.unique().tolist() == [pattern.kept]
    assert mask_of(torch.zeros(1, 5), Pattern(2, 5)).int().tolist() == [[0, 0, 0, 1, 1]]


def test_signed_zeros_nan_and_infinity() -> None:
    weight = torch.tensor([[0.0, -0.0, 0.0, -0.0], [float("nan"), float("-inf"), 1.0, float("inf")]])
    assert mask_of(weight, Pattern(2, 4)).int().tolist() == [[0, 0, 1, 1], [1, 0, 0, 1]]


def test_neighbouring_floats_are_told_apart() -> None:
    one = torch.ones((), dtype=torch.float64)
    above = torch.nextafter(one, 2 * one)
    weight = torch.stack([above, one, -one, -above])[None, :]
    assert mask_of(weight, Pattern(2, 4)).int().tolist() == [[1, 0, 0, 1]]


def test_a_group_as_wide_as_the_layer() -> None:
    """Magnitudes 12 .. 0 .. 11; the nine smallest are 4 .. 0 .. 4."""
    weight = torch.arange(-12.0, 12.0).view(1, 24)
    assert mask_of(weight, Pattern(15, 24)).int().tolist() == [[1] * 8 + [0] * 9 + [1] * 7]


def test_grouped_convolutions_divide_by_the_channels_of_a_group() -> None:
    """(out, in / groups, ...): 8 channels in 4 groups are 2 a group, which 4 does not divide."""
    layers = {"grouped": Layer(torch.Size([8, 2, 3, 3])), "plain": Layer(torch.Size([8, 8, 3, 3]))}
    assert excluded(shares_of(layers, Allocation("2:4"))) == ["grouped"]
    assert excluded(shares_of(layers, Allocation("1:2"))) == []


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_flatten_groups_straddle_the_kernel_positions(pattern: Pattern) -> None:
    """Three channels: no group lies within them. (out, *kernel, in) is one line, cut every M weights."""
    weight = torch.randn(pattern.group, 3, 3, 3, generator=torch.Generator().manual_seed(1)).mul(2).round()
    line = np.abs(weight.permute(0, 2, 3, 1).numpy()).reshape(-1, pattern.group)
    keep = np.ones(line.shape, bool)
    np.put_along_axis(keep, np.argsort(line, axis=1, kind="stable")[:, : pattern.group - pattern.kept], False, axis=1)
    expected = keep.reshape(pattern.group, 3, 3, 3).transpose(0, 3, 1, 2)
    for name, layout in strided_like(weight).items():
        assert np.array_equal(mask_of(layout, pattern, "flatten").numpy(), expected), name


def test_flatten_is_the_same_where_the_channels_are_divisible() -> None:
    weight = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(mask_of(weight, Pattern(2, 4), "flatten"), mask_of(weight, Pattern(2, 4)))


@pytest.mark.parametrize("pattern", [Pattern(1, 3), Pattern(2, 3), Pattern(3, 7), Pattern(10, 49)], ids=str)
def test_the_closed_form_is_exact(pattern: Pattern) -> None:
    """1 - N / M is no binary fraction: N weights of every M all the same."""
    layers = {"a": Layer(torch.Size([10, 49 * 21, 7, 7])), "b": Layer(torch.Size([1000, 49 * 21]))}
    left = closed_form_nonzeros(layers, Allocation(pattern))
    assert left == {name: layer.shape.numel() // pattern.group * pattern.kept for name, layer in layers.items()}


def test_rules_of_two_patterns_that_fit_no_layer_are_one_line() -> None:
    layers = {"a": Layer(torch.Size([4, 3])), "b": Layer(torch.Size([4, 5]))}
    with pytest.raises(AllocationError, match="divisible by 4 or 7, so nothing"):
        shares_of(layers, Allocation(0.9, rules={"a": "2:4", "b": "3:7"}))
    with pytest.raises(AllocationError, match="divisible by 4, so nothing"):
        shares_of(layers, Allocation(0.9, rules={"a": 0, "b": "2:4"}))
