"""The weights of every kind of layer: names, words, counts by hand, and along which axis each is pruned."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from acdc_cli.measure.dynamics import dead_channels, revived_share
from acdc_cli.sparsity import (
    Allocation,
    AllocationError,
    Layer,
    Pattern,
    excluded,
    magnitude_masks,
    prunable_layers,
    prunable_weights,
    shares_of,
)
from acdc_cli.sparsity.allocate import erk_removed
from acdc_cli.sparsity.coverage import prunable_by_kind
from acdc_cli.sparsity.fisher import in_blocks, out_of_blocks
from acdc_cli.sparsity.layout import Layout
from acdc_cli.sparsity.prunable import weight_layouts

INPUTS_FIRST = Layout(inputs_first=True)
NO_COUNTS = dict.fromkeys(("conv", "linear", "attention", "recurrent", "transposed", "embedding"), 0)


def gpt2() -> nn.Module:
    """Two blocks of width 8, 12 words, 4 positions; random."""
    config = transformers.GPT2Config(vocab_size=12, n_positions=4, n_embd=8, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def masks_of(model: nn.Module, allocation: Allocation) -> dict[str, Tensor]:
    """Masks by magnitude of a model's weights, as a method makes them."""
    return magnitude_masks(prunable_weights(model), allocation, shares_of(prunable_layers(model), allocation))


