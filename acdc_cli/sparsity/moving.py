"""Masks that move between two steps: everything that the methods which do so have in common.

What differs between them is a ``MaskUpdate``: when masks move, and where they move to. The object here holds what must
survive: the masks, the number of steps done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.base import CoveringMethod
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.hooks import check_same_on_every_rank, is_compared
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.moments import forget_directions
from acdc_cli.sparsity.steps import require_one_gradient
from acdc_cli.sparsity.work import Work, sparse_work

Masks = dict[str, Tensor]  # name -> bool, True where the weight exists
Choose = Callable[[Covered, int], Masks]  # (weights with their masks and gradients, steps done) -> new masks
When = Callable[[int], bool]  # steps done -> whether


def never(step: int) -> bool:
    """At no step."""
    return False


@dataclass(frozen=True)
class MaskUpdate:
    """When a method's masks move, and where they move to.

    Attributes:
        at_start: the first masks, chosen as the method is attached; None: dense until a step chooses.
        when_by_weights, by_weights: the steps after which new masks are chosen, by the weights. Before the first step
            counts as after step 0.
        when_epoch_begins: the epochs (0-based) at whose beginning ``by_weights`` chooses, given the epoch in place of
            the steps; it may move the weights as well.
        when_by_gradients, by_gradients: the steps before which new masks are chosen by ``weight.grad``, which then has
            the gradients of all weights, over all ranks and passes.
        replaces_step: whether the optimizer leaves out a step that chose masks by gradients.
        is_hard_threshold: all weights move with every step, and choosing masks is what sets some to zero; else what is
            outside the masks is held at zero, and what comes back begins there with an optimizer state of its own:
            the initial one.
    """

    at_start: Choose | None = None
    when_by_weights: When = never
    by_weights: Choose | None = None
    when_epoch_begins: When = never
    when_by_gradients: When = never
    by_gradients: Choose | None = None
    replaces_step: bool = False
    is_hard_threshold: bool = False


class MovingMasks(CoveringMethod):
    """A sparse method (see ``method.Method``) whose masks follow a ``MaskUpdate``. It makes no dense model.

    Args:
        allocation: how much is removed, and how that is spread.
        update: when masks move, and where to.
    """

    def __init__(self, allocation: Allocation, update: MaskUpdate) -> None:
        super().__init__(allocation)
        self.update = update
        self._forget()

    def _forget(self) -> None:
        self._step, self._epoch = 0, -1
        self._epoch_step, self._epoch_dense_gradients = 0, 0  # how many of the epoch's steps took all gradients
        self._before_epoch: Masks | None = None
        self._compared_at: int | None = None

    def _check(self, model: nn.Module, covered: Covered) -> None:
        if self.update.by_gradients is not None or self.update.is_hard_threshold:
            require_one_gradient(covered.optimizers, "this sparse method")

    def _begin(self, covered: Covered) -> None:
        self._forget()
        first = None if self.update.at_start is None else self.update.at_start(covered, 0)
        is_held = not self.update.is_hard_threshold
        covered.act(
            gradient_masks=covered.masks if is_held else None,
            is_held=is_held,
            before=None if self.update.by_gradients is None else self._before_step,
            after=self._after_step,
        )
        if first is not None:
            self._take_over(covered, first)
        self._masks.dense_gradients = self._wants_gradients()

    @property
    def masks(self) -> MaskSet | None:
        """The masks now; None while there are none."""
        return self._masks if self._masks.enforced else None

    @property
    def mask_change(self) -> float | None:
        """The fraction of all covered weights whose mask has changed since the epoch began; None in the first epoch."""
        return None if self._before_epoch is None else self._masks.change_from(self._before_epoch)

    def begin_epoch(self, epoch: int) -> None:
        """Note where the epoch begins; there, and before the very first step, masks may be due."""
        if epoch == self._epoch:
            return
        if self._covered is not None:
            self._covered.begin_epoch(epoch)
        self._epoch, self._compared_at = epoch, None
        self._epoch_step = self._epoch_dense_gradients = 0
        self._before_epoch = self._masks.snapshot() if self._step > 0 and self._masks.enforced else None
        if self._step == 0:
            self._choose_by_weights()
        if self._covered is not None and self.update.by_weights is not None and self.update.when_epoch_begins(epoch):
            self._take_over(self._covered, self.update.by_weights(self._covered, epoch))

    def _wants_gradients(self) -> bool:
        return self.update.is_hard_threshold or self.update.when_by_gradients(self._step)

    def _before_step(self) -> None:
        covered, update = self._covered, self.update
        assert covered is not None
        if update.by_gradients is None or not update.when_by_gradients(self._step):
            return
        self._take_over(covered, update.by_gradients(covered, self._step))
        self._masks.dense_gradients = False
        for parameters in (group["params"] for optimizer in covered.optimizers for group in optimizer.param_groups):
            for parameter in parameters if update.replaces_step else ():
                parameter.grad = None  # every optimizer passes over it
        for name, weight in covered.weights.items():
            if weight.grad is not None:
                self._masks.apply_to_(name, weight.grad)

    def _after_step(self) -> None:
        self._epoch_dense_gradients += self._wants_gradients()
        self._step += 1
        self._epoch_step += 1
        self._choose_by_weights()
        self._masks.dense_gradients = self._wants_gradients()

    def _choose_by_weights(self) -> None:
        if self._covered is not None and self.update.by_weights is not None and self.update.when_by_weights(self._step):
            self._take_over(self._covered, self.update.by_weights(self._covered, self._step))

    def _take_over(self, covered: Covered, masks: Masks) -> None:
        """Make these the masks, on every rank the same."""
        for name, weight in covered.weights.items():
            if self._masks.enforced and not self.update.is_hard_threshold:
                changed = masks[name] != self._masks[name].to(masks[name].device)
                for state in covered.initial:
                    state.begin_anew(weight, changed)
        forget_directions(covered.optimizers)
        self._masks.copy_(masks)
        if is_compared(self._step, self._compared_at):
            check_same_on_every_rank(self._masks)
            self._compared_at = self._step
        self._masks.enforced = True
        self._masks.apply_(covered.weights)

    def work(self) -> Work:
        """3f, and F - f more for a step that takes the gradients of all weights.

        f is that of the connections: right after a move, which may be where an epoch ends, new ones are still zeros.
        """
        share = self._epoch_dense_gradients / self._epoch_step if self._epoch_step else 0.0
        is_held = self._masks.enforced and not self.update.is_hard_threshold
        connections = self._masks.kept_per_layer() if is_held else None
        return sparse_work(share, forward_weights=connections)

    def state_dict(self) -> dict[str, Any]:
        """What a loop needs to go on, beside the model's and the optimizer's state: tensors and plain values."""
        return {
            "step": self._step,
            "epoch": self._epoch,
            "epoch_steps": [self._epoch_step, self._epoch_dense_gradients],
            "is_sparse": self._masks.enforced,
            "masks": self._masks.state_dict(),
            "before_epoch": self._before_epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._step, self._epoch, self._compared_at = state["step"], state["epoch"], None
        self._epoch_step, self._epoch_dense_gradients = state["epoch_steps"]
        self._masks.load_state_dict(state["masks"])
        self._masks.enforced, self._before_epoch = state["is_sparse"], state["before_epoch"]
        self._masks.dense_gradients = self._wants_gradients()
