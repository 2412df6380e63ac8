"""Sparse variational dropout (Molchanov, Ashukha, Vetrov, ICML 2017, arXiv 1701.05369)."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

from acdc_cli.sparsity.allocate import Allocation, floor_of
from acdc_cli.sparsity.base import CoveringMethod
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.dropout_kl import kl_gradients, log_alpha
from acdc_cli.sparsity.hooks import Optimizers, average_over_ranks, check_same_on_every_rank
from acdc_cli.sparsity.method import model_state
from acdc_cli.sparsity.noisy_layers import ForwardHook, add_noise, drop_copied_hooks, is_training, layers_with
from acdc_cli.sparsity.rules import excluded
from acdc_cli.sparsity.steps import require_one_gradient
from acdc_cli.sparsity.target import AllocationError, require_fractions
from acdc_cli.sparsity.window import Window
from acdc_cli.sparsity.work import Work, dense_work

REPLICAS = (
    "sparse_vd: DataParallel passes through copies of the model, which are not told to put theta back after an "
    "evaluation; use DistributedDataParallel, or one GPU"
)


class SparseVD(CoveringMethod):
    """Every weight learns how noisy it may be; those that are mostly noise are zero outside training.

    In training a layer's output is drawn from the Gaussian that noisy weights give it (local reparameterization, of
    linear and of convolution layers): mean by theta, the layer's own weight, and variance by the same layer with
    squared inputs and sigma^2. A step adds the gradient of the KL divergence over the number of training samples. Any
    forward pass without gradients or in eval mode is noise-free and sees zeros where log alpha is at or above the
    threshold; theta is put back for the next training pass.

    log sigma^2 is a parameter group of the optimizer, without weight decay; that of theta stays, as in Gale et al.'s
    ResNet50. Attach before a learning-rate scheduler is made, so that it knows the group.

    Args:
        sparsity: what is hoped for: there is no setting it. Of an ``Allocation``, rules of 0 exclude layers, and
            ``min_layer_density`` keeps that share of a layer, lowest alpha first.
        samples: in the training set.
        ramp: steps between which the weight of the KL divergence rises linearly from 0.
        kl_weight: what it rises to; 1 is the evidence lower bound's own.
        log_alpha_threshold: 3 in the paper; lower prunes more.
        initial_log_sigma2: of every weight.
        distributed: as ``ACDC``'s.

    Raises:
        AllocationError: for N:M, blocks, and layers with a target of their own.
    """

    def __init__(
        self,
        sparsity: float | str | Allocation,
        *,
        samples: int,
        ramp: Window,
        kl_weight: float,
        log_alpha_threshold: float,
        initial_log_sigma2: float,
        **distributed: Any,
    ) -> None:
        self.allocation: Allocation
        super().__init__(Allocation.of(sparsity, **distributed))
        require_fractions(self.allocation.target, *self.allocation.rules.values(), method="sparse_vd")
        if self.allocation.block is not None:
            raise AllocationError("block: method sparse_vd prunes single weights")
        if any(self.allocation.rules.values()):
            raise AllocationError("rules: method sparse_vd has one threshold for all layers; a rule can only be 0")
        self.samples, self.ramp, self.kl_weight = samples, ramp, kl_weight
        self.log_alpha_threshold, self.initial_log_sigma2 = log_alpha_threshold, initial_log_sigma2
        self._before_epoch: dict[str, Tensor] | None = None

    def _check(self, model: nn.Module, covered: Covered) -> None:
        if isinstance(model, DataParallel) and len(model.device_ids) > 1:
            raise ValueError(REPLICAS)
        if len(covered.optimizers) > 1:
            raise ValueError("sparse_vd adds to the gradients of one optimizer's step, and these are several")
        require_one_gradient(covered.optimizers, "sparse_vd")
        layers_with(covered.model, _noisy_weights(covered))

    def _begin(self, covered: Covered) -> None:
        self._noisy = _noisy_weights(covered)
        self._step, self._epoch, self._before_epoch = 0, -1, None
        self._theta: dict[str, Tensor] | None = None  # where the model holds thresholded weights: all of them
        self._log_sigma2 = {
            name: nn.Parameter(torch.full_like(weight, self.initial_log_sigma2)) for name, weight in self._noisy.items()
        }
        covered.learn(list(self._log_sigma2.values()), weight_decay=0.0)
        covered.act(before=self._before_step, after=self._after_step)
        self._hook_layers(covered)

    def _hook_layers(self, covered: Covered) -> None:
        """Hooks of the model's forward passes, which belong to those that the method takes off."""
        covered.hooks += [
            covered.model.register_forward_pre_hook(self._before_forward(covered.model)),
            *(
                layer.register_forward_hook(add_noise(self._log_sigma2[name]))
                for layer, name in layers_with(covered.model, self._noisy)
            ),
        ]

    def rebind(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Go on with a model of the same weights and another optimizer; see ``Method.rebind``. Returns itself."""
        if self._covered is not None:
            self._restore()
        return super().rebind(model, optimizer)

    def _rebound(self, covered: Covered) -> None:
        self._noisy = {name: covered.weights[name] for name in self._noisy}
        self._hook_layers(covered)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Act on the copied model. Its layers have lost their hooks, and this object puts its own on."""
        vars(self).update(state)
        if self._covered is not None and self._covered.hooks:
            if "_modules" not in vars(self._covered.model):
                raise TypeError("sparse_vd cannot be copied as a part of its model; copy (model, optimizer, method)")
            drop_copied_hooks(self._covered.model)
            self._hook_layers(self._covered)

    def detach(self) -> None:
        """Take the hooks and log sigma^2 off again. The model keeps what the threshold leaves."""
        if self._covered is None or not self._covered.hooks:
            return
        self._threshold()
        self._masks.enforced = False
        self._covered.release()
        self._covered.unlearn()

    @property
    def mask_change(self) -> float | None:
        """The fraction of all covered weights that have crossed the threshold since the epoch began."""
        return None if self._before_epoch is None else self._masks.change_from(self._before_epoch)

    def begin_epoch(self, epoch: int) -> None:
        """Note where the epoch begins, on every rank the same."""
        if epoch == self._epoch:
            return
        if self._covered is not None:
            self._covered.begin_epoch(epoch)
        self._epoch = epoch
        self._restore()
        self._masks.copy_(self._kept())
        check_same_on_every_rank(self._masks)
        self._before_epoch = self._masks.snapshot() if self._step > 0 else None

    @torch.no_grad()
    def _kept(self) -> dict[str, Tensor]:
        """Masks of the model's weights: log alpha below the threshold, or among a layer's lowest."""
        assert self._covered is not None
        kept = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self._covered.weights.items()}
        for name, weight in self._noisy.items():
            rate = log_alpha(weight, self._log_sigma2[name].to(weight))
            kept[name] = rate < self.log_alpha_threshold
            if floor := floor_of(self.allocation.min_layer_density, weight.numel()):
                kept[name] |= rate <= rate.flatten().kthvalue(floor).values
        return kept

    @torch.no_grad()
    def _threshold(self) -> None:
        """Leave the model with thresholded weights."""
        if self._theta is None:
            self._masks.copy_(self._kept())
            self._theta = {name: weight.detach().clone() for name, weight in self._noisy.items()}
            for name, weight in self._noisy.items():
                self._masks.apply_to_(name, weight)
            self._masks.enforced = True

    @torch.no_grad()
    def _restore(self) -> None:
        """Leave the model with all of theta."""
        if self._theta is not None:
            for name, weight in self._noisy.items():
                weight.copy_(self._theta[name])
            self._theta, self._masks.enforced = None, False

    def _before_forward(self, model: nn.Module) -> ForwardHook:
        from acdc_cli.sparsity.uncompiled_hook import UncompiledForwardHook  # slow to import, for this method alone

        def hook(module: nn.Module, inputs: Any) -> None:
            if getattr(module, "_is_replica", False):
                raise RuntimeError(REPLICAS)
            if module is model:
                self._restore() if is_training(module) else self._threshold()

        return UncompiledForwardHook(hook)

    @torch.no_grad()
    def _before_step(self) -> None:
        """Add the gradient of the KL divergence, scaled as the gradients are that are there."""
        assert self._covered is not None
        self._restore()
        self._require_noise()
        average_over_ranks([each.grad for each in self._log_sigma2.values() if each.grad is not None])
        scale = self.kl_weight * self.ramp.progress(self._step) / self.samples
        unscaled = getattr(self._covered.optimizers[0], "grad_scale", None)  # a fused optimizer unscales by itself
        for name, weight in self._noisy.items():
            log_sigma2 = self._log_sigma2[name]
            if weight.grad is None or log_sigma2.grad is None:
                continue  # not reached by this step's loss
            by_theta, by_log_sigma2 = kl_gradients(weight, log_sigma2.to(weight))
            factor = scale if unscaled is None else scale * unscaled.to(weight.device)
            weight.grad.add_(by_theta * factor)
            log_sigma2.grad.add_((by_log_sigma2 * factor).to(log_sigma2))

    def _require_noise(self) -> None:
        """A weight that learns without noise would be pruned without having been asked."""
        for name, weight in self._noisy.items():
            if weight.grad is not None and self._log_sigma2[name].grad is None:
                raise RuntimeError(
                    f"{name}: its gradient came without noise: its layer was in eval mode, or its weight was used "
                    "without calling the layer (attention does); exclude it by a rule of 0"
                )

    def _after_step(self) -> None:
        self._step += 1

    def work(self) -> Work:
        """Twice a dense step: every pass is done for the means and for the variances (AC/DC, appendix B.5)."""
        return dense_work(passes=2)

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """The thresholded model, and theta, which AC/DC's Table 14 compares it with. RuntimeError before ``attach``."""
        if self._covered is None:
            raise RuntimeError("attach(model, optimizer) comes first")
        was_training = self._theta is None
        self._restore()
        dense = model_state(self._covered.model)
        self._threshold()
        sparse = model_state(self._covered.model)
        if was_training:
            self._restore()
        return {"sparse": sparse, "dense": dense}

    def state_dict(self) -> dict[str, Any]:
        """Return what a loop needs to go on, beside the model's and the optimizer's state: tensors and plain values."""
        return {
            "step": self._step,
            "epoch": self._epoch,
            "masks": self._masks.state_dict(),
            "log_sigma2": {name: each.detach().clone() for name, each in self._log_sigma2.items()},
            "theta": self._theta,
            "before_epoch": self._before_epoch,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._step, self._epoch, self._before_epoch = state["step"], state["epoch"], state["before_epoch"]
        self._masks.load_state_dict(state["masks"])
        self._theta, self._masks.enforced = state["theta"], state["theta"] is not None
        for name, each in self._log_sigma2.items():
            each.copy_(state["log_sigma2"][name])


def _noisy_weights(covered: Covered) -> dict[str, nn.Parameter]:
    """Return the weights that learn how noisy they may be: all but those that stay dense."""
    dense = excluded(covered.shares)
    return {name: weight for name, weight in covered.weights.items() if name not in dense}
