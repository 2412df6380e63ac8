"""DSD: dense-sparse-dense training (Han et al., ICLR 2017, arXiv 1607.04381)."""

from __future__ import annotations

from typing import Any

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.alternating import Alternating
from acdc_cli.sparsity.timeline import Timeline


class DSD(Alternating):
    """Train dense, prune the smallest weights and train the others, then let all weights train again (Algorithm 1).

    These are AC/DC's phases, once and without the reset of the optimizer's moments. ``outputs`` returns the sparse
    network at the end of its phase, and the dense one.

    Args:
        timeline: dense, sparse, dense.
        sparsity: of the sparse phase: a fraction (0.25 to 0.5 in the paper), N:M, or an ``Allocation``.
        distributed: as ``ACDC``'s.

    Raises:
        ValueError: on a timeline of other phases.
    """

    def __init__(self, timeline: Timeline, sparsity: float | str | Allocation, **distributed: Any) -> None:
        kinds = [phase.kind for phase in timeline.phases]
        if kinds != ["dense", "sparse", "dense"]:
            raise ValueError(f"dsd needs one dense, one sparse and one dense phase, not {', '.join(kinds)}")
        super().__init__(timeline, Allocation.of(sparsity, **distributed), reset_moments=False)
