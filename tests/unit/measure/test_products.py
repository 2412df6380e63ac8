"""FLOPs by what is executed and by the weight that is used, against hand computations. A multiply-add is 2."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acdc_cli.measure.flops import ForwardFlops, LayerSize, forward_flops, forward_flops_of, inference_flops, nonzeros
from acdc_cli.measure.products import count_products


class Computes(nn.Module):
    """Parts, and a function of them and of the input."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape))


@pytest.mark.parametrize(
    ("layer", "sample", "weights", "uses"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 5, 7), 216, 35),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 8, 8), 216, 16),
        (nn.Conv2d(4, 8, 3, groups=2), (4, 5, 5), 144, 9),
        (nn.ConvTranspose2d(4, 6, 3, stride=2), (4, 5, 5), 216, 25),  # input positions: the output has 11 x 11
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 5, 5), 108, 25),
        (nn.ConvTranspose1d(2, 3, 4, stride=4), (2, 6), 24, 6),
    ],
    ids=str,
)
def test_a_convolutions_weight_is_used_once_a_position(
    layer: nn.Module, sample: tuple[int, ...], weights: int, uses: int
) -> None:
    assert forward_flops(layer, sample) == ForwardFlops({"weight": LayerSize(weights, uses)}, 0, {})


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_recurrent_layers_matrices_are_used_once_a_time_step(kind: type[nn.RNNBase], gates: int, device: str) -> None:
    layer = kind(4, 6, batch_first=True).to(device)
    sizes = {"weight_ih_l0": LayerSize(gates * 6 * 4, 7), "weight_hh_l0": LayerSize(gates * 6 * 6, 7)}
    assert forward_flops(layer, (7, 4)) == ForwardFlops(sizes, 0, {})


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_layers_directions_and_projections_of_an_lstm(device: str) -> None:
    """Hidden state of 6, projected to 2: the second layer's input is both directions' 2."""
    layer = nn.LSTM(4, 6, num_layers=2, bidirectional=True, proj_size=2, batch_first=True).to(device)
    of_each = {"ih_l0": 24 * 4, "hh_l0": 24 * 2, "hr_l0": 2 * 6, "ih_l1": 24 * 4, "hh_l1": 24 * 2, "hr_l1": 2 * 6}
    expected = {f"weight_{name}{way}": LayerSize(n, 7) for name, n in of_each.items() for way in ("", "_reverse")}
    assert forward_flops(layer, (7, 4)).sizes == expected


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_a_recurrent_cells_matrices_are_used_once_a_call(kind: type[nn.RNNCellBase], gates: int, device: str) -> None:
    """Gates of 6 hidden units, each from 4 inputs and 6 hidden units, seven times: 2 * 7 * gates * 6 * (4 + 6)."""

    def through_time(m: nn.Module, inputs: Tensor) -> Tensor:
        state = None
        for step in inputs.unbind(dim=1):
            state = m.cell(step, state)
        return state

    model = Computes(through_time, cell=kind(4, 6)).to(device)
    sizes = {"cell.weight_ih": LayerSize(gates * 6 * 4, 7), "cell.weight_hh": LayerSize(gates * 6 * 6, 7)}
    counted = forward_flops(model, (7, 4))
    assert counted == ForwardFlops(sizes, 0, {})
    assert inference_flops(counted.sizes) == {1: 840, 3: 2520, 4: 3360}[gates]


ATTENTION = {"dropout": 0.0, "batch_first": True}


@pytest.mark.parametrize("fused", [False, True])
def test_self_attention(fused: bool) -> None:
    """5 tokens of width 8: projections use each weight 5 times; scores and values are 5 x 8 x 5 multiply-adds each.

    In evaluation mode PyTorch would take a fused operation.
    """
    model = Computes(lambda m, x: m.attention(x, x, x, need_weights=not fused)[0],
                     attention=nn.MultiheadAttention(8, 2, **ATTENTION))  # fmt: skip
    sizes = {"attention.in_proj_weight": LayerSize(192, 5), "attention.out_proj.weight": LayerSize(64, 5)}
    assert forward_flops(model, (5, 8)) == ForwardFlops(sizes, 2 * 2 * 5 * 8 * 5, {})
    assert torch.backends.mha.get_fastpath_enabled()


def test_cross_attention_uses_parts_of_its_packed_projection_differently() -> None:
    """3 queries over a memory of 5: a third of the weights is used 3 times, two thirds 5 times, 13/3 on average."""
    model = Computes(lambda m, x, y: m.attention(x, y, y)[0], attention=nn.MultiheadAttention(8, 2, **ATTENTION))
    counted = forward_flops_of(model, torch.zeros(1, 3, 8), torch.zeros(1, 5, 8))
    assert counted.sizes == {
        "attention.in_proj_weight": LayerSize(192, Fraction(13, 3)),
        "attention.out_proj.weight": LayerSize(64, 3),
    }
    assert counted.attention == 2 * 2 * 3 * 8 * 5
    assert inference_flops(counted.sizes) == 2 * 64 * (3 + 5 + 5) + 2 * 64 * 3


