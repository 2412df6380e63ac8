"""Top-KAST: Top-K Always Sparse Training (Jayakumar et al., NeurIPS 2020, arXiv 2106.03517)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.base import CoveringMethod
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.hooks import check_same_on_every_rank, is_compared
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.select import magnitude_masks
from acdc_cli.sparsity.steps import require_one_gradient
from acdc_cli.sparsity.target import AllocationError, Pattern, require_fractions
from acdc_cli.sparsity.work import Work, sparse_work


class TopKAST(CoveringMethod):
    """The forward pass uses the largest weights A, the backward pass updates a superset B of them (section 2).

    All weights are stored. Between two steps the model holds those of A and zeros, so that every forward pass is
    sparse; the others are kept here, and put back for the length of a step of the optimizer, whose gradients are
    masked to B. What is outside B does not move.

    The exploration regulariser (section 2) puts L2 decay of 1/D times as much on B without A as the optimizer's own
    ``weight_decay`` puts on A, D being the density of A over the weights that are ranked together; so a weight in B has
    to grow to get into A. Where the decay is decoupled (AdamW), so is this. The regulariser does not penalise C, the
    weights outside B, at all: the optimizer sees zeros in their place, so that its own decay reaches neither them nor
    their momentum, with which a weight would come back into B.

    Args:
        sparsity: of A: a fraction, or an ``Allocation``.
        backward_sparsity: of B, at most that of A; 0 updates all weights.
        interval: steps after which A and B are chosen anew.
        distributed: as ``ACDC``'s.

    Raises:
        AllocationError: for N:M, or a B that is smaller than A.
    """

    def __init__(
        self, sparsity: float | str | Allocation, *, backward_sparsity: float, interval: int = 1, **distributed: Any
    ) -> None:
        self.allocation: Allocation
        super().__init__(Allocation.of(sparsity, **distributed))
        targets = (self.allocation.target, *self.allocation.rules.values())
        require_fractions(*targets, method="top_kast")
        if not 0 <= backward_sparsity <= max(target for target in targets if not isinstance(target, Pattern)):
            raise AllocationError(f"backward_sparsity {backward_sparsity} is outside [0, {self.allocation.target}]")
        self.backward_sparsity, self.interval = backward_sparsity, interval
        self._backward = MaskSet({})
        self._before_epoch: dict[str, Tensor] | None = None

    def _check(self, model: nn.Module, covered: Covered) -> None:
        if len(covered.optimizers) > 1:
            raise ValueError("top_kast swaps weights around each step of one optimizer, and these are several")
        require_one_gradient(covered.optimizers, "top_kast")

    def _begin(self, covered: Covered) -> None:
        self._step, self._epoch = 0, -1
        self._compared_at: int | None = None
        self._backward, self._before_epoch = MaskSet(covered.weights), None
        self._stored = {name: weight.detach().clone() for name, weight in covered.weights.items()}
        self._masks.enforced = self._backward.enforced = True
        covered.act(gradient_masks=self._backward, before=self._before_step, after=self._after_step)
        self._choose(covered)
        self._densities = self._forward_densities(covered)

    def _rebound(self, covered: Covered) -> None:
        self._leave_forward_weights(covered)

    @property
    def mask_change(self) -> float | None:
        """The fraction of all covered weights that have entered or left the set A since the epoch began."""
        return None if self._before_epoch is None else self._masks.change_from(self._before_epoch)

    def begin_epoch(self, epoch: int) -> None:
        """Note where the epoch begins."""
        if epoch == self._epoch:
            return
        if self._covered is not None:
            self._covered.begin_epoch(epoch)
        self._epoch, self._compared_at = epoch, None
        self._before_epoch = self._masks.snapshot() if self._step > 0 else None

    @torch.no_grad()
    def _choose(self, covered: Covered) -> None:
        """A = the largest weights under the allocation; B = the largest at the smaller sparsity, which holds A."""
        wider = [self._backward_share(share) for share in covered.ranked]
        self._masks.copy_(magnitude_masks(self._stored, self.allocation, covered.ranked))
        self._backward.copy_(magnitude_masks(self._stored, self.allocation, wider))
        if is_compared(self._step, self._compared_at):
            check_same_on_every_rank(self._masks)
            self._compared_at = self._step
        self._leave_forward_weights(covered)

    @torch.no_grad()
    def _leave_forward_weights(self, covered: Covered) -> None:
        """Leave the model with the stored weights of A, and zeros."""
        for name, weight in covered.weights.items():
            weight.copy_(self._stored[name])
        self._masks.apply_(covered.weights)

    def _backward_share(self, share: Share) -> Share:
        if share.target is None or isinstance(share.target, Pattern):
            return share
        return replace(share, target=min(self.backward_sparsity, share.target))

    def _forward_densities(self, covered: Covered) -> dict[str, float]:
        """D by name: of the weights that are ranked together, so that a layer left with few is not torn at."""
        kept = self._masks.kept_per_layer()
        densities: dict[str, float] = {}
        for share in covered.ranked:
            together = [share.names] if self.allocation.distribution == "global" else [(name,) for name in share.names]
            for names in together:
                count = sum(covered.weights[name].numel() for name in names)
                densities |= dict.fromkeys(names, max(1, sum(kept[name] for name in names)) / count)
        return densities

    @torch.no_grad()
    def _before_step(self) -> None:
        """Put the weights of B back, and let the exploration regulariser pull at those that A has not.

        Weights outside B stay 0 for the step: a coupled decay adds ``weight_decay * weight`` to the gradient, and from
        there to every moment buffer, and of a weight of 0 that is 0.
        """
        assert self._covered is not None
        (optimizer,) = self._covered.optimizers
        group_of = {id(weight): group for group in optimizer.param_groups for weight in group["params"]}
        scale = getattr(optimizer, "grad_scale", None)  # a fused optimizer takes it out of the gradients by itself
        for name, weight in self._covered.weights.items():
            self._stored[name] = self._stored[name].to(weight)  # wherever the model has moved to
            weight.copy_(self._stored[name])
            self._backward.apply_to_(name, weight)
            group = group_of[id(weight)]
            if weight.grad is None or not (decay := group.get("weight_decay", 0.0)):
                continue
            explored = (self._backward[name] & ~self._masks[name]).to(weight.device)
            if group.get("decoupled_weight_decay"):
                factor = (1 - group["lr"] * decay / self._densities[name]) / (1 - group["lr"] * decay)
                weight.copy_(torch.where(explored, weight * factor, weight))
            else:
                more = decay * (1 / self._densities[name] - 1) * (-1 if group.get("maximize") else 1)
                pull = weight * (more if scale is None else more * scale)
                weight.grad.add_(pull.masked_fill_(~explored, 0.0))

    @torch.no_grad()
    def _after_step(self) -> None:
        """Keep what has moved inside B, and leave the model with A."""
        covered = self._covered
        assert covered is not None
        self._step += 1
        for name, weight in covered.weights.items():
            moves = self._backward[name].to(weight.device)
            self._stored[name].copy_(torch.where(moves, weight, self._stored[name]))
        if self._step % self.interval == 0:
            self._choose(covered)
        else:
            self._leave_forward_weights(covered)

    def work(self) -> Work:
        """2f, and weight gradients for B."""
        return sparse_work(weight_gradient_weights=self._backward.kept_per_layer())

    def state_dict(self) -> dict[str, Any]:
        """Return what a loop needs to go on, beside the model's and the optimizer's state: tensors and plain values."""
        return {
            "step": self._step,
            "epoch": self._epoch,
            "masks": self._masks.state_dict(),
            "backward": self._backward.state_dict(),
            "stored": self._stored,
            "before_epoch": self._before_epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._step, self._epoch, self._before_epoch = state["step"], state["epoch"], state["before_epoch"]
        self._compared_at = None
        self._masks.load_state_dict(state["masks"])
        self._backward.load_state_dict(state["backward"])
        for name, stored in self._stored.items():
            stored.copy_(state["stored"][name])
