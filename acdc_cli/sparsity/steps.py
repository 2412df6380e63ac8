"""Hooks around a step of an optimizer: before it, with its gradients there; after it; around its closure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import LBFGS, Optimizer

StepHook = Callable[[Optimizer, Any, Any], None]
PreHook = Callable[[Optimizer, Any, Any], tuple[Any, Any] | None]
Closure = Callable[[], Any]


def require_one_gradient(optimizers: list[Optimizer], method: str) -> None:
    """Raise ValueError for L-BFGS, where a method acts on the gradient of a step: its step takes many."""
    if any(isinstance(optimizer, LBFGS) for optimizer in optimizers):
        raise ValueError(
            f"LBFGS evaluates its closure many times in a step, which {method} cannot follow: it acts once a step, "
            "on its gradient; use SGD, Adam or another optimizer that takes one gradient a step"
        )


def with_gradients(action: StepHook) -> PreHook:
    """A hook for before the step that acts at once, or, of ``step(closure)``, right after the closure.

    Raises:
        RuntimeError: in a step that calls its closure again: by then the action has had its turn, and the weights may
            be others than those that gradients are taken at.
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
    """A hook for before the step that acts before each call of its closure but the first.

    L-BFGS moves the weights within its step, and evaluates the closure where it has moved them.
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
    """A step's arguments with another closure in place of theirs; None where they have none."""
    optimizer, *positional = args
    if positional and positional[0] is not None:
        return (optimizer, change(positional[0]), *positional[1:]), kwargs
    if kwargs.get("closure") is not None:
        return args, {**kwargs, "closure": change(kwargs["closure"])}
    return None


def unless_skipped(action: Callable[[], None]) -> StepHook:
    """A hook that acts unless a gradient scaler has the step skipped."""

    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # A scaler does not call ``step`` where gradients overflowed; a fused optimizer it does, and tells it to do
        # nothing.
        overflowed = getattr(optimizer, "found_inf", None)
        if overflowed is None or not overflowed.item():
            action()

    return hook
