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
WHAT_IS_PRUNABLE = "linear, convolution, attention or recurrent"  # layers, as messages call them


@dataclass(frozen=True)
class Layer:
    """What an allocation has to know about a weight.

    Attributes:
        shape: (out, in / groups, *kernel), however the weight is stored.
        words: those of ``WORDS`` that are true of it.
        layout: how it is stored.
        aliases: its further names, where several modules share it.
    """

    shape: torch.Size
    words: frozenset[str] = frozenset()
    layout: Layout = OUTPUTS_FIRST
    aliases: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """One of ``KINDS``; empty for a layer without words."""
        return next((kind for kind in KINDS if kind in self.words), "")

    @property
    def is_table(self) -> bool:
        """Whether it is the table of an embedding, whatever else uses it as a matrix."""
        return "embedding" in self.words
