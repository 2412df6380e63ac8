"""A part's options: how a dataclass says which values its keys take, and how its functions are called."""

from __future__ import annotations

import math
from dataclasses import MISSING, field
from typing import Any


def one_of(*choices: str, default: Any = MISSING, example: str | None = None) -> Any:
    """Declare a key that takes one of these words.

    Args:
        choices: the words.
        default: None for a key that may be left out; without it the YAML has to give a value.
        example: a usual value, which the error for a missing one shows.
    """
    return field(default=default, metadata={"choices": choices, "example": example})


def number(
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    default: Any = MISSING,
    example: float | None = None,
) -> Any:
    """Declare a key that takes a number in the range [low, high].

    Args:
        low: the smallest value.
        high: the largest value.
        above: the value has to be above ``low``, which itself is left out.
        below: the value has to be below ``high``, which itself is left out.
        default: None for a key that may be left out; without it the YAML has to give a value.
        example: a usual value, which the error for a missing one shows.
    """
    return field(default=default, metadata={"range": (low, high, above, below), "example": example})


def optional(options: Any, function: str, *arguments: Any) -> Any:
    """Call a function that a part's options may have, or return None."""
    found = getattr(options, function, None)
    return None if found is None else found(*arguments)
