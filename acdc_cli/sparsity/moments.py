"""The initial state of an optimizer, to which a reset returns it and with which a new connection begins."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

PROBE_LENGTH = 2  # length of every axis of the small tensor that stands for a weight


class InitialState:
    """Resets an optimizer's state to its initial values, either all of it or at some elements of a weight.

    The initial values come from a new optimizer of the same class with the same options, so they are right for any
    optimizer, without a list of names. State that an optimizer makes only in its first step is read from such a step
    on a small tensor of zeros with a gradient of zero. Adagrad's sums, for example, begin at
    ``initial_accumulator_value``, and the step sizes of Rprop at the learning rate.

    Some classes cannot be constructed from their options alone. For these, the reset returns to the state at the time
    this object was made, which must be before the first step, and new connections begin at 0.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._at_first: tuple[dict[Tensor, Any], list[Any]] | None = None
        if self._new() is None:
            steps = [copy.deepcopy(group.get("step")) for group in optimizer.param_groups]
            self._at_first = ({key: copy.deepcopy(state) for key, state in optimizer.state.items()}, steps)

    def _new(self) -> Optimizer | None:
        return _new_like(self._optimizer, [(group, group["params"]) for group in self._optimizer.param_groups])

    def reset(self) -> None:
        """Reset the whole state to its initial values, including step counters in the state and in parameter groups.

        The next step is then like a first step. The reset does not look at ``.grad``. The reset of AC/DC's reference
        code skips parameters without a gradient, and since PyTorch 2.0 these are all parameters.

        In PyTorch 2.15, fused SGD with momentum uses an uninitialized buffer if a gradient scaler skips its first step.
        Every reset is followed by such a first step, so use foreach SGD with fp16.
        """
        optimizer, groups = self._optimizer, self._optimizer.param_groups
        if self._at_first is not None:
            self._reset_to(*self._at_first)
            return
        new = self._new()
        assert new is not None
        optimizer.state.clear()
        optimizer.state.update(new.state)
        for group, initial in zip(groups, new.param_groups, strict=True):
            for key in _counted_in_group(optimizer, group, initial):
                if key in initial:
                    group[key] = initial[key]
                else:
                    group.pop(key, None)

    def _reset_to(self, states: dict[Tensor, Any], steps: list[Any]) -> None:
        self._optimizer.state.clear()
        self._optimizer.state.update({key: copy.deepcopy(state) for key, state in states.items()})
        for group, step in zip_longest(self._optimizer.param_groups, steps):  # groups may have been added since then
            if step is None:
                group.pop("step", None)
            else:
                group["step"] = copy.deepcopy(step)

    def begin_anew(self, weight: Tensor, where: Tensor) -> None:
        """Reset the state of some elements of a weight to its initial value under the optimizer's current options.

        Only state tensors of the weight's shape are changed. Counters and factored moments stay as they are.

        Args:
            where: marks the elements (bool, of the weight's shape).
        """
        state = self._optimizer.state.get(weight)
        if not state:
            return
        initial = initial_values(self._optimizer, weight)
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                value.masked_fill_(where.to(value.device), initial.get(key, 0.0))


def initial_values(optimizer: Optimizer, weight: Tensor) -> dict[str, float]:
    """Return the initial value of each state tensor that has the shape of the weight, by the state's key."""
    (group,) = (group for group in optimizer.param_groups if any(weight is each for each in group["params"]))
    probed = _probe(optimizer, group, weight)
    if probed is None:
        return {}
    (zeros,), states = probed[0].param_groups[0]["params"], probed[1]
    return {
        key: float(value.flatten()[0]) + 0.0  # adding 0.0 turns -0.0 into 0.0
        for key, value in states.items()
        if isinstance(value, Tensor) and value.shape == zeros.shape
    }


def forget_directions(optimizers: Sequence[Optimizer]) -> None:
    """Clear the state of L-BFGS optimizers, because new masks make their past search directions invalid."""
    for optimizer in optimizers:
        if isinstance(optimizer, LBFGS):
            optimizer.state.clear()


def _new_like(optimizer: Optimizer, groups: Sequence[tuple[dict[str, Any], Sequence[Tensor]]]) -> Optimizer | None:
    """Return a new optimizer of the same class, or None if it cannot be constructed from its options alone.

    Args:
        groups: pairs of a parameter group, whose options are taken, and the parameters of the new group.
    """
    kind = type(optimizer)
    accepted = set(inspect.signature(kind).parameters) - {"params"}
    chosen = [
        {key: value for key, value in group.items() if key in accepted} | {"params": list(parameters)}
        for group, parameters in groups
    ]
    try:
        return kind(chosen, **{key: value for key, value in optimizer.defaults.items() if key in accepted})
    except Exception:  # a class that needs other arguments may raise anything
        return None


class _FirstValues(dict[str, Any]):
    """The optimizer state of one parameter. It remembers the first value of each entry."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, Any] = {}

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.first:
            self.first[key] = copy.deepcopy(value)
        super().__setitem__(key, value)

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **entries: Any) -> None:
        for key, value in dict(*args, **entries).items():
            self[key] = value


def _probe(optimizer: Optimizer, group: dict[str, Any], like: Tensor) -> tuple[Optimizer, dict[str, Any]] | None:
    """Make a new optimizer with one group and let it take a step on a small tensor of zeros.

    Args:
        like: a tensor whose dtype, device and number of dimensions the zeros have.

    Returns:
        The optimizer and the first values of its state, or None if it cannot be constructed or cannot take the step.
    """
    zeros = torch.nn.Parameter(torch.zeros((PROBE_LENGTH,) * like.ndim, dtype=like.dtype, device=like.device))
    new = _new_like(optimizer, [(group, [zeros])])
    if new is None:
        return None
    states: defaultdict[Any, _FirstValues] = defaultdict(_FirstValues)
    states[zeros].update(new.state.get(zeros, {}))
    new.state = states
    zeros.grad = torch.zeros_like(zeros)
    try:
        new.step()
    except (RuntimeError, TypeError):  # SparseAdam takes no dense gradient, and L-BFGS needs a closure
        return None
    return new, states[zeros].first


def _counted_in_group(optimizer: Optimizer, group: dict[str, Any], initial: dict[str, Any]) -> list[str]:
    """Return the keys of a parameter group that a step adds or changes. LAMB in timm and Apex counts steps there."""
    probed = _probe(optimizer, group, group["params"][0]) if group["params"] else None
    if probed is None:
        return []
    stepped = probed[0].param_groups[0]
    return [key for key in stepped if key != "params" and not _is_equal(initial.get(key), stepped[key])]


def _is_equal(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return torch.equal(left, right)
    return bool(left == right)
