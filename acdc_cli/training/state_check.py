"""Whether a run's saved state can be that of the run that is to go on from it. Everything is asked before it is used.

The sum of a checkpoint says that nothing has changed since it was written. A file without one, from an older version or
edited by hand, can lack any part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from acdc_cli.records.files import NUMBER, Shape, check_shape, or_null
from acdc_cli.records.shapes import ROW

PART: Shape = {"step": int, "sums": {"*": Tensor}, "seconds": NUMBER, "starved": (dict, None)}
STATE: Shape = {
    "model": dict,
    "optimizer": {"state": dict, "param_groups": list},
    "scaler": dict,
    "method": dict,
    "rows": list,
    "data": (list, str),
    "part?": or_null(PART),
    "extra_flops?": int,
}
WHOLE_MODELS = ("dense_state", "sparse_state")  # of a method: state dicts of the model at an earlier moment


def check_state(
    state: Mapping[str, Any],
    own: Mapping[str, Any],
    model: Mapping[str, Tensor],
    epochs: range,
    prunable: Iterable[str],
) -> None:
    """Raise ValueError, naming the part, if a saved state lacks something or has something of another kind.

    Args:
        state: what a checkpoint holds.
        own: the state of the run before its first step, with a method's state and an optimizer's groups.
        model: the model's own state dict.
        epochs: that the run trains; the rows have to be of the first of them.
        prunable: names of the weights whose sparsity every row has.
    """
    check_shape(state, STATE)
    layers = set(prunable)
    if len(state["rows"]) > len(epochs):
        raise ValueError(f"rows of {len(state['rows'])} epochs, and the run has {len(epochs)}")
    for row, epoch in zip(state["rows"], epochs, strict=False):
        check_shape(row, ROW, "rows")
        if row["epoch"] != epoch:
            raise ValueError(f"rows has another epoch in place of {epoch}")
        if row["layer_sparsity"].keys() != layers:
            raise ValueError(f"rows has other layers in epoch {epoch}")
    _check_like(state["method"], own["method"], "method")
    _check_like(state["optimizer"]["param_groups"], own["optimizer"]["param_groups"], "optimizer.param_groups")
    for name in WHOLE_MODELS:
        if (kept := state["method"].get(name)) is not None:
            _check_model(kept, model, f"method.{name}")


def _check_model(kept: Any, model: Mapping[str, Tensor], name: str) -> None:
    if not isinstance(kept, dict) or kept.keys() != model.keys():
        raise ValueError(f"{name} is not a state of this model")
    _check_like(kept, model, name)


def _check_like(found: Any, expected: Any, name: str) -> None:
    """Compare kinds and shapes as deep as both go. What is null in either may be anything in the other."""
    if found is None or expected is None:
        return
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            raise ValueError(f"{name} is no dictionary")
        for key in expected.keys() & found.keys():
            _check_like(found[key], expected[key], f"{name}.{key}")
    elif isinstance(expected, Tensor):
        if not isinstance(found, Tensor) or found.shape != expected.shape:
            raise ValueError(f"{name} is no tensor of shape {tuple(expected.shape)}")
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        if not isinstance(found, Sequence) or isinstance(found, str):
            raise ValueError(f"{name} is no list")
        for position, (one, other) in enumerate(zip(found, expected, strict=False)):  # some grow while a run goes on
            _check_like(one, other, f"{name}[{position}]")
    elif isinstance(expected, NUMBER):
        if not isinstance(found, (*NUMBER, Tensor)):
            raise ValueError(f"{name} is no number")
    elif type(found) is not type(expected):
        raise ValueError(f"{name} is no {type(expected).__name__}")


def check_optimizer_state(parameters: Iterable[Tensor], states: Mapping[Tensor, Any]) -> None:
    """Raise ValueError if an optimizer remembers a tensor of another shape than the parameter it is for."""
    for parameter in parameters:
        for name, value in states.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape:
                raise ValueError(f"optimizer.state has a {name} of shape {tuple(value.shape)}")
