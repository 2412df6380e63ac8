"""Dictionaries inside dictionaries, as a config or a result is written, and the dotted keys of what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(node: Mapping[str, Any], with_empty: bool = False, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(``group.key``, value) of every value that is no dictionary, in their order.

    Args:
        with_empty: an empty dictionary is a value, too.
        prefix: what stands before every key.
    """
    for key, value in node.items():
        if isinstance(value, dict) and (value or not with_empty):
            yield from leaves(value, with_empty, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
