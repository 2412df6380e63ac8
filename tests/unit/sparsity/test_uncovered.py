"""Weights that no method can prune are named, with their share of the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.small_runs import METHODS
from torch import nn

from acdc_cli import ACDC, Timeline
from acdc_cli.config.compose import compose_config
from acdc_cli.planning.plan import plan
from acdc_cli.sparsity import Dense, Static, UncoveredWeights, prunable_weights, uncovered_weights
from acdc_cli.sparsity.coverage import uncovered_line

TIMELINE = Timeline.of([("dense", 0, 1), ("sparse", 1, 2)])


class Encoder(nn.Module):
    """80 parameters in bare tensors, 4 in a vector, 36 in a table that a linear layer shares, 16 + 4 in another."""

    def __init__(self, bare: int = 2) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.ones(1, 1, 4))
        self.positions = nn.Parameter(torch.ones(1, 19, 4))
        for index in range(2, bare):
            self.register_parameter(f"more_{index}", nn.Parameter(torch.ones(2, 2)))
        self.scale = nn.Parameter(torch.ones(4))
        self.table = nn.Embedding(9, 4)
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.table.weight


def test_what_is_uncovered() -> None:
    """Two dimensions or more, not prunable, no table: neither vectors nor tied tables."""
    model = Encoder()
    found = uncovered_weights(model)
    assert list(found) == ["class_token", "positions"]
    assert found["positions"] is model.positions
    everything = dict(model.named_parameters())
    assert set(everything) == {*found, *prunable_weights(model, embeddings=True), "scale", "inner.bias"}


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (nn.LSTMCell(2, 2), []),
        (nn.Bilinear(2, 2, 2), ["weight"]),
        (nn.EmbeddingBag(2, 2), []),
        (nn.LayerNorm((2, 2)), ["weight", "bias"]),
        (nn.MultiheadAttention(2, 1, add_bias_kv=True), ["bias_k", "bias_v"]),
        (nn.LSTM(2, 2, proj_size=1), []),
        (nn.Transformer(2, 1, 1, 1, 2), []),
        (nn.ConvTranspose3d(2, 2, 2), []),
        (nn.LazyBatchNorm2d(), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_pytorchs_own_modules_leave_uncovered(module: nn.Module, names: list[str]) -> None:
    assert list(uncovered_weights(module)) == names


def test_the_line_names_a_few_and_their_share() -> None:
    """80 of 80 + 4 + 36 + 20 = 140 are 57.1%; with three tensors of 4 more, 92 of 152 are 60.5%."""
    before = "not pruned, because no layer of a prunable kind holds them: class_token, positions"
    assert uncovered_line(Encoder()) == f"{before} (57.1% of the model's parameters)"
    assert uncovered_line(Encoder(bare=5)) == f"{before}, more_2 and 2 more (60.5% of the model's parameters)"
    assert uncovered_line(nn.Linear(4, 4)) is None


ATTACHED: dict[str, Callable[[], Any]] = METHODS | {"acdc": lambda: ACDC(TIMELINE, 0.5), "static_zeros": Static}


@pytest.mark.parametrize("name", ATTACHED)
def test_attach_warns_once(name: str) -> None:
    model = Encoder()
    with torch.no_grad():
        model.inner.weight[0] = 0
    with pytest.warns(UncoveredWeights) as said:
        ATTACHED[name]().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    (warning,) = [each for each in said if each.category is UncoveredWeights]
    assert str(warning.message) == uncovered_line(model)
    assert warning.filename == __file__


def test_dense_prunes_nothing_and_warns_of_nothing() -> None:
    model = Encoder()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UncoveredWeights)
        Dense().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_plan_of_a_torchvision_vit_counts_attention() -> None:
    """ViT-B/16: 12 blocks of 4 d^2 in attention and 8 d^2 in the MLP, d = 768, and a patch embedding."""
    overrides = ["model=torchvision", "model.name=vit_b_16", "dataset=imagenet", "sparsity=0.9"]
    found = plan(compose_config([*overrides, "epochs=10"]))
    assert sum(found["prunable_by_kind"].values()) == found["prunable_weights"]
    assert found["prunable_by_kind"] == {
        "conv": 768 * 3 * 16 * 16,
        "linear": 12 * 8 * 768**2 + 768 * 1000,
        "attention": 12 * 4 * 768**2,
        "recurrent": 0,
        "transposed": 0,
        "embedding": 0,
    }
    assert found["parameters"] == 86_567_656  # torchvision's own figure
    assert found["uncovered"]["names"] == ["class_token", "encoder.pos_embedding"]
    assert found["uncovered"]["share"] == (768 + 197 * 768) / 86_567_656
