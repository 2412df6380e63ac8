"""Choosing masks by other things than magnitude: at random, by a score, part of a layer's connections anew."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from acdc_cli.sparsity.topk import keep_largest


def random_scores(weights: Mapping[str, Tensor], *key: int) -> dict[str, Tensor]:
    """A number in (0, 1] for every weight, drawn on the CPU from the key: the same on every rank and device."""
    scores = {}
    for index, (name, weight) in enumerate(weights.items()):
        generator = torch.Generator().manual_seed(zlib.crc32(repr((*key, index)).encode()))
        scores[name] = (1 - torch.rand(weight.shape, generator=generator)).to(weight.device)
    return scores


def positive_where(kept: Tensor, scores: Tensor) -> Tensor:
    """Magnitudes of the scores, 0 outside ``kept`` and above 0 inside: what does not exist ranks below what does.

    A weight that training has moved to exactly 0.0 is a connection all the same.
    """
    least = torch.finfo(scores.dtype).tiny
    return torch.where(kept.to(scores.device), scores.detach().abs().clamp_min(least), torch.zeros_like(scores))


def rewire(mask: Tensor, magnitudes: Tensor, growth_scores: Tensor, moved: int) -> Tensor:
    """Drop the ``moved`` smallest connections of a layer and grow as many where the scores are largest.

    A connection that was dropped may grow again at once (RigL's code: only those that stay are out of the running).

    Args:
        mask: True where a connection exists (bool); magnitudes and scores have its shape.

    Returns:
        The new mask, with as many connections as the old one.
    """
    mask = mask.to(magnitudes.device)
    kept = int(mask.count_nonzero())
    (staying,) = keep_largest([positive_where(mask, magnitudes)], mask.numel() - kept + moved)
    (grown,) = keep_largest([positive_where(~staying, growth_scores)], mask.numel() - moved)
    return staying | grown
