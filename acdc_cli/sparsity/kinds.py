"""The kinds of layer whose weights can be pruned, and which parameters of a module these weights are."""

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
# Module names of short-cut convolutions. torchvision and timm call them downsample; wide ResNets and the reference code
# of AC/DC call them shortcut.
SHORTCUT_NAMES = {"downsample", "shortcut"}


@dataclass(frozen=True)
class Use:
    """A module that computes with a weight.

    Attributes:
        path: the module's name in the model; empty for the model itself.
        module: the module.
        attribute: the module's attribute that holds the weight, such as ``weight`` or ``weight_ih_l0``.
        weight: an ``nn.Parameter``, unless a parametrization computes it anew in each forward pass.
        kind: one of ``KINDS``.
        words: the words of ``prunable.WORDS`` that apply to this use, its kind among them.
        layout: the order in which the weight's axes are stored.
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
        """The parameter's name in the model."""
        return f"{self.path}.{self.attribute}" if self.path else self.attribute


def uses_of_weights(model: nn.Module) -> Iterator[Use]:
    """Yield every use of a prunable weight or of an embedding's weight, in model order.

    Embeddings are ``nn.Embedding`` and ``nn.EmbeddingBag``. A weight that several modules share is yielded once for
    each of them.
    """
    # The output projection is a submodule of class nn.Linear, but the attention reads its weight and never calls it.
    of_attention = {id(module.out_proj) for module in model.modules() if isinstance(module, nn.MultiheadAttention)}
    for path, module in model.named_modules():
        attributes, kind, words, layout = _what(path, module)
        if id(module) in of_attention and kind == "linear":
            kind, words = "attention", set()
        for attribute in attributes:
            weight = getattr(module, attribute)
            yield Use(path, module, attribute, weight, kind, frozenset({kind, *words}), layout)


def _what(path: str, module: nn.Module) -> tuple[list[str], str, set[str], Layout]:
    """Return (names of the attributes with weights, kind, further words, layout) of a module.

    The list of attributes is empty for a module without prunable weights.
    """
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
    """Return the class ``Conv1D`` of Hugging Face (the linear layer of GPT-2) if the module is one, else None.

    The class is recognised by its name, so that the package ``transformers`` need not be imported.
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
    """Return the ``forward`` of the module's linear or convolution base class; None for other modules.

    Callers compare the result with the module's own ``forward``, which a subclass may have overridden.
    """
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
    kind = next((kind for kind in kinds if isinstance(module, kind)), transformers_conv1d(module))
    return None if kind is None else kind.forward


def _input_projections(module: nn.MultiheadAttention) -> list[str]:
    """Return the names of the input projections: one stacked matrix, or three if keys or values have other widths."""
    names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    return [name for name in names if getattr(module, name) is not None]


def _recurrent_matrices(module: nn.RNNBase) -> list[str]:
    """Return the names of the matrices of each layer and direction.

    These are input-to-hidden and hidden-to-hidden and, with ``proj_size``, the projection.
    """
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
