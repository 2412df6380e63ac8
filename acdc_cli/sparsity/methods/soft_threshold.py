"""STR: Soft Threshold Weight Reparameterization (Kusupati et al., ICML 2020, arXiv 2002.03231)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.base import CoveringMethod
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.hooks import check_same_on_every_rank
from acdc_cli.sparsity.steps import require_one_gradient
from acdc_cli.sparsity.target import AllocationError
from acdc_cli.sparsity.work import Work, sparse_work


def soft_threshold(weight: Tensor, threshold: Tensor) -> Tensor:
    """sign(w) relu(|w| - threshold), what the network computes with; written so that no zero is a -0.0.

    Args:
        weight: of any shape.
        threshold: a scalar, not negative: g(s), g being the sigmoid.
    """
    return weight - weight.clamp(-threshold, threshold)


def s_gradient(gradient: Tensor, effective: Tensor, s: Tensor) -> Tensor:
    """dL/ds = -g'(s) times the sum of G sign(w) over |w| > g(s), with g' = g (1 - g); a scalar of the type of s.

    Args:
        gradient: G = dL/d(effective), of the weight's shape.
        effective: ``soft_threshold(w, g(s))``, which is 0 exactly where |w| <= g(s).
        s: a scalar.
    """
    threshold = s.sigmoid()
    pull = (gradient * effective.sign()).sum(dtype=s.dtype).to(s.device)
    return -threshold * (1 - threshold) * pull


class SoftThreshold(CoveringMethod):
    """Every layer learns the threshold g(s) = sigmoid(s) below which its weights are zero (section 3).

    All weights w are stored. Between two steps the model holds ``soft_threshold(w, g(s))``, so that every pass is that
    of a plain sparse network; for the length of a step of the optimizer w is put back, with its gradient. The layers' s
    are one vector in a parameter group of its own: it has the optimizer's momentum or moments, the learning rate that
    the loop gives every group, and a weight decay, which pulls s towards 0 and so the threshold up; the loss pushes
    back. A weight below the threshold gets no gradient, its own decay acts on it all the same.

    How sparse that ends cannot be asked for: it follows from ``s_init``, ``s_weight_decay``, rate and steps.

    Make a learning rate scheduler after ``attach``: one that exists already knows nothing of the new group.

    Args:
        s_init: every layer's s at the start. Below about -100 sigmoid(s) is exactly 0 in float32: the network is dense
            until the decay has brought s nearer.
        s_weight_decay: of s.
        rules: which layers stay dense, each with 0; see ``rules.share_out``.

    Raises:
        AllocationError: for a rule with a target other than 0.
    """

    def __init__(self, *, s_init: float, s_weight_decay: float, rules: Mapping[str, Any] | None = None) -> None:
        self.allocation: Allocation
        super().__init__(Allocation.of(0.0, rules=rules or {}))
        for rule, target in self.allocation.rules.items():
            if target != 0:
                raise AllocationError(f"{rule}: {target}: str learns how sparse a layer gets; a rule can say 0, dense")
        self.s_init, self.s_weight_decay = s_init, s_weight_decay
        self._before_epoch: dict[str, Tensor] | None = None

    def _check(self, model: nn.Module, covered: Covered) -> None:
        if len(covered.optimizers) > 1:
            raise ValueError("str swaps weights around each step of one optimizer, and these are several")
        require_one_gradient(covered.optimizers, "str")

    def _begin(self, covered: Covered) -> None:
        self._step, self._epoch, self._before_epoch = 0, -1, None
        pruned = {name for share in covered.ranked if share.target is not None for name in share.names}
        self._stored = {name: weight.detach().clone() for name, weight in covered.weights.items() if name in pruned}
        first = next(iter(self._stored.values()))
        dtype = torch.promote_types(first.dtype, torch.float32)
        self._s = nn.Parameter(torch.full((len(self._stored),), self.s_init, dtype=dtype, device=first.device))
        (its_optimizer,) = covered.optimizers
        rate = its_optimizer.param_groups[0]["lr"]
        covered.learn([self._s], lr=rate, weight_decay=self.s_weight_decay)
        self._masks.enforced = True
        covered.act(gradient_masks=self._masks, before=self._before_step, after=self._after_step)
        self._shrink(covered)

    def _rebound(self, covered: Covered) -> None:
        self._shrink(covered)

    def detach(self) -> None:
        """Take the hooks off again, and s out of the optimizer. The model keeps the thresholded weights."""
        super().detach()
        if self._covered is not None:
            self._covered.unlearn()

    @property
    def thresholds(self) -> dict[str, float]:
        """g(s), by the name of the layer's weight."""
        return dict(zip(self._stored, self._s.detach().sigmoid().tolist(), strict=True))

    @property
    def mask_change(self) -> float | None:
        """The fraction of all covered weights that were on the other side of the threshold when the epoch began."""
        return None if self._before_epoch is None else self._masks.change_from(self._before_epoch)

    def begin_epoch(self, epoch: int) -> None:
        """Note where the epoch begins."""
        if epoch == self._epoch:
            return
        if self._covered is not None:
            self._covered.begin_epoch(epoch)
        self._epoch = epoch
        self._before_epoch = self._masks.snapshot() if self._step > 0 else None
        check_same_on_every_rank(self._masks)

    @torch.no_grad()
    def _before_step(self) -> None:
        """The gradient of s from that of the weights, which the hooks have masked by now; then all weights back."""
        assert self._covered is not None
        gradients = torch.zeros_like(self._s)
        for index, name in enumerate(self._stored):
            weight = self._covered.weights[name]
            if weight.grad is not None:
                gradients[index] = s_gradient(weight.grad, weight, self._s[index])
            self._stored[name] = self._stored[name].to(weight)  # wherever the model has moved to
            weight.copy_(self._stored[name])
        self._s.grad = gradients

    @torch.no_grad()
    def _after_step(self) -> None:
        """Keep what has moved, and leave the model with what is above the new thresholds."""
        covered = self._covered
        assert covered is not None
        self._step += 1
        self._s.grad = None  # a gradient scaler looks through all gradients of its optimizer before the next step
        for name, stored in self._stored.items():
            stored.copy_(covered.weights[name])
        self._shrink(covered)

    @torch.no_grad()
    def _shrink(self, covered: Covered) -> None:
        masks = dict(self._masks.items())
        for threshold, (name, stored) in zip(self._s.sigmoid(), self._stored.items(), strict=True):
            weight = covered.weights[name]
            weight.copy_(soft_threshold(stored, threshold.to(stored)))
            masks[name] = weight != 0
        self._masks.copy_(masks)

    def work(self) -> Work:
        """3f: the gradients of w and of s take those of the weights above the threshold alone."""
        return sparse_work()

    def state_dict(self) -> dict[str, Any]:
        """Return what a loop needs to go on, beside the model's and the optimizer's state: tensors and plain values."""
        return {
            "step": self._step,
            "epoch": self._epoch,
            "s": self._s.detach(),
            "stored": self._stored,
            "masks": self._masks.state_dict(),
            "before_epoch": self._before_epoch,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._step, self._epoch, self._before_epoch = state["step"], state["epoch"], state["before_epoch"]
        self._s.copy_(state["s"])
        self._masks.load_state_dict(state["masks"])
        for name, stored in self._stored.items():
            stored.copy_(state["stored"][name])
