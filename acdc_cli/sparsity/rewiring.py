"""Choose masks at random or by a score, and replace some of a layer's connections by others."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from acdc_cli.sparsity.topk import keep_largest


def random_scores(weights: Mapping[str, Tensor], *key: int) -> dict[str, Tensor]:
    """Return a random score in (0, 1] for every weight.

    Scores are drawn on the CPU with a seed made from the key, so they are the same on every rank and device.
    """
    scores = {}
    for index, (name, weight) in enumerate(weights.items()):
        generator = torch.Generator().manual_seed(zlib.crc32(repr((*key, index)).encode()))
        scores[name] = (1 - torch.rand(weight.shape, generator=generator)).to(weight.device)
    return scores


def positive_where(kept: Tensor, scores: Tensor) -> Tensor:
    """Return the magnitudes of the scores: 0 outside ``kept`` and above 0 inside.

    Removed connections then rank below all existing ones. A connection whose weight is exactly 0.0 still exists, so its
    score is raised to the smallest positive number.
    """
    least = torch.finfo(scores.dtype).tiny
    return torch.where(kept.to(scores.device), scores.detach().abs().clamp_min(least), torch.zeros_like(scores))


def rewire(mask: Tensor, magnitudes: Tensor, growth_scores: Tensor, moved: int) -> Tensor:
    """Drop the ``moved`` smallest connections of a layer and grow the same number where the scores are largest.

    A dropped connection may grow again at once, as in RigL's code, which excludes only the remaining connections.

    Args:
        mask: True where a connection exists (bool).
        magnitudes: of the weights, in the mask's shape.
        growth_scores: in the mask's shape; magnitudes count.
        moved: number of connections to drop and to grow.

    Returns:
        The new mask, with as many connections as the old one.
    """
    mask = mask.to(magnitudes.device)
    kept = int(mask.count_nonzero())
    (staying,) = keep_largest([positive_where(mask, magnitudes)], mask.numel() - kept + moved)
    (grown,) = keep_largest([positive_where(~staying, growth_scores)], mask.numel() - moved)
    return staying | grown
