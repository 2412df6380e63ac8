"""How a network's sparsity moves: what starves, what dies, what does not come back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout
from acdc_cli.sparsity.masks import MaskSet


def starved_layers(masks: MaskSet, fewer_than: int) -> dict[str, int]:
    """Layers that the masks leave with fewer weights than that: name -> weights left.

    A global ranking at high sparsity can empty a layer of a small net, and with it the network.
    """
    return {name: kept for name, kept in masks.kept_per_layer().items() if kept < fewer_than}


@torch.no_grad()
def dead_channels(weights: Mapping[str, Tensor], layouts: Mapping[str, Layout] | None = None) -> dict[str, int]:
    """Output channels (rows) in which every weight is zero, by weight name. They output their bias and nothing else.

    Of a recurrent matrix the rows are the hidden units' gates, of an attention's those of queries, keys and values.

    Args:
        layouts: how weights are stored that are not stored outputs first; by name.
    """
    return {name: int((~_rows(weight, name, layouts).any(dim=1)).count_nonzero()) for name, weight in weights.items()}


def _rows(weight: Tensor, name: str, layouts: Mapping[str, Layout] | None) -> Tensor:
    """One row for each output channel."""
    return (layouts or {}).get(name, OUTPUTS_FIRST).outputs_first(weight).flatten(1)


@torch.no_grad()
def revived_share(
    before: Mapping[str, Tensor], now: Mapping[str, Tensor], layouts: Mapping[str, Layout] | None = None
) -> dict[str, float]:
    """Of a layer's kept weights, the share in output channels of which the masks before kept nothing; by weight name.

    Such a channel comes back as a constant 0, so that batch norm multiplies its first gradients by 1 / sqrt(eps) = 316
    where it multiplies others by 1 / sigma; the weights that these make can take the whole layer in the next ranking.

    Args:
        before, now: masks (bool, True where a weight is kept) of two sparse phases, the same names and shapes.
        layouts: how weights are stored that are not stored outputs first; by name.
    """
    shares = {}
    for name, mask in now.items():
        kept = _rows(mask, name, layouts).sum(dim=1)
        was_empty = ~_rows(before[name], name, layouts).any(dim=1)
        shares[name] = int(kept[was_empty].sum()) / max(1, int(kept.sum()))
    return shares


@torch.no_grad()
def stayed_zero(weights: Mapping[str, Tensor], masks: MaskSet) -> float:
    """Of the weights that the last sparse phase removed, the fraction that is still exactly zero, in [0, 1].

    In a dense phase they all may move; those of dead channels get no gradient and cannot (AC/DC, Table 8).
    """
    covered = {name: weight for name, weight in weights.items() if name in masks}
    removed = sum(int((~masks[name]).count_nonzero()) for name in covered)
    still = sum(int((~masks[name] & (weight == 0)).count_nonzero()) for name, weight in covered.items())
    return still / removed if removed else 0.0