def test_attention_with_keys_and_values_of_other_widths() -> None:
    model = Computes(lambda m, x, y: m.attention(x, y, y)[0],
                     attention=nn.MultiheadAttention(8, 2, kdim=4, vdim=4, **ATTENTION))  # fmt: skip
    assert forward_flops_of(model, torch.zeros(1, 3, 8), torch.zeros(1, 5, 4)).sizes == {
        "attention.q_proj_weight": LayerSize(64, 3),
        "attention.k_proj_weight": LayerSize(32, 5),
        "attention.v_proj_weight": LayerSize(32, 5),
        "attention.out_proj.weight": LayerSize(64, 3),
    }


def test_an_encoder_layer_is_not_hidden_by_its_fused_form() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True).eval()
    counted = forward_flops(layer, (5, 8))
    weights = {"self_attn.in_proj_weight": 192, "self_attn.out_proj.weight": 64, "linear1.weight": 128}
    assert counted.sizes == {name: LayerSize(n, 5) for name, n in (weights | {"linear2.weight": 128}).items()}
    assert counted.attention == 2 * 2 * 5 * 8 * 5


# (a 4 x 6 weight in some form, FLOPs over three tokens of width 6 or 4)
FORMS = {
    "itself": (lambda w, x: F.linear(x, w), 3 * 24),
    "transposed": (lambda w, x: x @ w.t(), 3 * 24),
    "two halves": (lambda w, x: sum(F.linear(x, half) for half in w.chunk(2)), 3 * 24),
    "a part": (lambda w, x: F.linear(x, w[:1]), 3 * 6),
    "twice": (lambda w, x: F.linear(F.linear(x, w) @ w, w), 3 * 3 * 24),
    "another type": (lambda w, x: F.linear(x.double(), w.double()), 3 * 24),
    "a copy in other memory": (lambda w, x: F.linear(x, w.t().contiguous().t()), 3 * 24),
    "scaled": (lambda w, x: F.linear(x, w * torch.full((4, 1), 0.5) / w.norm()), 3 * 24),
    "in the input's place": (lambda w, x: F.linear(x, w + torch.zeros_like(x[:, :, :1]).sum()), 3 * 24),
    "written into": (lambda w, x: F.linear(x, torch.empty(4, 6).copy_(w)), 3 * 24),
    "a batch of matrices": (lambda w, x: x @ w.t().expand(1, 6, 4), 3 * 24),
    "einsum": (lambda w, x: torch.einsum("bti,oi->bto", x, w), 3 * 24),
    "one vector": (lambda w, x: w @ x[0, 0], 24),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_that_a_function_uses_counts_by_name(form: str) -> None:
    function, multiply_adds = FORMS[form]
    model = Computes(lambda m, x: function(m.bare, x), bare=parameter(4, 6))
    assert forward_flops(model, (3, 6)) == ForwardFlops({}, 0, {"bare": 2 * multiply_adds})
    in_layer = Computes(lambda m, x: function(m.layer.weight, x), layer=nn.Linear(6, 4))
    counted = forward_flops(in_layer, (3, 6))
    assert counted == ForwardFlops({"layer.weight": LayerSize(24, Fraction(multiply_adds, 24))}, 0, {})


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_bilinear_layer_is_uncovered(device: str) -> None:
    """Its 5 x 3 x 4 weights, once a sample."""
    model = nn.Bilinear(3, 4, 5).to(device)
    inputs = torch.zeros(1, 3, device=device), torch.zeros(1, 4, device=device)
    assert forward_flops_of(model, *inputs) == ForwardFlops({}, 0, {"weight": 2 * 60})


def standardised(m: nn.Module, x: Tensor) -> Tensor:
    weight = m.conv.weight
    mean, std = weight.mean((1, 2, 3), keepdim=True), weight.std((1, 2, 3), keepdim=True)
    return F.conv2d(x, m.gain * (weight - mean) / (std + 1e-5))


def test_a_standardised_convolution_is_its_weights() -> None:
    """The gain has a part in it, and no FLOPs: 3 x 3 positions."""
    model = Computes(standardised, conv=nn.Conv2d(4, 8, 3), gain=parameter(8, 1, 1, 1))
    assert forward_flops(model, (4, 5, 5)) == ForwardFlops({"conv.weight": LayerSize(288, 9)}, 0, {})


def test_merged_branches_are_the_larger_ones() -> None:
    """RepVGG's 3 x 3 and 1 x 1 kernels as one convolution."""
    model = Computes(
        lambda m, x: F.conv2d(x, m.three.weight + F.pad(m.one.weight, [1] * 4)),
        one=nn.Conv2d(4, 8, 1), three=nn.Conv2d(4, 8, 3),
    )  # fmt: skip
    sizes = {"one.weight": LayerSize(32, 0), "three.weight": LayerSize(288, 9)}
    assert forward_flops(model, (4, 5, 5)) == ForwardFlops(sizes, 0, {})


def test_a_low_rank_addition_belongs_to_what_it_is_added_to() -> None:
    """Three tokens by 4 x 6, and the product of 4 x 2 and 2 x 6 itself."""
    model = Computes(
        lambda m, x: F.linear(x, m.layer.weight + m.up @ m.down), layer=nn.Linear(6, 4), up=parameter(4, 2),
        down=parameter(2, 6),
    )  # fmt: skip
    counted = forward_flops(model, (3, 6))
    assert counted.sizes == {"layer.weight": LayerSize(24, 3)}
    assert (counted.attention, counted.uncovered) == (0, {"down": 2 * 4 * 2 * 6})


def test_products_of_activations_have_no_weight() -> None:
    model = Computes(lambda m, x: F.scaled_dot_product_attention(m.layer(x), x, x * m.scale), layer=nn.Linear(6, 6),
                     scale=parameter(6))  # fmt: skip
    assert forward_flops(model, (3, 6)) == ForwardFlops({"layer.weight": LayerSize(36, 3)}, 2 * 2 * 3 * 6 * 3, {})


def test_a_learned_query_goes_through_a_layer_and_is_an_activation_then() -> None:
    """As in attention pooling, and in CaiT, whose class token is an argument of a module."""

    def pool(m: nn.Module, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(m.query(m.latent), m.key(x), x)

    model = Computes(pool, latent=parameter(1, 1, 6), query=nn.Linear(6, 6), key=nn.Linear(6, 6))
    sizes = {"query.weight": LayerSize(36, 1), "key.weight": LayerSize(36, 3)}
    assert forward_flops(model, (3, 6)) == ForwardFlops(sizes, 2 * 2 * 1 * 6 * 3, {})


def test_relative_positions_are_a_weight_that_queries_are_multiplied_by() -> None:
    model = Computes(lambda m, x: m.layer(x) @ m.positions.t() + m.offset, layer=nn.Linear(6, 6),
                     positions=parameter(9, 6), offset=parameter(3, 9))  # fmt: skip
    counted = forward_flops(model, (3, 6))
    assert counted == ForwardFlops({"layer.weight": LayerSize(36, 3)}, 0, {"positions": 2 * 3 * 6 * 9})


def test_a_constant_filter_is_no_weight() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1))
    model.register_buffer("blur", torch.ones(2, 1, 2, 2))
    model.append(Computes(lambda m, x: F.conv2d(x, model.blur, groups=2)))
    counted = forward_flops(model, (2, 4, 4))
    assert counted == ForwardFlops({"0.weight": LayerSize(4, 16)}, 2 * 8 * 9, {})


