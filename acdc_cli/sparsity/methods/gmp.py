"""GMP: gradual magnitude pruning (Zhu & Gupta 2017, arXiv 1710.01878)."""

from __future__ import annotations

from functools import partial
from typing import Any

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.gradual import pruned_further, require_initial, shares_at
from acdc_cli.sparsity.moving import Masks, MaskUpdate, MovingMasks
from acdc_cli.sparsity.target import require_fractions
from acdc_cli.sparsity.window import Window


def gmp(
    sparsity: float | str | Allocation,
    window: Window,
    *,
    initial_sparsity: float = 0.0,
    power: float = 3.0,
    **distributed: Any,
) -> MovingMasks:
    """Prune more and more: s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, equation 1, at each due step.

    The smallest magnitudes go; what is pruned never comes back.

    Args:
        sparsity: the final one, s_f: a fraction, or an ``Allocation``.
        window: t_0, t_0 + n dt and dt, in steps.
        initial_sparsity: s_i, reached at the window's start.
        power: 3 in the paper (cubic); 1 is linear.
        distributed: as ``ACDC``'s.

    Raises:
        AllocationError: for N:M, which has no halfway; for a start above some layers' target.
    """
    allocation = Allocation.of(sparsity, **distributed)
    targets = (allocation.target, *allocation.rules.values())
    require_fractions(*targets, method="gmp")
    require_initial(initial_sparsity, targets)

    prune = partial(_prune, allocation, window, initial_sparsity, power)
    return MovingMasks(allocation, MaskUpdate(when_by_weights=window.is_due, by_weights=prune))


def _prune(
    allocation: Allocation, window: Window, initial_sparsity: float, power: float, covered: Covered, step: int
) -> Masks:
    shares = shares_at(covered.ranked, window.progress(step), initial_sparsity, power)
    return pruned_further(covered.weights, covered.masks, allocation, shares)
