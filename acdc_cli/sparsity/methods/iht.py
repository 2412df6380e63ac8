"""Stochastic iterative hard thresholding: what AC/DC's theory is about (arXiv 2106.12379, section 3, equation 3)."""

from __future__ import annotations

from functools import partial
from typing import Any

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.moving import Masks, MaskUpdate, MovingMasks
from acdc_cli.sparsity.select import magnitude_masks
from acdc_cli.sparsity.window import Window


def iht(sparsity: float | str | Allocation, window: Window, **distributed: Any) -> MovingMasks:
    """theta_{t+1} = T_k(theta_t - eta g_t): every step moves all weights, then only the k largest stay.

    Args:
        sparsity: a fraction, N:M, or an ``Allocation``.
        window: the steps that threshold; each one in the theory. Its end always does: there the network is used.
        distributed: as ``ACDC``'s.
    """
    allocation = Allocation.of(sparsity, **distributed)

    update = MaskUpdate(
        when_by_weights=partial(_is_due, window), by_weights=partial(_threshold, allocation), is_hard_threshold=True
    )
    return MovingMasks(allocation, update)


def _is_due(window: Window, step: int) -> bool:
    return window.is_due(step) or step == window.end


def _threshold(allocation: Allocation, covered: Covered, step: int) -> Masks:
    return magnitude_masks(covered.weights, allocation, covered.ranked)
