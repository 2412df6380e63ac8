"""Check in every step that the model and its optimizers still hold the parameters that a method was attached to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

REPLACED = (
    "load_state_dict(assign=True), `module.weight = ...`, a parametrization and a new module all replace parameters. "
    "Give the optimizer the model's new parameters and call method.rebind(model, optimizer), which keeps the masks and "
    "the position in the schedule; or load without assign=True, or detach() the method first"
)


class Binding:
    """Remembers the parameters, modules and optimizers of an attached method, to compare them by identity later.

    A comparison reads one dictionary entry for every weight and for every module that contains one, and one list entry
    of the optimizer for every weight. This takes microseconds, because the values of the weights are not read.

    Args:
        model: the model without its wrappers (DistributedDataParallel, torch.compile).
        weights: the masked weights of the model, by name.
        optimizers: the optimizers that hold all these weights together.
        own: parameters that the method has added, held by the optimizers too.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: dict[str, nn.Parameter],
        optimizers: Sequence[Optimizer],
        own: Sequence[nn.Parameter] = (),
    ) -> None:
        self._model, self._optimizers = model, optimizers
        self._weights = weights | {f"a parameter of the method's own ({i})": each for i, each in enumerate(own)}
        self._ids = {id(weight) for weight in self._weights.values()}
        self._entries = list(_entries(model, weights))
        self._find_positions()

    def _find_positions(self) -> None:
        self._positions: list[list[tuple[int, int, nn.Parameter]]] = []
        for optimizer in self._optimizers:
            self._positions.append(
                [
                    (group_index, index, parameter)
                    for group_index, group in enumerate(optimizer.param_groups)
                    for index, parameter in enumerate(group["params"])
                    if id(parameter) in self._ids
                ]
            )

    def check(self) -> None:
        """Compare the model and the optimizers with their remembered state.

        Raises:
            RuntimeError: naming a weight that the model or the optimizers no longer hold, and what to do about it.
        """
        for name, holder, key, expected in self._entries:
            if holder.get(key) is not expected:
                raise RuntimeError(f"{name}: the model no longer holds the parameter that is masked. {REPLACED}")
        for optimizer, positions in zip(self._optimizers, self._positions, strict=True):
            parameters = [group["params"] for group in optimizer.param_groups]
            try:
                is_same = all(parameters[group][index] is weight for group, index, weight in positions)
            except IndexError:
                is_same = False
            if not is_same:
                self._check_held()
                return

    def _check_held(self) -> None:
        """Check optimizers whose parameter groups were edited. This is allowed if they still hold all trained weights.

        Raises:
            RuntimeError: naming a trained weight that no optimizer holds.
        """
        held = {id(each) for optimizer in self._optimizers for each in _parameters(optimizer)}
        for name, weight in self._weights.items():
            if weight.requires_grad and id(weight) not in held:
                raise RuntimeError(
                    f"{name}: the optimizer no longer holds the parameter that is masked; call "
                    "method.rebind(model, optimizer) with all optimizers of the model, and freeze parameters that "
                    "none of them trains"
                )
        self._find_positions()

    def check_other(self, optimizer: Optimizer) -> None:
        """Check an optimizer that the method is not attached to, before its step: it must not hold a masked weight.

        Raises:
            RuntimeError: if it holds a masked weight, or a parameter that has replaced a masked weight in the model.
        """
        kind = type(optimizer).__name__
        parameters = {id(each) for each in _parameters(optimizer)}
        if not self._ids.isdisjoint(parameters):
            name = next(name for name, weight in self._weights.items() if id(weight) in parameters)
            raise RuntimeError(
                f"{name}: {kind} is about to move a weight that is masked at the steps of another optimizer. "
                "Call method.rebind(model, optimizer) with this one, or rebind(model, [first, second]) with all "
                "optimizers of the model; detach() the method first if its masks are no longer wanted"
            )
        if all(holder.get(key) is expected for _, holder, key, expected in self._entries):
            return
        if not parameters.isdisjoint(id(each) for each in self._model.parameters()):
            self.check()


def _entries(model: nn.Module, weights: dict[str, nn.Parameter]) -> Iterator[tuple[str, dict[str, Any], str, object]]:
    """Yield (weight's name, dictionary, key, object) for the entries that lead from the model to its weights.

    There is one entry for each place where a module holds a weight, and one for each module on the path to it.
    """
    name_of = {id(weight): name for name, weight in weights.items()}
    seen: set[tuple[int, str]] = set()
    for path, module in model.named_modules():
        found = [(key, each) for key, each in module._parameters.items() if id(each) in name_of]
        for key, each in found:
            yield name_of[id(each)], module._parameters, key, each
        parent, parts = model, path.split(".") if path and found else []
        for part in parts:
            child = parent._modules[part]
            if (id(parent), part) not in seen:
                seen.add((id(parent), part))
                yield name_of[id(found[0][1])], parent._modules, part, child
            assert child is not None  # named_modules has just followed this path
            parent = child


def _parameters(optimizer: Optimizer) -> Iterator[Any]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
