"""Phases that alternate: dense ones, in which all weights train, and sparse ones, in which the largest do.

This is the mechanism of AC/DC (arXiv 2106.12379, Algorithm 1) and of DSD (arXiv 1607.04381, Algorithm 1).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.base import CoveringMethod
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.hooks import check_same_on_every_rank
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import model_state
from acdc_cli.sparsity.moments import forget_directions
from acdc_cli.sparsity.select import magnitude_masks
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.sparsity.work import Work, alternating_work


class Alternating(CoveringMethod):
    """Train dense and sparse in turn, and keep the model of both kinds.

    At the start of a sparse phase the largest weights are kept and the others set to zero, where they stay until its
    end. At the start of a dense phase they re-enter at zero. The model at the end of the last phase but one is kept
    beside the final one: of the two, one is dense and one is sparse.

    Args:
        timeline: when.
        allocation: how much, and of which layers.
        reset_moments: reset the optimizer's per-parameter state at the start of every dense phase.
    """

    def __init__(self, timeline: Timeline, allocation: Allocation, reset_moments: bool) -> None:
        super().__init__(allocation)
        self._ranking = allocation
        self.timeline = timeline
        self.reset_moments = reset_moments
        self._forget()

    def _forget(self) -> None:
        self.mask_change: float | None = None
        self._phase_start = -1
        self._has_masks = False
        self._kept_state: dict[str, Tensor] | None = None

    def _begin(self, covered: Covered) -> None:
        self._forget()
        covered.act(gradient_masks=covered.masks, is_held=True)

    @property
    def masks(self) -> MaskSet | None:
        """Masks of the current sparse phase, in a dense phase those of the one before it; None before the first."""
        return self._masks if self._has_masks else None

    def begin_epoch(self, epoch: int) -> None:
        """Enter the phase that the epoch (0-based) belongs to, if it is a new one. Call before the epoch's steps.

        Raises:
            RuntimeError: before ``attach``, or in the middle of a phase whose masks this object has never seen.
        """
        if self._covered is None or not self._covered.hooks:
            raise RuntimeError("attach(model, optimizer) comes before the first epoch")
        self._covered.begin_epoch(epoch)
        phase = self.timeline.phase(epoch)
        if self._phase_start < 0 and epoch != phase.start_epoch:
            raise RuntimeError(f"epoch {epoch} lies inside {phase}: a resumed loop needs load_state_dict(...) first")
        if epoch != phase.start_epoch:
            self.mask_change = None
        if phase.start_epoch == self._phase_start:
            return
        self.mask_change = None
        self._phase_start = phase.start_epoch
        if phase == self.timeline.phases[-1]:
            self._kept_state = model_state(self._covered.model)
        self._masks.enforced = phase.kind == "sparse"
        if self._masks.enforced:
            self._compress(self._covered)
        elif self.reset_moments and phase.start_epoch > 0:
            for state in self._covered.initial:
                state.reset()
        forget_directions(self._covered.optimizers)

    def _compress(self, covered: Covered) -> None:
        """Prune to the largest magnitudes, and note how far the masks moved since the last sparse phase."""
        previous = self._masks.snapshot() if self._has_masks else None
        self._masks.copy_(magnitude_masks(covered.weights, self._ranking, covered.ranked))
        check_same_on_every_rank(self._masks)
        self._masks.apply_(covered.weights)
        self._has_masks = True
        if previous is not None:
            self.mask_change = self._masks.change_from(previous)

    def work(self) -> Work:
        """AC/DC, C.2: 3f in a sparse phase; 2f + F in a dense one, where weight gradients are taken for all weights."""
        return alternating_work(self._masks.enforced)

    @property
    def _kept_kind(self) -> str:
        return "dense" if self.timeline.phases[-1].kind == "sparse" else "sparse"

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """Return the state now, and that at the end of the phase before the last one. Detached copies.

        Raises:
            RuntimeError: before the last phase has begun, when there is no final pair yet.
        """
        if self._covered is None or self._kept_state is None:
            raise RuntimeError(
                f"no outputs before the last {self.timeline.phases[-1].kind} phase, {self.timeline.phases[-1]}"
            )
        kept = {name: tensor.clone() for name, tensor in self._kept_state.items()}
        now = model_state(self._covered.model)
        return {"sparse": now, "dense": kept} if self._kept_kind == "dense" else {"sparse": kept, "dense": now}

    def state_dict(self) -> dict[str, Any]:
        """Return what a loop needs to go on, beside the model's and the optimizer's state: tensors and plain values."""
        return {
            "phase_start": self._phase_start,
            "is_sparse": self._masks.enforced,
            "has_masks": self._has_masks,
            "masks": self._masks.state_dict(),
            f"{self._kept_kind}_state": self._kept_state,
            "mask_change": self.mask_change,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._phase_start = state["phase_start"]
        self._has_masks = state["has_masks"]
        self._masks.load_state_dict(state["masks"])
        self._masks.enforced = state["is_sparse"]
        self._kept_state = state[f"{self._kept_kind}_state"]
        self.mask_change = state.get("mask_change")  # states older than positions inside an epoch lack it
