"""Every kind of layer in training: zeros stay zero, counts are exact, and each method prunes along the right axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from helpers.small_runs import EVERY, METHODS
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from acdc_cli import ACDC, Timeline
from acdc_cli.sparsity import Allocation, MaskSet, prunable_weights
from acdc_cli.sparsity.coverage import UncoveredWeights
from acdc_cli.sparsity.methods import SoftThreshold, SparseVD, TopKAST, gmp, iht, snip, woodfisher
from acdc_cli.sparsity.prunable import weight_layouts
from acdc_cli.sparsity.window import Window

TIMELINE = Timeline.of([("dense", 0, 1), ("sparse", 1, 3), ("dense", 3, 4), ("sparse", 4, 6)])
STEPS = 2  # an epoch


class Recurrent(nn.Module):
    """A bidirectional LSTM with projections, a GRU and an RNN, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8, num_layers=2, bidirectional=True, proj_size=4, batch_first=True)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.rnn = nn.RNN(8, 4, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.rnn(self.gru(self.lstm(inputs)[0])[0])[0].mean(dim=1)


class Stepping(nn.Module):
    """An LSTM cell, a GRU cell and an RNN cell, which a loop takes through time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(8, 8), nn.GRUCell(8, 8), nn.RNNCell(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        lstm = gru = rnn = None
        for step in range(inputs.shape[1]):
            lstm = self.lstm(inputs[:, step], lstm)
            gru = self.gru(lstm[0], gru)
            rnn = self.rnn(gru, rnn)
        return rnn


class Attending(nn.Module):
    """Two encoder layers, and an attention whose keys and values are wider than its queries."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.cross = nn.MultiheadAttention(8, 2, kdim=4, vdim=12, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        encoded = self.encoder(inputs)
        return self.cross(encoded, inputs[..., :4], inputs.repeat(1, 1, 2)[..., :12])[0].mean(dim=1)


class Language(nn.Module):
    """A GPT-2 of two blocks with a tied head, fed with integers made of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        rates = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = transformers.GPT2Config(vocab_size=12, n_positions=8, n_embd=8, n_layer=2, n_head=2, **rates)
        self.net = transformers.GPT2LMHeadModel(config)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net((inputs[..., 0].abs() * 5).long() % 12).logits.mean(dim=1)


def decoder() -> nn.Module:
    """Inputs of (N, 5, 8) become pictures of 5 channels, and those a few numbers."""
    return nn.Sequential(
        nn.Conv1d(5, 8, 1),
        nn.ConvTranspose1d(8, 8, 3, stride=2, groups=2, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose1d(8, 4, 1),
        nn.Flatten(),
        nn.LazyLinear(4),
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    "attention": Attending,
    "recurrent": Recurrent,
    "cells": Stepping,
    "transposed": decoder,
    "gpt2": Language,
}


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETS[name]()
    model(torch.randn(2, 5, 8))
    return model


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4, 5, 8, generator=generator)
    optimizer.zero_grad()
    outputs = model(inputs)
    F.cross_entropy(outputs, torch.arange(4) % outputs.shape[1]).backward()
    optimizer.step()


@pytest.mark.parametrize("sparsity", [0.7, "2:4"], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_zeros_stay_zero_and_counts_are_exact(name: str, sparsity: float | str) -> None:
    """In sparse phases, after every step, in the parameters themselves; and every weight moves in dense ones."""
    model = built(name)
    weights = prunable_weights(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    method = ACDC(TIMELINE, sparsity).attach(model, optimizer)
    dense = {name for share in method.shares if share.target is None for name in share.names}
    for epoch in range(TIMELINE.total_epochs):
        method.begin_epoch(epoch)
        for step in range(STEPS):
            train_step(model, optimizer, epoch * STEPS + step)
            if TIMELINE.phase(epoch).kind == "sparse":
                zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
                if sparsity == "2:4":
                    half = {name: 0 if name in dense else weight.numel() // 2 for name, weight in weights.items()}
                    assert zeros == half
                else:
                    assert sum(zeros.values()) == round(0.7 * sum(weight.numel() for weight in weights.values()))
                for name, mask in method.masks.items():
                    assert not weights[name][~mask].any(), name
    if sparsity == "2:4":
        layouts = weight_layouts(model)
        for name in set(weights) - dense:
            weight = layouts[name].outputs_first(weights[name]) if name in layouts else weights[name]
            groups = weight.detach().movedim(1, -1).reshape(-1, 4)
            assert ((groups == 0).sum(dim=1) == 2).all(), name
    state = method.outputs()["sparse"]
    assert all(torch.equal(state[name], weight) for name, weight in weights.items())


def test_the_fused_attention_of_evaluation_reads_the_masked_weights() -> None:
    """PyTorch's fast path for encoders in eval mode gives what the slow path of training mode does, without dropout."""
    model = built("attention").encoder
    inputs = torch.randn(2, 5, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = ACDC(TIMELINE, 0.8).attach(model, optimizer)
    method.begin_epoch(0)
    method.begin_epoch(1)
    slow = model.train()(inputs)
    with torch.no_grad(), torch.profiler.profile() as profile:
        fast = model.eval()(inputs)
    assert "aten::_transformer_encoder_layer_fwd" in {event.name for event in profile.events()}
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


def test_the_recurrent_kernels_read_the_masked_weights() -> None:
    """A network with all matrices pruned to 2:4 equals a fresh one that is given its state."""
    model, other = built("recurrent"), Recurrent()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = ACDC(TIMELINE, "2:4").attach(model, optimizer)
    method.begin_epoch(0)
    method.begin_epoch(1)
    other.load_state_dict(model.state_dict())
    inputs = torch.randn(2, 5, 8)
    assert torch.equal(model(inputs), other(inputs))
    flat = {id(weight) for module in model.children() for weight in module._flat_weights}
    assert {id(weight) for weight in prunable_weights(model).values()} <= flat


# A method's choices must not depend on how a weight is stored: a twin network holds the same weights outputs first.

ALLOCATIONS: dict[str, Callable[[], Any]] = {
    name: METHODS[name] for name in ("gmp", "snip", "iht", "magnitude", "top_kast", "str", "dsd", "sparse_vd")
} | {
    "iht_pattern": lambda: iht("2:4", EVERY),
    "iht_blocks": lambda: iht(0.5, EVERY, block=(2, 2)),
    "gmp_blocks": lambda: gmp(Allocation(0.6, block=(1, 2)), Window(0, 12, 1)),
    "snip_erk": lambda: snip(0.5, distribution="erk"),
    "woodfisher": lambda: woodfisher(0.6, passes, samples=6, block=6, damping=1e-3),
    "top_kast_blocks": lambda: TopKAST(Allocation(0.5, block=(1, 2)), backward_sparsity=0.25),
    "acdc": lambda: ACDC(Timeline.of([("dense", 0, 1), ("sparse", 1, 4)]), 0.8),
}


def twins() -> tuple[nn.Module, nn.Module]:
    """Hugging Face's Conv1D and a grouped transposed convolution; a linear layer and a convolution in their place."""
    torch.manual_seed(0)
    there = nn.Sequential(
        Conv1D(8, 4), nn.ReLU(), nn.ConvTranspose1d(6, 4, 1, groups=2), nn.Flatten(), nn.Linear(32, 3)
    )
    back = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Conv1d(6, 4, 1, groups=2), nn.Flatten(), nn.Linear(32, 3))
    there, back = there.double(), back.double()
    layouts = weight_layouts(there)
    assert list(layouts) == ["0.weight", "2.weight"]
    with torch.no_grad():
        there[0].weight.normal_()
    back.load_state_dict({name: outputs_first(value, name, layouts) for name, value in there.state_dict().items()})
    return there, back


def outputs_first(value: Tensor, name: str, layouts: Any) -> Tensor:
    return layouts[name].outputs_first(value) if name in layouts else value


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 6, 4, generator=generator).double(), torch.randint(3, (5,), generator=generator)


