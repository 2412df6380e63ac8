"""Hooks around an optimizer's step: before the step, when its gradients exist; after the step; around its closure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import LBFGS, Optimizer

StepHook = Callable[[Optimizer, Any, Any], None]
PreHook = Callable[[Optimizer, Any, Any], tuple[Any, Any] | None]
Closure = Callable[[], Any]


def require_one_gradient(optimizers: list[Optimizer], method: str) -> None:
    """Raise ValueError for L-BFGS. It evaluates many gradients in a step, and the method needs exactly one."""
    if any(isinstance(optimizer, LBFGS) for optimizer in optimizers):
        raise ValueError(
            f"LBFGS evaluates its closure many times in a step, which {method} cannot follow, because it acts on one "
            "gradient a step; use SGD, Adam or another optimizer that takes one gradient a step"
        )


def with_gradients(action: StepHook) -> PreHook:
    """Return a step pre-hook that calls the action once the step's gradients exist.

    For ``step()`` this is at once; for ``step(closure)`` it is right after the closure.

    Raises:
        RuntimeError: in a step that calls its closure a second time. The action would miss those gradients, and the
            optimizer may have moved the weights in between.
    """

    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        def and_action(closure: Closure) -> Closure:
            is_called = False

            def closure_and_action() -> Any:
                nonlocal is_called
                if is_called:
                    raise RuntimeError(
                        f"{type(optimizer).__name__} calls its closure twice in a step, which this sparse method "
                        "cannot follow; use an optimizer that takes one gradient a step"
                    )
                is_called = True
                loss = closure()
                action(optimizer, args, kwargs)
                return loss

            return closure_and_action

        changed = _with_closure(args, kwargs, and_action)
        if changed is None:
            action(optimizer, args, kwargs)
        return changed

    return hook


def before_further_closures(action: Callable[[], None]) -> PreHook:
    """Return a step pre-hook that calls the action before every call of the closure except the first.

    L-BFGS moves the weights within its step and evaluates the closure at the moved weights.
    """

    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        def action_and(closure: Closure) -> Closure:
            is_called = False

            def action_and_closure() -> Any:
                nonlocal is_called
                if is_called:
                    action()
                is_called = True
                return closure()

            return action_and_closure

        return _with_closure(args, kwargs, action_and)

    return hook


def _with_closure(args: Any, kwargs: Any, change: Callable[[Closure], Closure]) -> tuple[Any, Any] | None:
    """Return the arguments of a step with its closure changed; None if they have no closure."""
    optimizer, *positional = args
    if positional and positional[0] is not None:
        return (optimizer, change(positional[0]), *positional[1:]), kwargs
    if kwargs.get("closure") is not None:
        return args, {**kwargs, "closure": change(kwargs["closure"])}
    return None


def unless_skipped(action: Callable[[], None]) -> StepHook:
    """Return a step post-hook that calls the action unless a gradient scaler has skipped the step."""

    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # If gradients overflowed, a scaler does not call ``step`` at all. Fused optimizers are the exception: the
        # scaler calls ``step`` and sets ``found_inf``, and the optimizer then does nothing.
        overflowed = getattr(optimizer, "found_inf", None)
        if overflowed is None or not overflowed.item():
            action()

    return hook