@pytest.mark.parametrize(
    ("layer", "kind", "shapes"),
    [
        (nn.MultiheadAttention(4, 2), "attention", {"in_proj_weight": (12, 4), "out_proj.weight": (4, 4)}),
        (
            nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
            "attention",
            {"q_proj_weight": (4, 4), "k_proj_weight": (4, 3), "v_proj_weight": (4, 5), "out_proj.weight": (4, 4)},
        ),
        (nn.RNN(3, 4), "recurrent", {"weight_ih_l0": (4, 3), "weight_hh_l0": (4, 4)}),
        (
            nn.GRU(3, 4, num_layers=2, bias=False),
            "recurrent",
            {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "weight_ih_l1": (12, 4), "weight_hh_l1": (12, 4)},
        ),
        (
            nn.LSTM(3, 4, bidirectional=True, proj_size=2),
            "recurrent",
            {
                "weight_ih_l0": (16, 3),
                "weight_hh_l0": (16, 2),
                "weight_hr_l0": (2, 4),
                "weight_ih_l0_reverse": (16, 3),
                "weight_hh_l0_reverse": (16, 2),
                "weight_hr_l0_reverse": (2, 4),
            },
        ),
        (nn.RNNCell(3, 4), "recurrent", {"weight_ih": (4, 3), "weight_hh": (4, 4)}),
        (nn.GRUCell(3, 4, bias=False), "recurrent", {"weight_ih": (12, 3), "weight_hh": (12, 4)}),
        (nn.LSTMCell(3, 4), "recurrent", {"weight_ih": (16, 3), "weight_hh": (16, 4)}),
        (nn.ConvTranspose1d(4, 6, 3), "transposed", {"weight": (6, 4, 3)}),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), "transposed", {"weight": (6, 2, 3, 3)}),
        (nn.ConvTranspose3d(4, 6, 3), "transposed", {"weight": (6, 4, 3, 3, 3)}),
        (Conv1D(6, 4), "linear", {"weight": (6, 4)}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_weights_of_a_layer_with_outputs_first(layer: nn.Module, kind: str, shapes: dict) -> None:
    layers = prunable_layers(layer)
    assert {name: tuple(its.shape) for name, its in layers.items()} == shapes
    assert {its.kind for its in layers.values()} == {kind}
    assert {word for its in layers.values() for word in its.words} == {kind, "first", "last"}
    by_name = dict(layer.named_parameters())
    assert all(weight is by_name[name] for name, weight in prunable_weights(layer).items())
    assert prunable_by_kind(layers, []) == NO_COUNTS | {
        kind: sum(torch.Size(shape).numel() for shape in shapes.values())
    }


def test_a_transposed_convolution_can_be_depthwise() -> None:
    layers = prunable_layers(nn.ConvTranspose2d(4, 8, 3, groups=4))
    assert layers["weight"].words == {"transposed", "depthwise", "first", "last"}


def test_a_table_of_bags_is_an_embedding() -> None:
    """Dense and not counted, until a rule names it; also where the output layer shares it."""
    model = nn.ModuleDict({"bag": nn.EmbeddingBag(12, 8), "inner": nn.Linear(8, 8), "head": nn.Linear(8, 12)})
    model["head"].weight = model["bag"].weight
    layers = prunable_layers(model, embeddings=True)
    assert layers["bag.weight"].words == {"embedding", "last"}
    assert prunable_by_kind(layers, shares_of(layers, Allocation(0.5))) == NO_COUNTS | {"linear": 64}
    by_rule = shares_of(layers, Allocation(0.5, rules={"bag": 0.25}))
    assert [(share.names, share.target) for share in by_rule] == [(("inner.weight",), 0.5), (("bag.weight",), 0.25)]
    assert prunable_by_kind(layers, by_rule) == NO_COUNTS | {"linear": 64, "embedding": 96}


def test_the_counts_of_a_gpt2_by_kind() -> None:
    """A block of width d has 3 d^2 + d^2 + 4 d^2 + 4 d^2; the tied head is a table, and positions are one too."""
    model = gpt2()
    layers = prunable_layers(model, embeddings=True)
    assert sum(weight.numel() for weight in prunable_weights(model).values()) == 2 * 12 * 64
    assert prunable_by_kind(layers, shares_of(layers, Allocation(0.5))) == NO_COUNTS | {"linear": 2 * 12 * 64}
    named = shares_of(layers, Allocation(0.5, rules={"lm_head": 0.5}))
    assert prunable_by_kind(layers, named) == NO_COUNTS | {"linear": 2 * 12 * 64, "embedding": 12 * 8}
    dense = shares_of(layers, Allocation(0.5, rules={"embedding": 0}))
    assert prunable_by_kind(layers, dense)["embedding"] == 0
    assert layers["transformer.h.0.attn.c_attn.weight"].words == {"linear", "first"}
    assert layers["transformer.wte.weight"].words == {"embedding", "last"}


def test_each_kind_has_a_word_for_rules() -> None:
    model = nn.ModuleDict(
        {
            "a": nn.MultiheadAttention(4, 2),
            "r": nn.LSTM(4, 4),
            "cell": nn.GRUCell(4, 4),
            "t": nn.ConvTranspose1d(4, 4, 3),
            "l": nn.Linear(4, 4),
            "c": nn.Conv1d(4, 4, 3),
        }
    )
    layers = prunable_layers(model)
    excluded_by = {
        word: excluded(shares_of(layers, Allocation(0.5, rules={word: 0})))
        for word in ("attention", "recurrent", "transposed", "linear", "conv")
    }
    assert excluded_by == {
        "attention": ["a.in_proj_weight", "a.out_proj.weight"],
        "recurrent": ["r.weight_ih_l0", "r.weight_hh_l0", "cell.weight_ih", "cell.weight_hh"],
        "transposed": ["t.weight"],
        "linear": ["l.weight"],
        "conv": ["c.weight"],
    }


@pytest.mark.parametrize("layer", [nn.LazyConv2d(4, 3), nn.LazyConvTranspose2d(4, 3), nn.LazyLinear(4)], ids=str)
def test_a_lazy_layer_without_a_shape_is_refused(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match="0: its weight has no shape yet"):
        prunable_weights(nn.Sequential(layer))


@pytest.mark.parametrize(("layer", "matrix"), [(nn.LSTM, "weight_hh_l0"), (nn.LSTMCell, "weight_hh")])
def test_a_parametrized_recurrent_matrix_is_refused(layer: type[nn.Module], matrix: str) -> None:
    model = nn.Sequential(layer(3, 4))
    nn.utils.parametrizations.orthogonal(model[0], matrix)
    with pytest.raises(ValueError, match="0: its weight is computed anew"):
        prunable_weights(model)


class TestAxes:
    """A pattern and a block lie along the inputs of an output, however the weight is stored."""

    def test_n_of_m_of_conv1d_runs_down_the_columns(self) -> None:
        """(in, out) = (4, 3): each output keeps the two largest of its four inputs."""
        layer = Conv1D(3, 4)
        with torch.no_grad():
            layer.weight.copy_(
                torch.tensor([[1.0, 8.0, 1.0], [2.0, 7.0, 1.0], [-3.0, 6.0, 1.0], [4.0, -9.0, 1.0]])  # by input
            )
        assert masks_of(layer, Allocation("2:4"))["weight"].int().tolist() == [
            [0, 1, 0],
            [0, 0, 0],
            [1, 0, 1],
            [1, 1, 1],
        ]

    def test_n_of_m_of_a_grouped_transposed_convolution_stays_within_a_group(self) -> None:
        """(in, out / groups) = (4, 2) of two groups: inputs 0 and 1 lead to outputs 0 and 1, 2 and 3 to 2 and 3."""
        layer = nn.ConvTranspose1d(4, 4, 1, groups=2)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[1.0, 9.0], [2.0, 8.0], [7.0, 3.0], [6.0, 4.0]])[:, :, None])
        mask = masks_of(layer, Allocation("1:2"))["weight"][:, :, 0]
        assert mask.int().tolist() == [[0, 1], [1, 0], [1, 0], [0, 1]]

    def test_the_group_must_divide_the_inputs_of_one_group(self) -> None:
        """Eight inputs in four groups are two for each output: 2:4 does not fit, though four divides eight."""
        layers = prunable_layers(nn.ConvTranspose1d(8, 8, 1, groups=4))
        with pytest.raises(AllocationError, match="divisible by 4"):
            shares_of(layers, Allocation("2:4"))
        assert shares_of(layers, Allocation("1:2"))[0].target == Pattern(1, 2)

    @pytest.mark.parametrize(
        "layer",
        [nn.MultiheadAttention(4, 2), nn.LSTM(4, 2), nn.LSTMCell(4, 2)],
        ids=["attention", "recurrent", "cell"],
    )
    def test_n_of_m_of_attention_and_recurrent_weights_runs_along_the_rows(self, layer: nn.Module) -> None:
        masks = masks_of(layer, Allocation("2:4"))
        name = next(iter(masks))
        for row, mask in zip(dict(layer.named_parameters())[name].tolist(), masks[name].tolist(), strict=True):
            largest = sorted(range(4), key=lambda index: abs(row[index]))[2:]
            assert [index for index in range(4) if mask[index]] == sorted(largest)

    def test_a_block_is_outputs_by_inputs(self) -> None:
        """Blocks of one output by two inputs stand upright in a weight that is stored (in, out)."""
        layer = Conv1D(2, 4)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[1.0, 5.0], [1.0, 5.0], [4.0, 2.0], [4.0, 2.0]]))
        mask = masks_of(layer, Allocation(0.5, block=(1, 2)))["weight"]
        assert mask.int().tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]

    def test_erk_counts_the_inputs_of_one_group(self) -> None:
        """Grouped, (in, out / groups, k) = (8, 4, 3) is (16, 2, 3) with outputs first: 21 / 96 against 16 / 64."""
        model = nn.ModuleList([nn.ConvTranspose1d(8, 16, 3, groups=4), nn.Linear(8, 8)])
        removed = erk_removed({"a": torch.Size([16, 2, 3]), "b": torch.Size([8, 8])}, 0.5)
        masks = masks_of(model, Allocation(0.5, "erk"))
        assert [int((~mask).sum()) for mask in masks.values()] == [removed["a"], removed["b"]] == [51, 29]

    @pytest.mark.parametrize("indivisible", ["flatten", "skip"])
    @pytest.mark.parametrize("groups", [1, 2])
    def test_all_of_it_is_that_of_the_convolution_the_other_way_round(self, groups: int, indivisible: str) -> None:
        """A convolution with the same connections, its weight built input by input, is pruned in the same places."""
        torch.manual_seed(0)
        there = nn.ConvTranspose2d(8, 12, (2, 3), groups=groups)
        back = nn.Conv2d(8, 12, (2, 3), groups=groups)
        with torch.no_grad():
            for output in range(12):
                for position in range(8 // groups):
                    group = output // (12 // groups)
                    back.weight[output, position] = there.weight[
                        group * (8 // groups) + position, output % (12 // groups)
                    ]
        expected = masks_of(back, Allocation("2:4", indivisible=indivisible))["weight"]
        mask = masks_of(there, Allocation("2:4", indivisible=indivisible))["weight"]
        layout = weight_layouts(there)["weight"]
        assert mask.shape == there.weight.shape and mask.is_contiguous()
        assert torch.equal(layout.outputs_first(there.weight), back.weight)
        assert torch.equal(layout.outputs_first(mask), expected)
        assert torch.equal(layout.as_stored(expected), mask)
        blocks = Allocation(0.5, block=(2, 2))
        assert torch.equal(layout.outputs_first(masks_of(there, blocks)["weight"]), masks_of(back, blocks)["weight"])

    def test_a_channel_is_dead_where_an_output_has_no_input(self) -> None:
        stored = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])  # (in, out)
        assert dead_channels({"w": stored}, {"w": INPUTS_FIRST}) == {"w": 1}
        assert dead_channels({"w": stored}) == {"w": 0}

    def test_a_channel_revives_where_an_output_has_inputs_again(self) -> None:
        before, now = torch.tensor([[0, 1], [0, 1]]).bool(), torch.tensor([[1, 1], [0, 1]]).bool()
        assert revived_share({"w": before}, {"w": now}, {"w": INPUTS_FIRST}) == {"w": 1 / 3}

    def test_fisher_blocks_go_along_the_inputs_of_an_output(self) -> None:
        stored = torch.arange(6.0).view(2, 3)  # (in, out): output j has inputs j and 3 + j
        blocks = in_blocks(stored, 2, INPUTS_FIRST)
        assert blocks.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
        assert torch.equal(out_of_blocks(blocks, stored, INPUTS_FIRST), stored)


def test_layers_without_words_are_those_of_bare_shapes() -> None:
    assert Layer(torch.Size([4, 4])).kind == ""