def passes(model: nn.Module) -> Iterator[None]:
    for seed in range(100, 106):
        inputs, labels = batch(seed)
        F.cross_entropy(model(inputs), labels).backward()
        yield


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_a_method_prunes_a_network_stored_the_other_way_round_alike(name: str) -> None:
    there, back = twins()
    layouts = weight_layouts(there)
    methods = []
    for model in (there, back):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        methods.append(ALLOCATIONS[name]().attach(model, optimizer))
        for step in range(12):
            if step % 3 == 0:
                methods[-1].begin_epoch(step // 3)
            inputs, labels = batch(step)
            torch.manual_seed(step)  # noise too
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    masks: list[MaskSet] = [method.masks for method in methods]
    removed = 0
    for key, mask in masks[0].items():
        assert torch.equal(outputs_first(mask, key, layouts), masks[1][key]), key
        torch.testing.assert_close(outputs_first(there.state_dict()[key], key, layouts), back.state_dict()[key])
        removed += int((~mask).sum())
    assert removed > 0


def test_noise_of_a_transposed_convolution_has_the_size_that_its_caller_asks_for() -> None:
    """All log sigma^2 the same and inputs of 1: the variance at an output is sigma^2 times the inputs that reach it."""
    layer = nn.ConvTranspose1d(1, 1, 2, stride=2, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    options = {"samples": 1, "ramp": EVERY, "kl_weight": 0.0, "log_alpha_threshold": 3.0, "initial_log_sigma2": -2.0}
    SparseVD(0.5, **options).attach(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    outputs = layer(torch.ones(4000, 1, 3), output_size=[7])
    assert outputs.shape == (4000, 1, 7)
    expected = torch.tensor([1.0] * 6 + [0.0])
    torch.testing.assert_close(outputs.mean(dim=0).flatten(), expected, atol=0.03, rtol=0)
    torch.testing.assert_close(outputs.var(dim=0).flatten(), expected * torch.tensor(-2.0).exp(), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("attention", "encoder.layers.0.self_attn.in_proj_weight"),
        ("recurrent", "lstm.weight_ih_l0"),
        ("cells", "lstm.weight_ih"),
    ],
)
def test_sparse_vd_refuses_what_it_cannot_make_noisy(name: str, layer: str) -> None:
    model = built(name)
    kind = {"attention": "MultiheadAttention", "recurrent": "LSTM", "cells": "LSTMCell"}[name]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=f"^{layer}: sparse_vd needs linear or convolution layers, and {kind}"):
        METHODS["sparse_vd"]().attach(model, optimizer)
    if name == "attention":
        rules = {"*in_proj_weight": 0, "*q_proj_weight": 0, "*k_proj_weight": 0, "*v_proj_weight": 0}
        options = {"samples": 9, "ramp": EVERY, "kl_weight": 1.0, "log_alpha_threshold": 3, "initial_log_sigma2": -4}
        with pytest.raises(ValueError, match=r"^encoder.layers.0.self_attn.out_proj: .*and MultiheadAttention"):
            SparseVD(0.5, rules=rules, **options).attach(model, optimizer)
        method = SparseVD(0.5, rules={"attention": 0}, **options).attach(model, optimizer)
        train_step(model, optimizer, 0)
        assert len(method.state_dict()["log_sigma2"]) == 4  # two linear layers in each of two encoder layers


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", ["str", "rigl", "top_kast", "static"])
def test_methods_that_swap_or_move_weights_train_every_kind(name: str, kind: str) -> None:
    model = built(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    method = (SoftThreshold(s_init=-3.0, s_weight_decay=0.1) if kind == "str" else METHODS[kind]()).attach(
        model, optimizer
    )
    for step in range(7):
        if step % 3 == 0:
            method.begin_epoch(step // 3)
        train_step(model, optimizer, step)
        for key, weight in prunable_weights(model).items():
            assert not weight[~method.masks[key]].any()
    assert method.masks.density() < 1


def test_attach_says_nothing_of_a_network_that_is_covered_throughout(recwarn: pytest.WarningsRecorder) -> None:
    for name in NETS:
        model = built(name)
        ACDC(TIMELINE, 0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert not [each for each in recwarn if issubclass(each.category, UncoveredWeights)]
