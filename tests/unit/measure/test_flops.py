"""FLOPs as the paper counts them, against hand computations. The published numbers are in golden/."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from acdc_cli import ACDC, Timeline
from acdc_cli.measure.flops import (
    LayerSize,
    closed_form_train_fraction,
    inference_flops,
    layer_sizes,
    nonzeros,
    step_flops,
    train_flops,
)
from acdc_cli.sparsity import Dense, prunable_weights


def three_layers() -> nn.Sequential:
    """A strided convolution, a depth-wise one and a linear layer, on 3x8x8; norm, biases and ReLU cost nothing."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 8 * 3 * 9 = 216 weights, 4 x 4 positions
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),  # 8 * 1 * 9 = 72 weights, 2 x 2 positions
        nn.Flatten(),
        nn.Linear(32, 10),  # 320 weights, used once
    )


def test_dense_flops_by_hand() -> None:
    sizes = layer_sizes(three_layers(), (3, 8, 8))
    assert sizes == {"0.weight": LayerSize(216, 16), "3.weight": LayerSize(72, 4), "5.weight": LayerSize(320, 1)}
    assert inference_flops(sizes) == 2 * (216 * 16 + 72 * 4 + 320)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_another_type_is_counted_in_its_own(dtype: torch.dtype) -> None:
    """A linear layer of 3 x 4 weights: 2 FLOPs each."""
    model = nn.Linear(3, 4).to(dtype)
    assert layer_sizes(model, (3,)) == {"weight": LayerSize(12, 1)}
    assert inference_flops(layer_sizes(model, (3,))) == 24


def test_zero_weights_cost_nothing() -> None:
    model = three_layers()
    with torch.no_grad():
        for name, zeros in {"0": 200, "3": 72, "5": 100}.items():
            weight = model.get_submodule(name).weight
            weight.fill_(1.0).view(-1)[:zeros] = 0.0
        model[0].bias.zero_()
    assert nonzeros(model) == {"0.weight": 16, "3.weight": 0, "5.weight": 220}
    assert inference_flops(layer_sizes(model, (3, 8, 8)), nonzeros(model)) == 2 * (16 * 16 + 0 * 4 + 220)


@pytest.mark.parametrize(
    ("layer", "sample", "weights", "positions"),
    [
        (nn.Conv1d(4, 6, 3), (4, 10), 72, 8),
        (nn.Conv3d(2, 3, 2), (2, 4, 4, 4), 48, 27),
        (nn.Conv2d(4, 8, 3, padding=1, groups=2, dilation=1), (4, 5, 7), 144, 35),
        (nn.Conv2d(4, 8, 3, dilation=2), (4, 7, 7), 288, 9),
        (nn.Linear(6, 4), (6,), 24, 1),
        (nn.Linear(6, 4), (5, 6), 24, 5),  # a sequence: once at each of its five positions
    ],
    ids=str,
)
def test_positions_of_every_kind_of_layer(
    layer: nn.Module, sample: tuple[int, ...], weights: int, positions: int
) -> None:
    assert layer_sizes(layer, sample) == {"weight": LayerSize(weights, positions)}


def test_a_layer_used_twice_is_charged_twice() -> None:
    shared = nn.Linear(4, 4)
    sizes = layer_sizes(nn.Sequential(shared, nn.ReLU(), shared), (4,))
    assert sizes == {"0.weight": LayerSize(16, 2)}


def test_a_weight_shared_by_two_layers_is_one_weight_used_twice() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert list(prunable_weights(model)) == ["0.weight"]
    assert layer_sizes(model, (4,)) == {"0.weight": LayerSize(16, 2)}


class FoldsTime(nn.Module):
    """Like many a language model: (batch, time, features) -> (time * batch, features) before the linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.transpose(0, 1).reshape(-1, 6))


def test_positions_folded_into_the_batch_axis_are_charged() -> None:
    assert layer_sizes(FoldsTime(), (5, 6)) == {"fc.weight": LayerSize(24, 5)}


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = three_layers().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layer_sizes(model, (3, 8, 8))
    assert model.training
    assert model[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())


def test_one_step_is_the_sum_of_its_three_parts() -> None:
    assert train_flops(3, 5, 7) == 15


def method_in(kind: str) -> ACDC:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = ACDC(Timeline.acdc(2), sparsity=0.5).attach(model, optimizer)
    method.begin_epoch(["dense", "sparse"].index(kind))
    return method


def test_a_step_of_each_phase() -> None:
    """F = 1000, f = 190: sparse 3f, dense 2f + F, the dense baseline 3F."""
    assert step_flops(method_in("sparse").work(), dense=1000, current=190) == 570
    assert step_flops(method_in("dense").work(), dense=1000, current=190) == 1380
    assert step_flops(Dense().work(), dense=1000, current=190) == 3000


def test_the_closed_form_by_hand() -> None:
    """4 of 10 epochs at a quarter: (6 + 4 / 4) / 10."""
    assert closed_form_train_fraction(0.25, sparse_epochs=4, total_epochs=10) == pytest.approx(0.7)
    assert closed_form_train_fraction(1.0, sparse_epochs=4, total_epochs=10) == 1.0


def test_norms_biases_embeddings_and_bare_parameters_are_not_prunable() -> None:
    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bare = nn.Parameter(torch.ones(3, 3))
            self.embedding = nn.Embedding(5, 4)
            self.norm = nn.LayerNorm(4)
            self.conv1d = nn.Conv1d(4, 4, 1, groups=4)
            self.inner = nn.Sequential(nn.GroupNorm(2, 4), nn.Linear(4, 4))
            self.conv3d = nn.Conv3d(1, 1, 1)

    assert list(prunable_weights(Everything())) == ["conv1d.weight", "inner.1.weight", "conv3d.weight"]
