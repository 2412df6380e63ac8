"""An optimizer's state as a new optimizer has it: what a reset returns to, and what a new connection begins with."""

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

PROBE_LENGTH = 2  # along every axis of the small tensor that stands for a weight


class InitialState:
    """Returns the state of an optimizer to its initial values, all of it or at some places of a weight.

    Initial values are not looked up by name: a new optimizer of the same class and the same options is made, and what
    it has is the initial state. Of states that an optimizer makes in its first step, that first value is recorded in a
    step on a small tensor of zeros with a gradient of zero. So Adagrad's sums begin at ``initial_accumulator_value``,
    the step sizes of Rprop at the learning rate, and an optimizer that nobody here has heard of where it says.

    Where a class cannot be made from its options, the reset goes back to the state at the time this is made, which has
    to be before the first step, and new connections begin at 0.
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
        """Return all of it to the initial values, step counters included, those in parameter groups too.

        The next step then is what a first step is. This reads the optimizer's state alone, never ``.grad``: the reset
        of AC/DC's reference code skips parameters without a gradient, which since PyTorch 2.0 are all of them.

        PyTorch 2.15's fused SGD with momentum must not have its first step skipped by a gradient scaler: it then goes
        on from a buffer that nobody wrote. After every reset there is such a first step, so use foreach SGD with fp16.
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
        for group, step in zip_longest(self._optimizer.param_groups, steps):  # a group may have been added since
            if step is None:
                group.pop("step", None)
            else:
                group["step"] = copy.deepcopy(step)

    def begin_anew(self, weight: Tensor, where: Tensor) -> None:
        """Return the state of some of a weight's places to its initial value, at the options of this moment.

        Only entries of the weight's own shape have places; counters and factored moments stay.

        Args:
            where: bool, of the weight's shape.
        """
        state = self._optimizer.state.get(weight)
        if not state:
            return
        initial = initial_values(self._optimizer, weight)
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                value.masked_fill_(where.to(value.device), initial.get(key, 0.0))


def initial_values(optimizer: Optimizer, weight: Tensor) -> dict[str, float]:
    """The value at which each entry of the optimizer's state of a weight begins, for entries of the weight's shape."""
    (group,) = (group for group in optimizer.param_groups if any(weight is each for each in group["params"]))
    probed = _probe(optimizer, group, weight)
    if probed is None:
        return {}
    (zeros,), states = probed[0].param_groups[0]["params"], probed[1]
    return {
        key: float(value.flatten()[0]) + 0.0  # which makes 0.0 of -0.0
        for key, value in states.items()
        if isinstance(value, Tensor) and value.shape == zeros.shape
    }


def forget_directions(optimizers: Sequence[Optimizer]) -> None:
    """Let L-BFGS begin anew: its directions were found among other weights than those that exist from now on."""
    for optimizer in optimizers:
        if isinstance(optimizer, LBFGS):
            optimizer.state.clear()


def _new_like(optimizer: Optimizer, groups: Sequence[tuple[dict[str, Any], Sequence[Tensor]]]) -> Optimizer | None:
    """A new optimizer of the same class; None if its options are not all that it is made from.

    Args:
        groups: each a parameter group of the optimizer, for its options, and the parameters that take the place of its.
    """
    kind = type(optimizer)
    accepted = set(inspect.signature(kind).parameters) - {"params"}
    chosen = [
        {key: value for key, value in group.items() if key in accepted} | {"params": list(parameters)}
        for group, parameters in groups
    ]
    try:
        return kind(chosen, **{key: value for key, value in optimizer.defaults.items() if key in accepted})
    except Exception:  # whatever a class raises that wants more than its options
        return None


class _FirstValues(dict[str, Any]):
    """A parameter's state that remembers what each entry was when it was first set."""

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
    """A new optimizer of one group after a step on zeros, and its states' first values; None if there is none.

    Args:
        like: what the zeros have the type, device and number of dimensions of.
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
    """The keys of a parameter group that a step adds or changes, as LAMB of timm and of Apex counts steps there."""
    probed = _probe(optimizer, group, group["params"][0]) if group["params"] else None
    if probed is None:
        return []
    stepped = probed[0].param_groups[0]
    return [key for key in stepped if key != "params" and not _is_equal(initial.get(key), stepped[key])]


def _is_equal(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return torch.equal(left, right)
    return bool(left == right)
