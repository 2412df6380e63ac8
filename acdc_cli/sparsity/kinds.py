"""The kinds of layer whose weights can be pruned, and which of a module's parameters these weights are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
TABLES = (nn.Embedding, nn.EmbeddingBag)
# Module names of short-cut convolutions: torchvision and timm; wide ResNets and this program's reference code.
SHORTCUT_NAMES = {"downsample", "shortcut"}


@dataclass(frozen=True)
class Use:
    """A module that computes with a weight.

    Attributes:
        path: the module's name in the model; empty for the model itself.
        attribute: where the module keeps the weight, such as ``weight`` or ``weight_ih_l0``.
        weight: an ``nn.Parameter``, unless a parametrization computes it anew in each forward pass.
        kind: one of ``KINDS``.
        words: the words that are true of this use, its kind among them; see ``prunable.WORDS``.
        layout: how the weight is stored.
    """

    path: str
    module: nn.Module
    attribute: str
    weight: torch.Tensor
    kind: str
    words: frozenset[str]
    layout: Layout = OUTPUTS_FIRST

    @property
    def name(self) -> str:
        """Name of the parameter in the model."""
        return f"{self.path}.{self.attribute}" if self.path else self.attribute


def uses_of_weights(model: nn.Module) -> Iterator[Use]:
    """Every use of a weight that can be pruned, and of every embedding table, in model order.

    Tables are the weights of ``nn.Embedding`` and ``nn.EmbeddingBag``.

    A weight that several modules share comes once for each of them.
    """
    # The output projection is a linear layer of its own, which the attention never calls.
    of_attention = {id(module.out_proj) for module in model.modules() if isinstance(module, nn.MultiheadAttention)}
    for path, module in model.named_modules():
        attributes, kind, words, layout = _what(path, module)
        if id(module) in of_attention and kind == "linear":
            kind, words = "attention", set()
        for attribute in attributes:
            weight = getattr(module, attribute)
            yield Use(path, module, attribute, weight, kind, frozenset({kind, *words}), layout)


def _what(path: str, module: nn.Module) -> tuple[list[str], str, set[str], Layout]:
    """(the attributes with weights, kind, further words, layout) of a module; no attributes: nothing to prune."""
    if isinstance(module, nn.Linear):
        return ["weight"], "linear", set(), OUTPUTS_FIRST
    if isinstance(module, CONVOLUTIONS):
        return ["weight"], "conv", {f"conv{len(module.kernel_size)}d", *_roles(path, module)}, OUTPUTS_FIRST
    if isinstance(module, TRANSPOSED):
        return ["weight"], "transposed", _roles(path, module), Layout(inputs_first=True, groups=module.groups)
    if isinstance(module, nn.MultiheadAttention):
        return _input_projections(module), "attention", set(), OUTPUTS_FIRST
    if isinstance(module, nn.RNNBase):
        return _recurrent_matrices(module), "recurrent", set(), OUTPUTS_FIRST
    if isinstance(module, nn.RNNCellBase):
        return ["weight_ih", "weight_hh"], "recurrent", set(), OUTPUTS_FIRST
    if isinstance(module, TABLES):
        return ["weight"], "embedding", set(), OUTPUTS_FIRST
    if transformers_conv1d(module) is not None:
        return ["weight"], "linear", set(), Layout(inputs_first=True)
    return [], "", set(), OUTPUTS_FIRST


def transformers_conv1d(module: nn.Module) -> type[nn.Module] | None:
    """The class ``Conv1D`` of Hugging Face, the linear layer of GPT-2, if the module is one.

    The class is recognised by its name, so that transformers need not be imported.
    """
    return next(
        (
            base
            for base in type(module).__mro__
            if issubclass(base, nn.Module)
            and base.__name__ == "Conv1D"
            and base.__module__.partition(".")[0] == "transformers"
        ),
        None,
    )


def plain_forward(module: nn.Module) -> Callable[..., Any] | None:
    """The ``forward`` of the linear or convolution class that the module belongs to; None for other modules.

    A subclass may have a ``forward`` of its own.
    """
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
    kind = next((kind for kind in kinds if isinstance(module, kind)), transformers_conv1d(module))
    return None if kind is None else kind.forward


def _input_projections(module: nn.MultiheadAttention) -> list[str]:
    """One stacked matrix, or three where keys and values have other widths than queries."""
    names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    return [name for name in names if getattr(module, name) is not None]


def _recurrent_matrices(module: nn.RNNBase) -> list[str]:
    """Input-to-hidden, hidden-to-hidden and (``proj_size``) projection matrices of each layer and direction."""
    parts = ("ih", "hh", "hr") if module.proj_size else ("ih", "hh")
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return [
        f"weight_{part}_l{layer}{direction}"
        for layer in range(module.num_layers)
        for direction in directions
        for part in parts
    ]


def _roles(path: str, module: nn.modules.conv._ConvNd) -> set[str]:
    depthwise = module.groups == module.in_channels > 1
    downsample = not SHORTCUT_NAMES.isdisjoint(path.split("."))
    return {word for word, true in (("depthwise", depthwise), ("downsample", downsample)) if true}
