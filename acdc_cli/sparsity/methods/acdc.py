"""AC/DC: Alternating Compressed/DeCompressed training (Peste et al., NeurIPS 2021, arXiv 2106.12379, Algorithm 1).

Why it works: a dense phase explores, a sparse phase makes the network good at what it keeps, and because pruned
weights come back in every dense phase, a wrong choice of mask is never final.
"""

from __future__ import annotations

from typing import Any

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.alternating import Alternating
from acdc_cli.sparsity.timeline import Timeline


class ACDC(Alternating):
    """Train dense and sparse in turn; end sparse. ``Alternating`` has the algorithm.

    At the start of a sparse phase the largest weights are kept and the others set to zero, where they stay until its
    end. At the start of a dense phase they re-enter at zero and the optimizer's moments are reset. ``outputs`` returns
    the sparse model and its dense partner, which is the state at the end of the last dense phase.

    Args:
        timeline: when. Must end sparse.
        sparsity: how much: a fraction in [0, 1), N:M as ``"2:4"``, or an ``Allocation``.
        reset_moments: reset the optimizer's per-parameter state at the start of every dense phase.
        distributed: how the sparsity is distributed over the layers: ``distribution="uniform"``,
            ``rules={"first": 0}`` and whatever else ``Allocation`` takes.

    Raises:
        ValueError: on a timeline or target that AC/DC cannot follow.

    Example:
        >>> method = ACDC(Timeline.acdc(epochs=100), sparsity=0.9).attach(model, optimizer)
        >>> for epoch in range(100):
        ...     method.begin_epoch(epoch)
        ...     ...  # any loop: loss.backward(); optimizer.step(); optimizer.zero_grad()
        >>> sparse, dense = method.outputs()["sparse"], method.outputs()["dense"]
    """

    def __init__(
        self,
        timeline: Timeline,
        sparsity: float | str | Allocation,
        *,
        reset_moments: bool = True,
        **distributed: Any,
    ) -> None:
        timeline.require_acdc()
        super().__init__(timeline, Allocation.of(sparsity, **distributed), reset_moments)
