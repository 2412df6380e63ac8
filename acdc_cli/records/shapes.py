"""What a record has to hold for its readers, derived from its type. It may hold more."""

from __future__ import annotations

import types
from typing import Any, Literal, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from acdc_cli.records.epoch_row import EpochRow
from acdc_cli.records.files import NUMBER, Shape
from acdc_cli.records.run_result import Agreement, RunResult


class Status(TypedDict):
    """The content of status.json. Keys that older versions did not write are not required."""

    state: Literal["running", "done", "failed", "interrupted"]
    epoch: int
    error: NotRequired[str | None]
    pid: NotRequired[int]
    host: NotRequired[str]
    updated: NotRequired[float]  # seconds since 1970, UTC


def shape_of(record: Any) -> Shape:
    """Return the shape that ``check_shape`` compares a dictionary with.

    Args:
        record: a ``TypedDict``. Keys of type ``Any`` and of lists are not compared.
    """
    shape = Shape()
    for key, hint in get_type_hints(record, include_extras=True).items():
        is_required = get_origin(hint) is not NotRequired
        if (wanted := _wanted(hint if is_required else get_args(hint)[0])) is not None:
            shape[key if is_required else f"{key}?"] = wanted
    return shape


def _wanted(hint: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is float:
        return NUMBER
    if hint is type(None):
        return None
    if is_typeddict(hint):
        return shape_of(hint)
    if origin is Literal:
        return frozenset(inner)
    if origin is dict:
        return {"*": _wanted(inner[1])}
    if origin in (Union, types.UnionType):
        choices = [_wanted(each) for each in inner]
        return tuple(single for each in choices for single in (each if isinstance(each, tuple) else (each,)))
    return hint if hint in (int, str, bool) else None


AGREEMENT = shape_of(Agreement)
RESULT = shape_of(RunResult)
ROW = shape_of(EpochRow)
STATUS = shape_of(Status)
