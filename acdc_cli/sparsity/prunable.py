"""Where: the weights that a sparse method may prune, and the words by which rules speak of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

PRUNABLE_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
KINDS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("linear",),
    nn.Conv1d: ("conv", "conv1d"),
    nn.Conv2d: ("conv", "conv2d"),
    nn.Conv3d: ("conv", "conv3d"),
    nn.Embedding: ("embedding",),
}
WORDS = ("first", "last", "depthwise", "downsample", "embedding", "linear", "conv", "conv1d", "conv2d", "conv3d")
# Module names of short-cut convolutions: torchvision and timm; wide ResNets and this program's reference code.
SHORTCUT_NAMES = {"downsample", "shortcut"}


@dataclass(frozen=True)
class Layer:
    """What an allocation has to know about a weight.

    Attributes:
        shape: (out, in, *kernel).
        words: those of ``WORDS`` that are true of it.
    """

    shape: torch.Size
    words: frozenset[str] = frozenset()

    @property
    def is_table(self) -> bool:
        """Whether it is an embedding and nothing else."""
        return "embedding" in self.words and "linear" not in self.words


def prunable_weights(model: nn.Module, embeddings: bool = False) -> dict[str, nn.Parameter]:
    """The ``weight`` of every linear and convolution layer, by parameter name, in model order.

    Depth-wise, first, last and short-cut layers are included; biases, norm parameters and bare parameters never are. A
    weight shared by two layers appears once, under its first name; a table tied to a linear layer is that layer's
    weight (the rule ``embedding: 0`` keeps it dense).

    Args:
        embeddings: take the tables of ``nn.Embedding`` too: a rule can give them a target, though they are not
            prunable weights otherwise and never count as such.

    Raises:
        ValueError: naming a layer whose weight is no ordinary parameter.
    """
    kinds = (*PRUNABLE_LAYERS, nn.Embedding) if embeddings else PRUNABLE_LAYERS
    # A table tied to a linear layer is that layer's weight and keeps its name, embeddings or not.
    name_of = {id(weight): name for name, weight in prunable_weights(model).items()} if embeddings else {}
    weights: dict[str, nn.Parameter] = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            weight_name = name_of.setdefault(id(module.weight), f"{name}.weight" if name else "weight")
            weights.setdefault(weight_name, _parameter(name, module.weight))
    return weights


def _parameter(layer: str, weight: object) -> nn.Parameter:
    if isinstance(weight, UninitializedParameter):
        raise ValueError(f"{layer}: its weight has no shape yet; run one batch through the model first")
    if not isinstance(weight, nn.Parameter):
        raise ValueError(
            f"{layer}: its weight is computed anew in each forward pass (weight norm, torch.nn.utils.prune or another "
            "parametrization); remove that first"
        )
    if hasattr(weight, "device_mesh"):
        raise ValueError(f"{layer}: its weight is sharded over ranks (DTensor, FSDP), which is not supported")
    return weight


def prunable_layers(model: nn.Module, embeddings: bool = False) -> dict[str, Layer]:
    """Shape and words of each of the ``prunable_weights``. First and last are by model order, embeddings aside."""
    weights = prunable_weights(model, embeddings)
    words: dict[int, set[str]] = {id(weight): set() for weight in weights.values()}
    for name, module in model.named_modules():
        its_words = {word for kind, kind_words in KINDS.items() if isinstance(module, kind) for word in kind_words}
        if its_words and id(module.weight) in words:
            words[id(module.weight)] |= its_words | _role_of(name, module)
    in_order = list(prunable_weights(model).values())
    if in_order:
        words[id(in_order[0])].add("first")
        words[id(in_order[-1])].add("last")
    return {name: Layer(weight.shape, frozenset(words[id(weight)])) for name, weight in weights.items()}


def _role_of(name: str, module: nn.Module) -> set[str]:
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return set()
    depthwise = module.groups == module.in_channels > 1
    downsample = not SHORTCUT_NAMES.isdisjoint(name.split("."))
    return {word for word, true in (("depthwise", depthwise), ("downsample", downsample)) if true}
