"""How this program reads a record: checked before anything is believed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from acdc_cli.errors import EXIT_DATA_MISSING, AcdcError


class Damaged(AcdcError):
    """A file whose content is not what this program writes there.

    Args:
        path: of the file.
        why: what is wrong with it.
        remedy: what to do; empty where the caller says that.
    """

    exit_code = EXIT_DATA_MISSING

    def __init__(self, path: Path, why: str, remedy: str = "") -> None:
        super().__init__(f"{path}: damaged ({why})" + (f"; {remedy}" if remedy else ""))
        self.path, self.why, self.remedy = path, why, remedy

    def __reduce__(self) -> tuple[type[Damaged], tuple[Path, str, str]]:
        """Pickled by what it was made of: the ranks of a run tell each other of it."""
        return Damaged, (self.path, self.why, self.remedy)


# key -> types, None among them for null; or a frozenset of words; or the shape of a dictionary. "key?" may be missing,
# and "*" stands for every key.
Shape = dict[str, Any]
NUMBER = (int, float)


def or_null(shape: Shape) -> tuple[Shape, None]:
    """Return the shape of a dictionary that may be null."""
    return (shape, None)


def check_shape(value: Any, shape: Shape, name: str = "") -> None:
    """Raise ValueError, naming the key, if ``value`` is not a dictionary with these keys and types of values.

    Keys that the shape does not name may have any value. ``true`` is no number.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'it'} is {_kind(value)}, not a dictionary")
    wanted_of_each = dict.fromkeys(value, shape["*"]) if "*" in shape else shape
    for key, wanted in wanted_of_each.items():
        plain = key if "*" in shape else key.removesuffix("?")
        named = f"{name}.{plain}" if name else plain
        if plain not in value:
            if key != plain:
                continue
            raise ValueError(f"it has no {named}")
        _check_value(value[plain], wanted if isinstance(wanted, tuple) else (wanted,), named)


def _check_value(value: Any, choices: tuple[Any, ...], name: str) -> None:
    if value is None and None in choices:
        return
    types = tuple(each for each in choices if isinstance(each, type))
    if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
        return
    words = [each for each in choices if isinstance(each, frozenset)]
    if words and isinstance(value, str):
        if value not in words[0]:
            raise ValueError(f"{name} is none of {', '.join(sorted(words[0]))}")
        return
    shapes = [each for each in choices if isinstance(each, dict)]
    if not shapes:
        raise ValueError(f"{name} is {_kind(value)}")
    check_shape(value, shapes[0], name)


def _kind(value: Any) -> str:
    return {dict: "a dictionary", list: "a list", str: "text", type(None): "null", bool: "true or false"}.get(
        type(value), "a number"
    )


def parse_object(content: bytes, shape: Shape) -> dict[str, Any]:
    """A JSON object of a given shape.

    Raises:
        ValueError: if the bytes are anything else; the message says what.
    """
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    check_shape(value, shape)
    return value


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"{digits} is too large a number")
    return number


def read_bytes(path: Path, remedy: str = "") -> bytes:
    """A file's content. Raises Damaged if there is none to read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Damaged(path, error.strerror or str(error), remedy) from None


def read_object(path: Path, shape: Shape, remedy: str = "") -> dict[str, Any]:
    """The JSON object in a file: what every reader of such a file in this program goes through.

    Args:
        shape: what has to be in it, see ``check_shape``.
        remedy: what the error tells the user to do.

    Raises:
        Damaged: if the file cannot be read, is not JSON, or has another shape.
    """
    content = read_bytes(path, remedy)
    try:
        return parse_object(content, shape)
    except ValueError as error:
        raise Damaged(path, str(error), remedy) from None
