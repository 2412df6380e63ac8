"""DSD: dense-sparse-dense training (Han et al., ICLR 2017, arXiv 1607.04381)."""

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


class DSD:
    """Train dense, prune the smallest weights and train the others, then let all weights train again (Algorithm 1).

    Pruned weights come back at zero. Both ends are kept: the sparse network before they do, and the dense one.

    Args:
        timeline: dense, sparse, dense.
        sparsity: of the sparse phase: a fraction (0.25 to 0.5 in the paper), N:M, or an ``Allocation``.
        spread: as ``ACDC``'s.

    Raises:
        ValueError: on a timeline of other phases.
    """

    mask_change = None

    def __init__(self, timeline: Timeline, sparsity: float | str | Allocation, **spread: Any) -> None:
        kinds = [phase.kind for phase in timeline.phases]
        if kinds != ["dense", "sparse", "dense"]:
            raise ValueError(f"dsd needs one dense, one sparse and one dense phase, not {', '.join(kinds)}")
        self.timeline, self.allocation = timeline, Allocation.of(sparsity, **spread)
        self.shares: list[Share] = []
        self._covered: Covered | None = None

    def attach(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Bind to a model and its optimizer; see ``ACDC.attach``. Returns itself."""
        self.detach()
        self._covered = covered = cover(model, optimizer, self.allocation)
        self.shares, self._masks = covered.shares, covered.masks
        self._has_masks, self._phase_start = False, -1
        self._sparse_state: dict[str, Tensor] | None = None
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
        """The sparse phase's, from then on."""
        return self._masks if self._has_masks else None

    def begin_epoch(self, epoch: int) -> None:
        """Prune, or let all weights train again, if a phase begins."""
        if self._covered is None:
            raise RuntimeError("attach(model, optimizer) comes before the first epoch")
        self._covered.begin_epoch(epoch)
        phase = self.timeline.phase(epoch)
        if phase.start_epoch == self._phase_start:
            return
        self._phase_start = phase.start_epoch
        self._masks.enforced = phase.kind == "sparse"
        if self._masks.enforced:
            self._masks.copy_(magnitude_masks(self._covered.weights, self.allocation, self._covered.ranked))
            check_same_on_every_rank(self._masks)
            self._masks.apply_(self._covered.weights)
            self._has_masks = True
        elif epoch > 0:
            self._sparse_state = model_state(self._covered.model)
        forget_directions(self._covered.optimizers)

    def work(self) -> Work:
        """3f in the sparse phase, else 2f + F, as AC/DC is charged."""
        return alternating_work(self._masks.enforced)

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """``sparse``: the end of the sparse phase; ``dense``: the state now.

        Raises:
            RuntimeError: before the sparse phase has ended.
        """
        if self._covered is None or self._sparse_state is None:
            raise RuntimeError("no outputs before the sparse phase has ended")
        sparse = {name: tensor.clone() for name, tensor in self._sparse_state.items()}
        return {"sparse": sparse, "dense": model_state(self._covered.model)}

    def state_dict(self) -> dict[str, Any]:
        """What a loop needs to go on, beside the model's and the optimizer's state: tensors and plain values."""
        return {
            "phase_start": self._phase_start,
            "is_sparse": self._masks.enforced,
            "has_masks": self._has_masks,
            "masks": self._masks.state_dict(),
            "sparse_state": self._sparse_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._phase_start = state["phase_start"]
        self._masks.load_state_dict(state["masks"])
        self._masks.enforced, self._has_masks = state["is_sparse"], state["has_masks"]
        self._sparse_state = state["sparse_state"]
