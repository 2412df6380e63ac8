"""What an allocation has to know about a layer, and the words by which rules speak of layers. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout

if TYPE_CHECKING:
    import torch

PRUNABLE_KINDS = ("conv", "linear", "attention", "recurrent", "transposed")
KINDS = (*PRUNABLE_KINDS, "embedding")
WORDS = (
    *("first", "last", "depthwise", "downsample", "embedding"),
    *("linear", "conv", "conv1d", "conv2d", "conv3d", "attention", "recurrent", "transposed"),
)
WHAT_IS_PRUNABLE = "linear, convolution, attention or recurrent"  # the prunable kinds of layer, as text for messages


@dataclass(frozen=True)
class Layer:
    """The facts about a weight that an allocation needs.

    Attributes:
        shape: (out, in / groups, *kernel), whatever the stored layout.
        words: the words of ``WORDS`` that apply to the weight.
        layout: the order in which the weight's axes are stored.
        aliases: further names of a weight that several modules share.
    """

    shape: torch.Size
    words: frozenset[str] = frozenset()
    layout: Layout = OUTPUTS_FIRST
    aliases: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The layer's kind, one of ``KINDS``; empty for a layer without words."""
        return next((kind for kind in KINDS if kind in self.words), "")

    @property
    def is_embedding(self) -> bool:
        """Whether the weight belongs to an embedding. It may also be used as a matrix by a linear layer."""
        return "embedding" in self.words
