"""How much: counts, N:M patterns and floors, with the masks written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from acdc_cli.sparsity import (
    Allocation,
    AllocationError,
    Layer,
    Pattern,
    excluded,
    magnitude_masks,
    parse_target,
    shares_of,
)
from acdc_cli.sparsity.allocate import closed_form_nonzeros, require_something_left

TWO_OF_FOUR = Pattern(2, 4)
LAYERS = {  # three input channels, one (depth-wise), eight, sixteen
    "first": torch.Size([8, 3, 3, 3]),
    "depthwise": torch.Size([8, 1, 3, 3]),
    "pointwise": torch.Size([16, 8, 1, 1]),
    "fc": torch.Size([10, 16]),
}


def mask_of(weight: Tensor, allocation: Allocation) -> list:
    return magnitude_masks({"w": weight}, allocation)["w"].int().tolist()


def excluded_layers(shapes: dict[str, torch.Size], allocation: Allocation) -> list[str]:
    return excluded(shares_of({name: Layer(shape) for name, shape in shapes.items()}, allocation))


def removed_of(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int((~mask).sum()) for name, mask in masks.items()}


def channel_values(shape: tuple[int, ...], rows: list[list[float]]) -> Tensor:
    """A convolution weight of that shape; row k holds the input channels of (out, *kernel) position k."""
    out, channels, *kernel = shape
    return torch.tensor(rows).view(out, *kernel, channels).movedim(-1, 1).contiguous()


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0.9, 0.9), ("0.9", 0.9), (0, 0.0), ("0.95", 0.95), ("2:4", TWO_OF_FOUR), (" 1:2 ", Pattern(1, 2))],
)
def test_targets(target: float | str, expected: float | Pattern) -> None:
    assert parse_target(target) == expected


@pytest.mark.parametrize("target", [-0.1, 1, 1.0, 90, "1.5", "dense", "", "4:4", "0:4", "5:4", "2:4:8", None, math.nan])
def test_other_targets_are_refused(target: object) -> None:
    with pytest.raises(AllocationError):
        parse_target(target)


def test_a_percentage_is_met_with_the_fraction() -> None:
    with pytest.raises(AllocationError, match=r"did you mean 0\.9\?"):
        parse_target(90)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(90, "0.9"), (99.5, "0.995"), (100, "0.99"), (150, "0.99"), (2, "0.99"), (3, "0.03"), (-1, "0")],
)
def test_a_number_out_of_range_is_met_with_one_that_is_in_it(typed: float, meant: str) -> None:
    with pytest.raises(AllocationError, match=rf"^{typed}: outside \[0, 1\); did you mean {meant}\?"):
        parse_target(typed)


def test_a_pattern_for_one_layer_beside_a_fraction_for_the_others() -> None:
    """Of the first layer two of four go, of every pair of the second the smaller; the third loses a quarter."""
    row = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    allocation = Allocation(0.5, rules={"b": "1:2", "c": 0.25})
    masks = magnitude_masks({"a": row, "b": row, "c": row}, allocation)
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {
        "a": [[0, 0, 1, 1]],
        "b": [[0, 1, 0, 1]],
        "c": [[0, 1, 1, 1]],
    }


@pytest.mark.parametrize("distribution", ["global", "uniform"])
@pytest.mark.parametrize(
    ("count", "target", "removed"),
    [
        (5, 0.5, 2),  # 2.5 -> even 2
        (7, 0.5, 4),  # 3.5 -> even 4
        (10, 0.25, 2),  # 2.5 -> 2
        (6, 0.25, 2),  # 1.5 -> 2
        (10, 0.96, 10),  # 9.6
        (10, 0.94, 9),  # 9.4
        (3, 0.1, 0),  # 0.3
        (100, 0.9, 90),
        (101, 0.0, 0),
    ],
)
def test_the_count_is_pythons_round(distribution: str, count: int, target: float, removed: int) -> None:
    weight = torch.arange(1.0, count + 1)[None, :]
    mask = magnitude_masks({"w": weight}, Allocation(target, distribution))["w"]
    assert mask.int().tolist() == [[0] * removed + [1] * (count - removed)]


def test_global_ranks_all_layers_together() -> None:
    weights = {"a": torch.tensor([[1.0, -2.0], [3.0, 4.0]]), "b": torch.tensor([[-5.0, 6.0, 2.0, 8.0]])}
    masks = magnitude_masks(weights, Allocation(0.5))  # 4 of 8: 1, then the 2 of a, the 2 of b, 3
    assert masks["a"].int().tolist() == [[0, 0], [0, 1]]
    assert masks["b"].int().tolist() == [[1, 1, 0, 1]]
    assert list(masks) == ["a", "b"]


def test_uniform_ranks_each_layer_alone() -> None:
    weights = {"a": torch.tensor([[1.0, -2.0], [3.0, 4.0]]), "b": torch.tensor([[-5.0, 6.0, 2.0, 8.0]])}
    masks = magnitude_masks(weights, Allocation(0.5, "uniform"))
    assert masks["a"].int().tolist() == [[0, 0], [1, 1]]
    assert masks["b"].int().tolist() == [[0, 1, 0, 1]]


def test_uniform_rounds_each_layer() -> None:
    weights = {"a": torch.ones(1, 5), "b": torch.ones(1, 7), "c": torch.ones(2, 50)}
    assert removed_of(magnitude_masks(weights, Allocation(0.5, "uniform"))) == {"a": 2, "b": 4, "c": 50}


def test_masks_have_the_memory_format_of_their_weights() -> None:
    weight = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    channels_last = weight.to(memory_format=torch.channels_last)
    for allocation in (Allocation(0.5), Allocation(0.5, "uniform"), Allocation(TWO_OF_FOUR)):
        plain = magnitude_masks({"w": weight}, allocation)["w"]
        other = magnitude_masks({"w": channels_last}, allocation)["w"]
        assert other.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(other, plain)


class TestPattern:
    def test_linear_groups_lie_along_the_inputs(self) -> None:
        weight = torch.tensor([[1.0, -4.0, 2.0, 3.0, 9.0, 8.0, -7.0, 6.0], [0.0, 0.0, 0.1, 0.0, 5.0, 5.0, 5.0, 5.0]])
        assert mask_of(weight, Allocation(TWO_OF_FOUR)) == [[0, 1, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0, 1, 1]]

    def test_one_of_two(self) -> None:
        weight = torch.tensor([[1.0, -4.0, 2.0, 2.0, 9.0, 8.0]])
        assert mask_of(weight, Allocation(Pattern(1, 2))) == [[0, 1, 0, 1, 1, 0]]

    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_convolution_groups_lie_along_the_input_channels(self, memory_format: torch.memory_format) -> None:
        """Four input channels, a 1x2 kernel: each kernel position of each output has a group of its own."""
        weight = channel_values(
            (2, 4, 1, 2),
            [
                [1.0, 2.0, 3.0, 4.0],  # output 0, column 0
                [9.0, -8.0, 7.0, 6.0],  # output 0, column 1
                [5.0, 0.0, 5.0, 5.0],  # output 1, column 0: 0 goes, then the first of the equal ones
                [-1.0, 3.0, -2.0, 0.5],  # output 1, column 1
            ],
        ).to(memory_format=memory_format)
        assert mask_of(weight, Allocation(TWO_OF_FOUR)) == [
            [[[0, 1]], [[0, 1]], [[1, 0]], [[1, 0]]],
            [[[0, 0]], [[0, 1]], [[1, 1]], [[1, 0]]],
        ]

    @pytest.mark.parametrize("shape", [(6, 8), (5, 16, 3, 3), (3, 4, 5), (2, 8, 1, 2, 3)])
    @pytest.mark.parametrize("pattern", [Pattern(2, 4), Pattern(1, 4), Pattern(1, 2), Pattern(3, 4)])
    def test_agrees_with_a_loop_over_groups(self, shape: tuple[int, ...], pattern: Pattern) -> None:
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)).mul(2).round()
        array = np.moveaxis(weight.numpy(), 1, -1)
        expected = np.ones(array.shape, bool)
        for index in np.ndindex(*array.shape[:-1]):
            for start in range(0, array.shape[-1], pattern.group):
                group = np.abs(array[index][start : start + pattern.group])
                for channel in np.argsort(group, kind="stable")[: pattern.group - pattern.kept]:
                    expected[index][start + channel] = False
        assert mask_of(weight, Allocation(pattern)) == np.moveaxis(expected, -1, 1).astype(int).tolist()

    def test_the_distribution_does_not_matter(self) -> None:
        weights = {"a": torch.randn(4, 8, generator=torch.Generator().manual_seed(2))}
        both = [magnitude_masks(weights, Allocation(TWO_OF_FOUR, name))["a"] for name in ("global", "uniform")]
        assert torch.equal(*both)
        assert int(both[0].sum()) == 16

    def test_indivisible_layers_stay_dense(self) -> None:
        allocation = Allocation(TWO_OF_FOUR)
        assert excluded_layers(LAYERS, allocation) == ["first", "depthwise"]
        weights = {name: torch.randn(shape) for name, shape in LAYERS.items()}
        removed = removed_of(magnitude_masks(weights, allocation))
        assert removed == {"first": 0, "depthwise": 0, "pointwise": 64, "fc": 80}

    def test_error_names_the_indivisible_layers(self) -> None:
        with pytest.raises(AllocationError, match=r"first, depthwise"):
            excluded_layers(LAYERS, Allocation(TWO_OF_FOUR, indivisible="error"))

    def test_flatten_groups_over_out_kernel_in(self) -> None:
        """Reference code: groups of 4 over the flattened (out, kh, kw, in) tensor straddle the 3-channel positions."""
        values = [1.0, 5.0, 2.0, 6.0, 9.0, 8.0, 7.0, 1.0, 3.0, 3.0, 3.0, 3.0]
        weight = torch.tensor(values).view(2, 1, 2, 3).movedim(-1, 1)  # (out, in, kh, kw)
        flat_mask = [0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1]
        allocation = Allocation(TWO_OF_FOUR, indivisible="flatten")
        assert excluded_layers({"w": weight.shape}, allocation) == []
        expected = np.moveaxis(np.array(flat_mask).reshape(2, 1, 2, 3), -1, 1).tolist()
        assert mask_of(weight, allocation) == expected
        assert mask_of(weight.contiguous(), allocation) == expected

    def test_flatten_refuses_a_tensor_that_the_group_does_not_divide(self) -> None:
        with pytest.raises(AllocationError, match="odd"):
            excluded_layers({"odd": torch.Size([1, 3, 1, 1])}, Allocation(TWO_OF_FOUR, indivisible="flatten"))

    def test_a_model_that_no_layer_of_fits_is_refused(self) -> None:
        with pytest.raises(AllocationError):
            excluded_layers({"w": torch.Size([4, 3])}, Allocation(TWO_OF_FOUR))

    def test_a_fraction_excludes_nothing(self) -> None:
        assert excluded_layers(LAYERS, Allocation(0.9)) == []


class TestFloor:
    def test_a_starved_layer_keeps_its_floor_and_the_total_stays(self) -> None:
        """6 of 12 go. Ranking alone takes all of a; with a quarter kept everywhere, a loses 3 and b the other 3."""
        weights = {
            "a": torch.tensor([[0.2, 0.1, 0.4, 0.3]]),
            "b": torch.tensor([[8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0]]),
        }
        bare = magnitude_masks(weights, Allocation(0.5))
        assert bare["a"].int().tolist() == [[0, 0, 0, 0]]
        assert bare["b"].int().tolist() == [[1, 0, 1, 0, 1, 1, 1, 1]]
        floored = magnitude_masks(weights, Allocation(0.5, min_layer_density=0.25))
        assert floored["a"].int().tolist() == [[0, 0, 1, 0]]
        assert floored["b"].int().tolist() == [[1, 0, 1, 0, 1, 0, 1, 1]]

    def test_raising_one_layer_can_starve_the_next(self) -> None:
        """9 of 12 go, each layer keeps 1. First round: a loses 4 -> 3; then b loses 4 -> 3, c the remaining 3."""
        weights = {
            "a": torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
            "b": torch.tensor([[5.0, 6.0, 7.0, 9.0]]),
            "c": torch.tensor([[8.0, 10.0, 11.0, 12.0]]),
        }
        masks = magnitude_masks(weights, Allocation(0.75, min_layer_density=0.25))
        assert [mask.int().tolist() for mask in masks.values()] == [[[0, 0, 0, 1]]] * 3
        assert list(masks) == ["a", "b", "c"]

    @pytest.mark.parametrize("seed", range(20))
    def test_agrees_with_removing_one_weight_at_a_time(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        names = ["a", "b", "c", "d"]
        weights = {
            name: (torch.randn(3 + index, 8, generator=generator) * 3.0 ** (index - 2)).mul(4).round()
            for index, name in enumerate(names)
        }
        target, floor = [(0.5, 0.25), (0.75, 0.125), (0.8, 0.0625), (0.9, 0.0)][seed % 4]
        total = sum(weight.numel() for weight in weights.values())
        order = sorted(
            (abs(value), layer, position)
            for layer, name in enumerate(names)
            for position, value in enumerate(weights[name].flatten().tolist())
        )
        expected = {name: torch.ones(weights[name].numel(), dtype=torch.bool) for name in names}
        left = round(target * total)
        for _, layer, position in order:
            mask = expected[names[layer]]
            if left and int(mask.sum()) - 1 >= floor * mask.numel():
                mask[position] = False
                left -= 1
        masks = magnitude_masks(weights, Allocation(target, min_layer_density=floor))
        assert left == 0
        for name in names:
            assert torch.equal(masks[name].flatten(), expected[name]), name

    @pytest.mark.parametrize(
        ("floor", "count", "kept"), [(0.25, 8, 2), (0.25, 9, 3), (0.005, 100, 1), (0.3, 90, 27), (0.8, 10, 8)]
    )
    def test_the_floor_is_the_least_whole_number_of_weights(self, floor: float, count: int, kept: int) -> None:
        """The layer a is far below the others, so it ends on its floor: ceil(floor * n), 0.3 of 90 being 27."""
        weights = {"a": torch.full((1, count), 1e-6), "b": torch.ones(100, 100)}
        masks = magnitude_masks(weights, Allocation(0.1, min_layer_density=floor))
        assert int(masks["a"].sum()) == kept
        assert sum(removed_of(masks).values()) == round(0.1 * (count + 10_000))

    def test_a_floor_as_high_as_the_target_leaves_is_fulfilled(self) -> None:
        masks = magnitude_masks({"a": torch.arange(10.0)[None, :]}, Allocation(0.1, min_layer_density=0.9))
        assert masks["a"].int().tolist() == [[0] + [1] * 9]

    def test_a_floor_above_what_the_target_leaves_is_refused(self) -> None:
        with pytest.raises(AllocationError, match="min_layer_density"):
            Allocation(0.9, min_layer_density=0.2)

    @pytest.mark.parametrize("distribution", ["uniform", "erk"])
    def test_a_floor_that_a_layer_alone_cannot_meet_is_refused(self, distribution: str) -> None:
        """15 weights lose round(13.5) = 14; a tenth of them is 2 in whole weights."""
        layers = {"w": Layer(torch.Size([1, 15]))}
        assert shares_of(layers, Allocation(0.9, distribution, min_layer_density=0.06))
        with pytest.raises(AllocationError, match="keeps 2 weights of w, the target leaves 1"):
            shares_of(layers, Allocation(0.9, distribution, min_layer_density=0.1))

    def test_a_floor_that_whole_weights_cannot_meet_is_refused(self) -> None:
        """Three layers of 3 weights keep ceil(0.3) = 1 each, 3 of 9; the target leaves 1."""
        weights = {name: torch.ones(1, 3) for name in "abc"}
        with pytest.raises(AllocationError, match="min_layer_density"):
            magnitude_masks(weights, Allocation(0.9, min_layer_density=0.1))

    def test_of_a_global_ranking_the_floors_together_have_to_fit(self) -> None:
        """52 of 104 go, in the closed form 2 and 50; 0.4 keeps 2 of 3 and 41 of 101. Alone, a would keep 1 of its 3."""
        layers = {"a": Layer(torch.Size([1, 3])), "b": Layer(torch.Size([1, 101]))}
        assert shares_of(layers, Allocation(0.5, min_layer_density=0.4))
        with pytest.raises(AllocationError, match="keeps 2 weights of a, the target leaves 1;"):
            shares_of(layers, Allocation(0.5, "uniform", min_layer_density=0.4))
        many = {name: Layer(torch.Size([1, 3])) for name in "abc"}
        with pytest.raises(AllocationError, match="keeps 3 weights, the target leaves 1; set min_layer_density=0 or"):
            shares_of(many, Allocation(0.9, min_layer_density=0.1))


class TestSomethingLeft:
    """A layer of n weights keeps none at t where round(t * n) is n: n < 0.5 / (1 - t), and at some n equal to that."""

    @pytest.mark.parametrize(
        ("count", "nearest"),
        [
            (501, 0.999), (500, 0.998), (251, 0.998), (250, 0.995), (101, 0.995), (100, 0.99), (51, 0.99), (50, 0.98),
            (26, 0.98), (24, 0.95), (11, 0.95), (10, 0.9), (6, 0.9), (4, 0.8), (3, 0.8), (2, 0.5),
        ],
    )  # fmt: skip
    def test_the_nearest_target_that_empties_no_layer_is_named(self, count: int, nearest: float) -> None:
        layers = {"small": Layer(torch.Size([1, count])), "large": Layer(torch.Size([100, 1000]))}
        require_something_left(layers, Allocation(nearest, "uniform"))
        with pytest.raises(AllocationError, match=rf"^small would keep no weight; nearest: sparsity.target={nearest}$"):
            require_something_left(layers, Allocation(0.9995, "uniform"))

    def test_several_empty_layers_are_counted(self) -> None:
        layers = {name: Layer(torch.Size([1, 3])) for name in "abc"}
        with pytest.raises(AllocationError, match=r"^a and 2 more would keep no weight; nearest: sparsity.target=0.8$"):
            require_something_left(layers, Allocation(0.9, "uniform"))
        with pytest.raises(AllocationError, match=r"^a and 1 more would keep no weight; nearest: sparsity.target=0.5$"):
            require_something_left(layers, Allocation(0.9, "erk"))  # 8 of 9 go, 7 at 0.8, 4 at 0.5

    def test_a_rule_that_empties_a_layer_at_every_target(self) -> None:
        layers = {"a": Layer(torch.Size([1, 3])), "b": Layer(torch.Size([10, 10]))}
        with pytest.raises(AllocationError, match=r"^a would keep no weight; use a lower target$"):
            require_something_left(layers, Allocation(0.5, "uniform", rules={"a": 0.9}))

    def test_what_a_global_ranking_empties_is_not_known_before(self) -> None:
        require_something_left({"a": Layer(torch.Size([1, 3]))}, Allocation(0.9))

    def test_an_embedding_without_a_target_is_not_empty(self) -> None:
        """It is in no share."""
        layers = {"a": Layer(torch.Size([10, 10])), "table": Layer(torch.Size([0, 4]), frozenset({"embedding"}))}
        require_something_left(layers, Allocation(0.9, "uniform"))


def test_the_closed_form_of_a_global_ranking_has_the_exact_total() -> None:
    """Three layers of 5 at 0.5: 2.5 each, but 8 in all (7.5 to even), the halves to the first two."""
    layers = {name: Layer(torch.Size([1, 5])) for name in "abc"}
    assert closed_form_nonzeros(layers, Allocation(0.5)) == {"a": 2, "b": 2, "c": 3}
    assert closed_form_nonzeros(layers, Allocation(0.5, "uniform")) == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize(
    "wrong", [{"distribution": "local"}, {"indivisible": "pad"}, {"min_layer_density": 1.5}], ids=str
)
def test_unknown_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(AllocationError, match=next(iter(wrong))):
        Allocation(0.5, **wrong)