def test_memory_that_is_used_again_is_not_taken_for_what_was_there_before() -> None:
    """Many short-lived results: none may be found under the address of one that is gone."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        for _ in range(50):
            F.linear(x, m.bare * 2)
            x = x @ torch.eye(6)
        return x

    counted = forward_flops(Computes(forward, bare=parameter(4, 6)), (3, 6))
    assert counted == ForwardFlops({}, 50 * 2 * 3 * 36, {"bare": 50 * 2 * 3 * 24})


def test_weights_in_one_memory_are_told_apart() -> None:
    """As cuDNN keeps a recurrent layer's."""
    flat = torch.ones(24 + 24)
    model = Computes(lambda m, x: F.linear(F.linear(x, m.a), m.b.t()[:, :4]), a=nn.Parameter(flat[:24].view(4, 6)),
                     b=nn.Parameter(flat[24:].view(4, 6)))  # fmt: skip
    assert count_products(model, (torch.zeros(1, 3, 6),)) == {"a": 2 * 3 * 24, "b": 2 * 3 * 24}


class LanguageModel(nn.Module):
    def __init__(self, is_tied: bool) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        if is_tied:
            self.out.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.table(tokens))


def test_an_embedding_costs_nothing_as_a_table_and_its_size_as_a_matrix() -> None:
    tokens = torch.zeros(1, 7, dtype=torch.long)
    assert forward_flops_of(LanguageModel(False), tokens) == ForwardFlops({"out.weight": LayerSize(40, 7)}, 0, {})
    tied = LanguageModel(True)
    counted = forward_flops_of(tied, tokens)
    assert counted == ForwardFlops({"table.weight": LayerSize(40, 7)}, 0, {})
    with torch.no_grad():
        tied.table.weight.fill_(1.0)[0, :] = 0.0
    assert inference_flops(counted.sizes, nonzeros(tied)) == 2 * 36 * 7


def test_a_table_of_bags_costs_nothing() -> None:
    model = nn.Sequential(nn.EmbeddingBag(10, 4), nn.Linear(4, 3))
    assert forward_flops_of(model, torch.zeros(1, 7, dtype=torch.long)) == ForwardFlops(
        {"1.weight": LayerSize(12, 1)}, 0, {}
    )


def test_inference_mode_and_frozen_weights_change_nothing() -> None:
    """An operation that consists of others reaches the counter whole then."""
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).requires_grad_(False)
    with torch.inference_mode():
        sizes = forward_flops(model, (3, 6)).sizes
    assert sizes == {"0.weight": LayerSize(24, 3), "1.weight": LayerSize(8, 3)}


def test_each_module_keeps_its_mode() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).train()
    model[1].eval()
    forward_flops(model, (3, 6))
    assert [module.training for module in model.modules()] == [True, True, False]
