"""What may be pruned, and which words are true of it, on models as they are published."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models import convnext_tiny, mobilenet_v2, resnet18, resnet50, vit_b_16

from acdc_cli.measure.flops import layer_sizes
from acdc_cli.models.resnet import ResNet
from acdc_cli.sparsity import Allocation, prunable_layers, prunable_weights
from acdc_cli.sparsity.allocate import closed_form_nonzeros


class Language(nn.Module):
    """Twelve words in eight dimensions; the table can be the output layer's weight too."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 8)
        self.inner = nn.Linear(8, 8)
        self.head = nn.Linear(8, 12, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(self.table(words.long())))


def with_word(model: nn.Module, word: str, embeddings: bool = False) -> list[str]:
    layers = prunable_layers(model, embeddings)
    return [name.removesuffix(".weight") for name, layer in layers.items() if word in layer.words]


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


@pytest.mark.parametrize(
    ("build", "first", "last", "downsample"),
    [
        (resnet18, "conv1", "fc", ["layer2.0.downsample.0", "layer3.0.downsample.0", "layer4.0.downsample.0"]),
        (resnet50, "conv1", "fc", [f"layer{stage}.0.downsample.0" for stage in (1, 2, 3, 4)]),
        (mobilenet_v2, "features.0.0", "classifier.1", []),
        (vit_b_16, "conv_proj", "heads.head", []),
    ],
)
def test_first_last_and_short_cuts(build: Callable, first: str, last: str, downsample: list[str]) -> None:
    model = on_meta(build)
    assert with_word(model, "first") == [first]
    assert with_word(model, "last") == [last]
    assert with_word(model, "downsample") == downsample


def test_short_cuts_of_our_own_resnet() -> None:
    """With shortcut=conv two of the three stages change their shape."""
    assert with_word(ResNet(8, 32, 1, 10, "identity"), "downsample") == []
    found = with_word(ResNet(8, 32, 1, 10, "conv"), "downsample")
    assert [name.split(".")[:2] for name in found] == [["layer2", "0"], ["layer3", "0"]]


def test_depthwise_of_mobilenet_v2() -> None:
    """Table 2 of its paper: 17 bottlenecks, a 3x3 depth-wise convolution each; nothing else is (out, 1, 3, 3)."""
    model = on_meta(mobilenet_v2)
    found = with_word(model, "depthwise")
    assert len(found) == 17
    assert found == [name for name in with_word(model, "conv2d") if model.get_submodule(name).weight.shape[1] == 1]
    assert "features.1.conv.0.0" in found


def test_depthwise_is_a_layer_of_several_channels_each_by_itself() -> None:
    """One channel is the first layer of a network for grey images; two in two groups are depth-wise."""
    sizes = ((1, 1, 1), (2, 2, 2), (2, 4, 2), (4, 4, 2))
    model = nn.Sequential(*(nn.Conv2d(inputs, outputs, 3, groups=groups) for inputs, outputs, groups in sizes))
    words = [layer.words for layer in prunable_layers(model).values()]
    assert ["depthwise" in each for each in words] == [False, True, True, False]


def test_depthwise_of_convnext_is_seven_wide() -> None:
    model = on_meta(convnext_tiny)
    found = with_word(model, "depthwise")
    assert len(found) == 3 + 3 + 9 + 3
    assert {tuple(model.get_submodule(name).weight.shape[1:]) for name in found} == {(1, 7, 7)}


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Linear(4, 4), ["linear"]),
        (nn.Conv1d(4, 4, 3), ["conv", "conv1d"]),
        (nn.Conv2d(4, 4, 3), ["conv", "conv2d"]),
        (nn.Conv3d(4, 4, 3), ["conv", "conv3d"]),
        (nn.Conv1d(4, 8, 3, groups=4), ["conv", "conv1d", "depthwise"]),  # with a multiplier of two
        (nn.Conv3d(4, 4, 3, groups=4), ["conv", "conv3d", "depthwise"]),
        (nn.Conv2d(4, 4, 3, groups=2), ["conv", "conv2d"]),  # grouped
        (nn.Conv2d(1, 4, 3), ["conv", "conv2d"]),  # one grey channel
    ],
    ids=str,
)
def test_words_of_one_layer(layer: nn.Module, words: list[str]) -> None:
    layers = prunable_layers(layer)
    assert list(layers) == ["weight"]
    assert layers["weight"].words == {*words, "first", "last"}
    assert layers["weight"].shape == layer.weight.shape


def test_what_is_not_prunable() -> None:
    """Biases, norms, bilinear layers, embeddings, bare parameters."""
    others = [nn.BatchNorm2d(4), nn.LayerNorm(4), nn.Bilinear(4, 4, 4), nn.Embedding(4, 4)]
    model = nn.ModuleList([*others, nn.EmbeddingBag(4, 4), nn.Linear(4, 4)])
    model.bare = nn.Parameter(torch.ones(4, 4))
    assert list(prunable_weights(model)) == ["5.weight"]
    assert list(prunable_weights(model, embeddings=True)) == ["3.weight", "4.weight", "5.weight"]


def test_a_shared_layer_counts_once_and_has_the_words_of_all_its_uses() -> None:
    shared = nn.Conv2d(4, 4, 1)
    model = nn.ModuleDict({"stem": shared, "middle": nn.Conv2d(4, 4, 1), "shortcut": nn.Conv2d(4, 4, 1)})
    model["shortcut"].weight = shared.weight
    layers = prunable_layers(model)
    assert list(layers) == ["stem.weight", "middle.weight"]
    assert layers["stem.weight"].words == {"conv", "conv2d", "first", "downsample"}
    assert layers["middle.weight"].words == {"conv", "conv2d", "last"}


class TestEmbedding:
    def test_is_not_prunable_unless_asked_for(self) -> None:
        model = Language(tied=False)
        assert list(prunable_weights(model)) == ["inner.weight", "head.weight"]
        assert list(prunable_weights(model, embeddings=True)) == ["table.weight", "inner.weight", "head.weight"]
        assert with_word(model, "embedding") == []
        assert with_word(model, "embedding", embeddings=True) == ["table"]

    def test_does_not_move_first_and_last(self) -> None:
        for embeddings in (False, True):
            assert with_word(Language(tied=False), "first", embeddings) == ["inner"]
            assert with_word(Language(tied=False), "last", embeddings) == ["head"]

    def test_tied_with_the_output_layer_is_an_embedding(self) -> None:
        """It is not prunable, whatever else uses it, and the output layer stays the last one."""
        model = Language(tied=True)
        assert list(prunable_weights(model)) == ["inner.weight"]
        assert list(prunable_weights(model, embeddings=True)) == ["table.weight", "inner.weight"]
        layers = prunable_layers(model, embeddings=True)
        assert layers["table.weight"].words == {"embedding", "last"}
        assert layers["table.weight"].aliases == ("head.weight",)
        assert layers["inner.weight"].words == {"linear", "first"}

    @pytest.mark.parametrize("tied", [False, True])
    def test_the_plan_of_a_model_with_a_table_finds_its_layers(self, tied: bool) -> None:
        """96 weights of the table, tied or not, lose half, the other 64 (and an untied head's 96) a quarter."""
        model = Language(tied)
        allocation = Allocation(0.25, "uniform", rules={"embedding": 0.5})
        left = closed_form_nonzeros(prunable_layers(model, embeddings=True), allocation)
        assert set(layer_sizes(model, (3,))) <= set(left)
        assert left == ({"table.weight": 48, "inner.weight": 48} | ({} if tied else {"head.weight": 72}))
