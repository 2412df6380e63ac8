"""Whole blocks: masks written out, the one that is cut, and a slow ranking in NumPy as the reference."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor

from acdc_cli.sparsity import Allocation, AllocationError, Layer, Pattern, excluded, magnitude_masks, shares_of
from acdc_cli.sparsity.allocate import erk_removed

FORMATS = [torch.contiguous_format, torch.channels_last]
# Blocks of two outputs by two inputs: sums of magnitudes 10, 6 / 4, 12.
SQUARES = torch.tensor(
    [
        [1.0, -2.0, 3.0, 0.0],
        [3.0, 4.0, -1.0, 2.0],
        [1.0, 1.0, 0.0, 0.0],
        [-1.0, 1.0, 0.0, 12.0],
    ]
)


def mask_of(weight: Tensor, target: float, block: tuple[int, int], distribution: str = "global") -> list:
    return magnitude_masks({"w": weight}, Allocation(target, distribution, block=block))["w"].int().tolist()


def reference(weights: list[np.ndarray], removed: int, block: tuple[int, int]) -> list[np.ndarray]:
    """Blocks in order of (sum of magnitudes, position); the last one loses its smallest weights, by position."""
    rows, columns = block
    blocks = []
    for layer, weight in enumerate(weights):
        out, inputs, *kernel = weight.shape
        for position in itertools.product(range(out // rows), range(inputs // columns), *map(range, kernel)):
            place = (
                slice(position[0] * rows, (position[0] + 1) * rows),
                slice(position[1] * columns, (position[1] + 1) * columns),
                *position[2:],
            )
            blocks.append((float(np.abs(weight[place].astype(float)).sum()), layer, position, place))
    masks = [np.ones(weight.shape, bool) for weight in weights]
    for _, layer, _, place in sorted(blocks, key=lambda entry: entry[:3]):
        magnitudes = np.abs(weights[layer][place]).ravel()
        gone = np.argsort(magnitudes, kind="stable")[:removed]
        part = np.ones(magnitudes.size, bool)
        part[gone] = False
        masks[layer][place] = part.reshape(block)
        removed -= len(gone)
    return masks


def partial_blocks(mask: Tensor, block: tuple[int, int]) -> int:
    rows, columns = block
    out, inputs, *kernel = mask.shape
    kept = mask.reshape(out // rows, rows, inputs // columns, columns, *kernel).sum(dim=(1, 3))
    return int(((kept > 0) & (kept < rows * columns)).sum())


class TestLinear:
    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            (0.25, [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]),  # 4 goes
            (0.5, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]),  # 6 too; the 0s beside 12 stay
            (0.75, [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]),
            (0.0, [[1, 1, 1, 1]] * 4),
        ],
    )
    def test_squares(self, target: float, expected: list) -> None:
        assert mask_of(SQUARES, target, (2, 2)) == expected

    def test_rows_of_four_inputs(self) -> None:
        weight = torch.tensor(
            [[4.0, 0.0, 0.0, 0.0, -1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, -2.0, 2.0, 0.5, 0.5, 0.5]]
        )  # 4, 3 / 5, 3.5
        assert mask_of(weight, 0.5, (1, 4)) == [[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]]

    def test_equal_blocks_go_by_position(self) -> None:
        """Permutations of 0.1, 0.2, 0.3 are equal whatever the order of addition makes of them in single precision."""
        weight = torch.tensor(list(itertools.permutations([0.1, 0.2, 0.3])))
        assert mask_of(weight, 0.5, (1, 3)) == [[0, 0, 0]] * 3 + [[1, 1, 1]] * 3

    @pytest.mark.parametrize(
        ("removed", "first_rows"),
        [
            (5, [[1, 1, 1, 0], [1, 1, 1, 1]]),  # after the block of ones, of 3 0 / 1 2 the 0,
            (6, [[1, 1, 1, 0], [1, 1, 0, 1]]),  # the 1,
            (7, [[1, 1, 1, 0], [1, 1, 0, 0]]),  # the 2
        ],
    )
    def test_the_cut_block_loses_its_smallest_weights(self, removed: int, first_rows: list) -> None:
        assert mask_of(SQUARES, removed / 16, (2, 2)) == [*first_rows, [0, 0, 1, 1], [0, 0, 1, 1]]

    @pytest.mark.parametrize("removed", [1, 2, 3])
    def test_ties_inside_the_cut_block_go_by_position(self, removed: int) -> None:
        """The block of four ones, row by row."""
        ones = ([0] * removed + [1] * 4)[:4]
        assert mask_of(SQUARES, removed / 16, (2, 2))[2:] == [[*ones[:2], 1, 1], [*ones[2:], 1, 1]]


class TestConvolution:
    @pytest.mark.parametrize("memory_format", FORMATS)
    def test_each_kernel_position_has_blocks_of_its_own(self, memory_format: torch.memory_format) -> None:
        """(2, 4, 1, 2) in blocks of 2x2. Sums: column 0: 4, 8; column 1: 20, 2."""
        weight = torch.empty(2, 4, 1, 2)
        weight[:, :, 0, 0] = torch.tensor([[1.0, 1.0, 2.0, -2.0], [-1.0, 1.0, 2.0, 2.0]])
        weight[:, :, 0, 1] = torch.tensor([[5.0, 5.0, 0.0, 0.0], [5.0, -5.0, 2.0, 0.0]])
        mask = magnitude_masks({"w": weight.to(memory_format=memory_format)}, Allocation(0.5, block=(2, 2)))["w"]
        assert mask[:, :, 0, 0].int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
        assert mask[:, :, 0, 1].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
        assert mask.is_contiguous(memory_format=memory_format)

    @pytest.mark.parametrize("memory_format", FORMATS)
    def test_rows_of_four_input_channels(self, memory_format: torch.memory_format) -> None:
        """(1, 8, 1, 2) in blocks of 1x4: sums 10, 6 in column 0 and 4, 9 in column 1; 10 weights: two blocks, two."""
        weight = torch.empty(1, 8, 1, 2)
        weight[0, :, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, 6.0, 0.0, 0.0])
        weight[0, :, 0, 1] = torch.tensor([1.0, 1.0, 1.0, -1.0, 3.0, -2.0, 2.0, 2.0])
        mask = magnitude_masks({"w": weight.to(memory_format=memory_format)}, Allocation(10 / 16, block=(1, 4)))["w"]
        assert mask[0, :, 0, 0].int().tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
        assert mask[0, :, 0, 1].int().tolist() == [0, 0, 0, 0, 1, 0, 0, 1]
        assert mask.is_contiguous(memory_format=memory_format)

    @pytest.mark.parametrize("block", [(1, 16), (16, 1), (16, 16), (4, 4), (1, 64)])
    def test_near_equal_blocks_are_ranked_the_same_in_any_memory_format(self, block: tuple[int, int]) -> None:
        """Every block holds the same magnitudes in another order: all tied, and lost by position."""
        generator = torch.Generator().manual_seed(0)
        out, inputs, kernel = 32 // block[0], 128 // block[1], 3
        magnitudes = torch.randn(prod(block), generator=generator)
        count = out * inputs * kernel
        shuffled = torch.stack([magnitudes[torch.randperm(prod(block), generator=generator)] for _ in range(count)])
        weight = shuffled.view(out, inputs, kernel, 1, *block).permute(0, 4, 1, 5, 2, 3).reshape(32, 128, kernel, 1)
        whole = (torch.arange(count) >= round(0.5 * count)).view(out, inputs, kernel, 1)
        expected = whole.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
        for memory_format in FORMATS:
            one = weight.to(memory_format=memory_format)
            assert torch.equal(magnitude_masks({"w": one}, Allocation(0.5, block=block))["w"], expected), memory_format

    def test_a_transposed_linear_weight_is_read_by_its_axes(self) -> None:
        mask = magnitude_masks({"w": SQUARES.t().contiguous().t()}, Allocation(0.5, block=(2, 2)))["w"]
        assert mask.int().tolist() == mask_of(SQUARES, 0.5, (2, 2))
        assert mask.stride() == (1, 4)


class TestSpread:
    def masks(self, allocation: Allocation) -> dict[str, list]:
        weights = {
            "a": torch.tensor([[1.0, 2.0, 5.0, 5.0]]),
            "b": torch.tensor([[0.5, 1.0, 3.0, 3.0, 2.0, 2.0, 9.0, 0.0]]),
        }
        return {name: mask.int()[0].tolist() for name, mask in magnitude_masks(weights, allocation).items()}

    def test_global_ranks_the_blocks_of_all_layers(self) -> None:
        """Sums 3, 10 and 1.5, 6, 4, 9. Of 12 weights 5 go: 1.5, 3, and one of the 2s of 4."""
        assert self.masks(Allocation(5 / 12, block=(1, 2))) == {"a": [0, 0, 1, 1], "b": [0, 0, 1, 1, 0, 1, 1, 1]}

    def test_uniform_ranks_each_layer_alone(self) -> None:
        """Half of each: 2 of a, 4 of b."""
        expected = {"a": [0, 0, 1, 1], "b": [0, 0, 1, 1, 0, 0, 1, 1]}
        assert self.masks(Allocation(0.5, "uniform", block=(1, 2))) == expected

    def test_uniform_cuts_a_block_in_each_layer(self) -> None:
        """At 0.7 round(2.8) = 3 of a and round(5.6) = 6 of b."""
        expected = {"a": [0, 0, 0, 1], "b": [0, 0, 0, 0, 0, 0, 1, 1]}
        assert self.masks(Allocation(0.7, "uniform", block=(1, 2))) == expected

    def test_erk_counts_are_the_same_as_without_blocks(self) -> None:
        """At 0.5, 6 of 12 stay over dimensions 1 + 4 and 1 + 8: a 2.14, b 3.86."""
        assert self.masks(Allocation(0.5, "erk", block=(1, 2))) == {"a": [0, 0, 1, 1], "b": [0, 0, 1, 1, 0, 0, 1, 1]}

    def test_a_floor_under_blocks_keeps_the_total(self) -> None:
        """4 of 12 go, the blocks 1.5 and 3 bare. With 5/8 kept everywhere a may lose 1 (ceil(2.5) stay), b loses 3."""
        allocation = Allocation(4 / 12, block=(1, 2), min_layer_density=5 / 8)
        assert self.masks(allocation) == {"a": [0, 1, 1, 1], "b": [0, 0, 1, 1, 0, 1, 1, 1]}

    def test_a_rules_layers_are_ranked_among_themselves(self) -> None:
        """a loses 1 of 4 as asked of it alone, b 2 of 8."""
        expected = {"a": [0, 1, 1, 1], "b": [0, 0, 1, 1, 1, 1, 1, 1]}
        assert self.masks(Allocation(0.25, block=(1, 2), rules={"a": 0.25})) == expected

    def test_a_rule_with_a_pattern_is_no_block(self) -> None:
        """2:4 of a takes 1 and 2; in b the second two of 0.5 1 3 3, then the zero and the first 2."""
        expected = {"a": [0, 0, 1, 1], "b": [0, 0, 1, 1, 0, 1, 1, 0]}
        assert self.masks(Allocation(0.5, block=(1, 2), rules={"*": Pattern(2, 4)})) == expected


@pytest.mark.parametrize("block", [(2, 2), (1, 4), (4, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("distribution", ["global", "uniform", "erk"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_agrees_with_a_slow_ranking(block: tuple[int, int], distribution: str, dtype: torch.dtype) -> None:
    """Few distinct values make ties between blocks and inside them."""
    generator = torch.Generator().manual_seed(sum(block))
    shapes = {"a": (12, 4), "b": (12, 8, 3, 2), "c": (6 * block[0], 12, 3)}
    weights = {
        name: torch.randn(shape, generator=generator).mul(2).round().div(2).to(dtype) for name, shape in shapes.items()
    }
    weights["b"] = weights["b"].to(memory_format=torch.channels_last)
    arrays = {name: weight.double().numpy() for name, weight in weights.items()}
    counts = {name: prod(shape) for name, shape in shapes.items()}
    for target in (0.0, 0.003, 0.31, 0.5, 0.77, 0.9, 0.999):
        if distribution == "global":
            expected = reference(list(arrays.values()), round(target * sum(counts.values())), block)
        else:
            removed = {name: round(target * count) for name, count in counts.items()}
            if distribution == "erk":
                removed = erk_removed({name: torch.Size(shape) for name, shape in shapes.items()}, target)
            expected = [reference([arrays[name]], removed[name], block)[0] for name in shapes]
        masks = magnitude_masks(weights, Allocation(target, distribution, block=block))
        for (name, mask), wanted in zip(masks.items(), expected, strict=True):
            assert np.array_equal(mask.numpy(), wanted), (name, target)
            assert mask.stride() == weights[name].stride()
        cut = [partial_blocks(mask, block) for mask in masks.values()]
        assert sum(cut) <= 1 if distribution == "global" else max(cut) <= 1


def test_indivisible_layers_stay_dense_and_are_named() -> None:
    shapes = {"first": (8, 3, 3, 3), "middle": (8, 8, 3, 3), "last": (10, 8)}
    layers = {name: Layer(torch.Size(shape)) for name, shape in shapes.items()}
    allocation = Allocation(0.9, block=(4, 4))
    assert excluded(shares_of(layers, allocation), "indivisible") == ["first", "last"]
    masks = magnitude_masks({name: torch.randn(shape) for name, shape in shapes.items()}, allocation)
    assert {name: int((~mask).sum()) for name, mask in masks.items()} == {"first": 0, "middle": 518, "last": 0}
    with pytest.raises(AllocationError, match="4x4 does not divide the channels of first, last;"):
        shares_of(layers, Allocation(0.9, block=(4, 4), indivisible="error"))
    assert excluded(shares_of(layers, Allocation(0.9, block=(2, 1)))) == []


def test_a_block_that_fits_no_layer_is_refused() -> None:
    with pytest.raises(AllocationError, match="5x7"):
        shares_of({"w": Layer(torch.Size([8, 8]))}, Allocation(0.9, block=(5, 7)))


@pytest.mark.parametrize("block", [(4,), (), (0, 4), (4, -1), (1, 1), (2, 2, 2)], ids=str)
def test_other_blocks_are_refused(block: tuple[int, ...]) -> None:
    with pytest.raises(AllocationError, match="block"):
        Allocation(0.5, block=block)


def test_blocks_over_a_flattened_tensor_are_refused() -> None:
    with pytest.raises(AllocationError, match="flatten"):
        Allocation(0.5, block=(1, 4), indivisible="flatten")


def test_nan_counts_as_largest_in_a_block_too() -> None:
    weight = torch.tensor([[float("nan"), 0.0, 5.0, 5.0, float("inf"), 0.0]])
    assert mask_of(weight, 1 / 3, (1, 2)) == [[1, 1, 0, 0, 1, 1]]
    assert mask_of(weight, 2 / 3, (1, 2)) == [[1, 1, 0, 0, 0, 0]]
