"""What must hold, worked out without the code under test: NumPy, PyTorch's own optimizers, and hooks of our own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from invariant_cases import Case, optimizer_of
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from acdc_cli.sparsity import MaskSet, model_state

Named = dict[str, Tensor]


def smallest(weights: Named, count: int) -> Named:
    """True at the ``count`` smallest magnitudes of all weights together; among equals the earlier position."""
    magnitudes = np.concatenate([weight.detach().cpu().numpy().ravel() for weight in weights.values()])
    chosen = np.zeros(magnitudes.size, dtype=bool)
    chosen[np.argsort(np.abs(magnitudes), kind="stable")[:count]] = True
    parts = np.split(chosen, np.cumsum([weight.numel() for weight in weights.values()])[:-1])
    return {
        name: torch.from_numpy(part.reshape(weight.shape)).to(weight.device)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def nonzeros(tensors: Named, places: Named) -> int:
    """How many entries at these places are not exactly zero."""
    return sum(int(tensors[name][place].count_nonzero()) for name, place in places.items())


def zeros(tensors: Named) -> int:
    return sum(int((tensor == 0).sum()) for tensor in tensors.values())


def check_exactly_these_are_zero(weights: Named, outside: Named, where: str) -> None:
    assert nonzeros(weights, outside) == 0, f"a weight outside the mask moved: {where}"
    expected = sum(int(place.sum()) for place in outside.values())
    assert zeros(weights) == expected, f"{zeros(weights)} zeros, not {expected}: {where}"


class RawGradients:
    """Every gradient before it is accumulated, and so before anything could have masked it."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = dict(model.named_parameters())
        self.clear()
        for name, parameter in self._parameters.items():
            parameter.register_hook(lambda gradient, name=name: self._add(name, gradient))

    def _add(self, name: str, gradient: Tensor) -> None:
        self._sums[name] += gradient

    def clear(self) -> None:
        self._sums = {name: torch.zeros_like(parameter) for name, parameter in self._parameters.items()}

    def norms(self, outside: Named, ranks: int, scale: float) -> tuple[float, float]:
        """Of all gradients, and of those that the masks leave: averaged over the ranks, without the loss scale."""
        flat = torch.cat([total.flatten() for total in self._sums.values()])
        places = torch.cat([outside.get(name, torch.zeros_like(total, dtype=torch.bool)).flatten()
                            for name, total in self._sums.items()])  # fmt: skip
        if ranks > 1:
            distributed.all_reduce(flat)
        flat = flat.double() / (ranks * scale)
        return math.sqrt(flat.square().sum()), math.sqrt(flat[~places].square().sum())


class FreshStep:
    """The step that a new optimizer takes from the weights and gradients of now, on copies of them."""

    def __init__(self, case: Case, model: nn.Module, scale: float) -> None:
        self._copies = {name: nn.Parameter(p.detach().clone()) for name, p in model.named_parameters()}
        for name, parameter in model.named_parameters():
            self._copies[name].grad = parameter.grad / scale  # the scale is a power of two
        self._optimizer = optimizer_of(case, self._copies.values())
        self._optimizer.step()

    def check_same(self, model: nn.Module, optimizer: Optimizer, where: str) -> None:
        """Bit by bit: the weights, and the optimizer's moments and step counters."""
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, self._copies[name]), f"{name} is not where a fresh step leads: {where}"
        left, right = flat_state(optimizer), flat_state(self._optimizer)
        assert list(left) == list(right), f"the optimizer's state has other entries: {where}"
        for key, value in left.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(right[key])), f"{key} of the optimizer: {where}"


def flat_state(optimizer: Optimizer) -> dict[str, Any]:
    """Moments, counters and whatever numbers the groups hold."""
    state = optimizer.state_dict()
    flat = {f"{index} {key}": value for index, its in state["state"].items() for key, value in its.items()}
    for group in state["param_groups"]:
        flat |= {f"group {key}": value for key, value in group.items() if isinstance(value, (Tensor, int, float))}
    return {key: flat[key] for key in sorted(flat)}


def check_average(average: nn.Module, masks: MaskSet | None, outside: Named, where: str) -> None:
    """Masked when it is read, where ``outside`` says so; the average itself remembers what was there before."""
    raw = {name: tensor.detach().clone() for name, tensor in average.module.state_dict().items()}
    read = model_state(average, masks)
    assert list(read) == list(raw), where
    assert not outside or nonzeros(raw, outside) > 0, f"the average has nothing to mask: {where}"
    for name, tensor in raw.items():
        expected = tensor.masked_fill(outside[name], 0.0) if name in outside else tensor
        assert torch.equal(read[name], expected), f"{name} of the average: {where}"
