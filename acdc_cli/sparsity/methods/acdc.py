"""AC/DC: Alternating Compressed/DeCompressed training (Peste et al., NeurIPS 2021, arXiv 2106.12379, Algorithm 1).

Why it works: a dense phase explores, a sparse phase makes the network good at what it keeps, and because pruned
weights come back in every dense phase, a wrong choice of mask is never final.
"""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered, cover
from acdc_cli.sparsity.hooks import Optimizers, check_same_on_every_rank
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import model_state
from acdc_cli.sparsity.moments import forget_directions
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.select import magnitude_masks
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.sparsity.work import Work, alternating_work


class ACDC:
    """Train dense and sparse in turn; end sparse.

    At the start of a sparse phase the largest weights are kept and the others set to zero, where they stay until its
    end. At the start of a dense phase they re-enter at zero and the optimizer's moments are reset.

    Args:
        timeline: when. Must end sparse.
        sparsity: how much: a fraction in [0, 1), N:M as ``"2:4"``, or an ``Allocation``.
        reset_moments: reset the optimizer's per-parameter state at the start of every dense phase.
        spread: how the sparsity is spread: ``distribution="uniform"``, ``rules={"first": 0}`` and whatever else
            ``Allocation`` takes.

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
        **spread: Any,
    ) -> None:
        timeline.require_acdc()
        self.timeline = timeline
        self.allocation = Allocation.of(sparsity, **spread)
        self.reset_moments = reset_moments
        self.shares: list[Share] = []
        self._covered: Covered | None = None
        self._forget()

    def _forget(self) -> None:
        self.mask_change: float | None = None
        self._phase_start = -1
        self._has_masks = False
        self._dense_state: dict[str, Tensor] | None = None

    def attach(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Bind to a model (wrapped or not) and the optimizer or optimizers that train it, before the first step.

        Frozen weights are left alone: what is pruned has to be able to come back. Attached again, it begins anew.

        Returns:
            Itself.

        Raises:
            ValueError: if the model has nothing to prune, cannot take the sparsity, or has weights no optimizer holds.
            TypeError: for a wrapper around an optimizer that calls no hooks.
        """
        self.detach()
        self._forget()
        self._covered = covered = cover(model, optimizer, self.allocation)
        self.shares, self._masks = covered.shares, covered.masks
        covered.act(gradient_masks=covered.masks, is_held=True)
        return self

    def rebind(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Go on with a model of the same weights and another optimizer; see ``Method.rebind``. Returns itself."""
        if self._covered is None:
            return self.attach(model, optimizer)
        self._covered.rebind(model, optimizer)
        return self

    def detach(self) -> None:
        """Take the hooks off again: the weights stay as they are, and nothing holds them there any more."""
        if self._covered is not None:
            self._covered.release()

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
        self._masks.enforced = phase.kind == "sparse"
        if self._masks.enforced:
            if phase == self.timeline.last_sparse_phase():
                self._dense_state = model_state(self._covered.model)
            self._compress(self._covered)
        elif self.reset_moments and phase.start_epoch > 0:
            for state in self._covered.initial:
                state.reset()
        forget_directions(self._covered.optimizers)

    def _compress(self, covered: Covered) -> None:
        """Prune to the largest magnitudes, and note how far the masks moved since the last sparse phase."""
        previous = self._masks.snapshot() if self._has_masks else None
        self._masks.copy_(magnitude_masks(covered.weights, self.allocation, covered.ranked))
        check_same_on_every_rank(self._masks)
        self._masks.apply_(covered.weights)
        self._has_masks = True
        if previous is not None:
            self.mask_change = self._masks.change_from(previous)

    def work(self) -> Work:
        """AC/DC, C.2: 3f in a sparse phase; 2f + F in a dense one, where weight gradients are taken for all weights."""
        return alternating_work(self._masks.enforced)

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """``sparse``: the state now; ``dense``: the state at the end of the last dense phase. Detached copies.

        Raises:
            RuntimeError: before the last sparse phase has begun, when there is no final pair yet.
        """
        if self._covered is None or self._dense_state is None:
            raise RuntimeError(f"no outputs before the last sparse phase, {self.timeline.last_sparse_phase()}")
        dense = {name: tensor.clone() for name, tensor in self._dense_state.items()}
        return {"sparse": model_state(self._covered.model), "dense": dense}

    def state_dict(self) -> dict[str, Any]:
        """What a loop needs to go on, beside the model's and the optimizer's state: tensors and plain values."""
        return {
            "phase_start": self._phase_start,
            "is_sparse": self._masks.enforced,
            "has_masks": self._has_masks,
            "masks": self._masks.state_dict(),
            "dense_state": self._dense_state,
            "mask_change": self.mask_change,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._phase_start = state["phase_start"]
        self._has_masks = state["has_masks"]
        self._masks.load_state_dict(state["masks"])
        self._masks.enforced = state["is_sparse"]
        self._dense_state = state["dense_state"]
        self.mask_change = state.get("mask_change")  # states older than positions inside an epoch lack it
