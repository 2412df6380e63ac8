"""How the sparsity of a network changes: layers with few weights, dead channels, and weights that stay zero."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout
from acdc_cli.sparsity.masks import MaskSet


def starved_layers(masks: MaskSet, fewer_than: int) -> dict[str, int]:
    """Return the layers that keep fewer than ``fewer_than`` weights: name -> number of weights kept.

    A global ranking at high sparsity can remove all weights of a layer of a small network, which then learns nothing.
    """
    return {name: kept for name, kept in masks.kept_per_layer().items() if kept < fewer_than}


@torch.no_grad()
def dead_channels(weights: Mapping[str, Tensor], layouts: Mapping[str, Layout] | None = None) -> dict[str, int]:
    """Return the number of dead output channels (rows whose weights are all zero), by weight name.

    The output of a dead channel is its bias alone. The rows of a recurrent matrix are the gates of the hidden units;
    those of an attention's input projection are the rows of queries, keys and values.

    Args:
        weights: by name.
        layouts: layouts of the weights that are not stored outputs first, by name.
    """
    return {name: int((~_rows(weight, name, layouts).any(dim=1)).count_nonzero()) for name, weight in weights.items()}


def _rows(weight: Tensor, name: str, layouts: Mapping[str, Layout] | None) -> Tensor:
    """Return the weight as a matrix with one row for each output channel."""
    return (layouts or {}).get(name, OUTPUTS_FIRST).outputs_first(weight).flatten(1)


@torch.no_grad()
def revived_share(
    before: Mapping[str, Tensor], now: Mapping[str, Tensor], layouts: Mapping[str, Layout] | None = None
) -> dict[str, float]:
    """Return the fraction of a layer's kept weights that lie in revived output channels, by weight name.

    A channel is revived if the earlier masks kept none of its weights. Its output is at first a constant 0, so that
    batch norm multiplies its first gradients by 1 / sqrt(eps) = 316, and those of other channels by 1 / sigma. The
    resulting large weights can take over the whole layer in the next ranking.

    Args:
        before: masks of a sparse phase (bool, True where a weight is kept), by name.
        now: masks of a later sparse phase, with the same names and shapes.
        layouts: layouts of the weights that are not stored outputs first, by name.
    """
    shares = {}
    for name, mask in now.items():
        kept = _rows(mask, name, layouts).sum(dim=1)
        was_empty = ~_rows(before[name], name, layouts).any(dim=1)
        shares[name] = int(kept[was_empty].sum()) / max(1, int(kept.sum()))
    return shares


@torch.no_grad()
def stayed_zero(weights: Mapping[str, Tensor], masks: MaskSet) -> float:
    """Return the fraction of the weights removed in the last sparse phase that are still exactly zero, in [0, 1].

    In a dense phase all these weights may change, but those of dead channels get no gradient (AC/DC, Table 8).
    """
    covered = {name: weight for name, weight in weights.items() if name in masks}
    removed = sum(int((~masks[name]).count_nonzero()) for name in covered)
    still = sum(int((~masks[name] & (weight == 0)).count_nonzero()) for name, weight in covered.items())
    return still / removed if removed else 0.0
