"""What a method prunes: the weights that an allocation covers, their masks, and the optimizers that move them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from acdc_cli.sparsity.allocate import Allocation, shares_of
from acdc_cli.sparsity.coverage import warn_of_uncovered
from acdc_cli.sparsity.hooks import Optimizers, optimizers_of
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import plain_model
from acdc_cli.sparsity.prunable import WHAT_IS_PRUNABLE, prunable_layers, prunable_weights
from acdc_cli.sparsity.rules import Share


@dataclass
class Covered:
    """A model as a method sees it.

    Attributes:
        model: out of its wrappers.
        weights: those that some target is for, those that stay dense included, frozen ones not.
        shares: which of them share which target; frozen ones are in a share of their own, without a target.
        masks: all ones, not enforced.
        hooks: what ``release`` takes off again.
    """

    model: nn.Module
    weights: dict[str, nn.Parameter]
    shares: list[Share]
    masks: MaskSet
    optimizers: list[Optimizer]
    hooks: list[RemovableHandle] = field(default_factory=list)

    @property
    def ranked(self) -> list[Share]:
        """The shares that masks are chosen for."""
        return [share for share in self.shares if share.why_dense != "frozen"]

    def at_each_step(self, before: Callable[[], None] | None = None, after: Callable[[], None] | None = None) -> None:
        """Call these around each step; one that a gradient scaler skips is none.

        Several optimizers step in the order in which they were given: before the first of them, after the last. A step
        that computes its gradients itself, by a closure, is begun where it has them.
        """
        if before is not None:
            self.hooks.append(self.optimizers[0].register_step_pre_hook(_with_gradients(_unless_skipped(before))))
        if after is not None:
            self.hooks.append(self.optimizers[-1].register_step_post_hook(_unless_skipped(after)))

    def release(self) -> None:
        """Take all hooks off."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


StepHook = Callable[[Optimizer, Any, Any], None]


def _with_gradients(action: StepHook) -> Callable[[Optimizer, Any, Any], tuple[Any, Any] | None]:
    """A hook for before the step that acts at once, or, of ``step(closure)``, right after the closure.

    Raises:
        RuntimeError: in a step that calls its closure again, as LBFGS does: by then the action has had its turn, and
            the weights may be others than those that gradients are taken at.
    """

    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        _, *positional = args  # the first is the optimizer
        closure = positional[0] if positional else kwargs.get("closure")
        if closure is None:
            action(optimizer, args, kwargs)
            return None
        is_called = False

        def closure_and_action() -> Any:
            nonlocal is_called
            if is_called:
                raise RuntimeError(
                    f"{type(optimizer).__name__} calls its closure twice in a step, which this sparse method cannot "
                    "follow; use an optimizer that takes one gradient a step"
                )
            is_called = True
            loss = closure()
            action(optimizer, args, kwargs)
            return loss

        if positional:
            return (optimizer, closure_and_action, *positional[1:]), kwargs
        return args, {**kwargs, "closure": closure_and_action}

    return hook


def _unless_skipped(action: Callable[[], None]) -> StepHook:
    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # A scaler does not call ``step`` where gradients overflowed; a fused optimizer it does, and tells it to do
        # nothing.
        overflowed = getattr(optimizer, "found_inf", None)
        if overflowed is None or not overflowed.item():
            action()

    return hook


def cover(model: nn.Module, optimizer: Optimizers, allocation: Allocation) -> Covered:
    """Find what an allocation covers in a model (wrapped or not).

    Frozen weights are left alone: what is pruned has to be able to come back. A warning names the weights that no
    method can prune.

    Raises:
        ValueError: if the model has nothing to prune, cannot take the allocation, or has weights no optimizer holds.
        TypeError: for a wrapper around an optimizer that calls no hooks.
    """
    model = plain_model(model)
    weights = prunable_weights(model, embeddings=True)
    frozen = tuple(name for name, weight in weights.items() if not weight.requires_grad)
    layers = prunable_layers(model, embeddings=True)
    trained = {name: layer for name, layer in layers.items() if name not in frozen}
    if all(layer.is_table for layer in trained.values()):
        raise ValueError(f"the model has no {WHAT_IS_PRUNABLE} layer to prune that is trained")
    shares = shares_of(trained, allocation)
    names = {name for share in shares for name in share.names}
    covered = {name: weight for name, weight in weights.items() if name in names}
    shares += [Share(frozen, None, "frozen")] if frozen else []
    optimizers = optimizers_of(optimizer, covered)
    warn_of_uncovered(model, callers=2)
    return Covered(model, covered, shares, MaskSet(covered), optimizers)
