"""Parts by name. A built-in part is one file of its room; a part from outside registers itself when it is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

from acdc_cli.errors import BadInput, nearest, not_a_choice

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Part:
    """One part that a config can name.

    Attributes:
        name: what the config calls it.
        options: a dataclass. Its fields are the part's keys, its methods are what the part does.
        facts: what was declared about the part when it was registered.
        file: where it was registered.
        line: where in that file.
    """

    name: str
    options: type
    facts: Any
    file: Path
    line: int


class Registry:
    """All parts of one kind.

    Args:
        kind: the group of the config that chooses one of them, such as ``method``.
        room: the package whose files are the built-in ones. ``set_.py`` has the part ``set``.
        required: functions that the options of each part have to have; ``a|b``: one of the two.
        facts: a dataclass of what can be declared about a part, with a default for each.
        defaults: the module with the functions that a part is given if it lacks them; None: there are none.
    """

    def __init__(
        self, kind: str, room: str, required: tuple[str, ...], facts: type, defaults: str | None = None
    ) -> None:
        self.kind = kind
        self._defaults = defaults
        self._room, self._required, self._facts = room, required, facts
        self._parts: dict[str, Part] = {}
        self._modules: dict[str, str] | None = None

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Return a decorator that registers a dataclass under this name.

        Args:
            name: what a config calls the part.
            facts: fields of this kind's facts.

        Raises:
            BadInput: for a fact that this kind does not know; and when the class is decorated, if the name is taken, a
                function is missing, or it is no dataclass.
        """
        caller = sys._getframe(2)  # whoever called register_model, register_dataset, ...
        file, line = Path(caller.f_code.co_filename), caller.f_lineno
        known = [entry.name for entry in fields(self._facts)]
        if unknown := [fact for fact in facts if fact not in known]:
            meant = f"did you mean {nearest(unknown[0], known)}?" if known else f"a {self.kind} has no facts"
            raise BadInput(
                f"{file}, line {line}: register_{self.kind}({name!r}): no fact is called {unknown[0]}; {meant}"
            )
        declared = self._facts(**facts)

        def decorate(options: T) -> T:
            self._add(Part(name, options, declared, file, line))
            return options

        return decorate

    def _add(self, part: Part) -> None:
        where = f"{part.file}, line {part.line}: register_{self.kind}({part.name!r})"
        before = self._parts.get(part.name)
        is_taken = before is not None or part.name in self._built_in()
        if is_taken and not self._is_own_file(part):
            by = f"; {before.file}, line {before.line} has it" if before else ", by a built-in one"
            raise BadInput(f"{where}: the name is taken{by}; choose another name")
        if not is_dataclass(part.options):
            raise BadInput(f"{where}: {part.options.__name__} is no dataclass; put @dataclass between the two")
        for functions in self._required:
            if not any(callable(getattr(part.options, name, None)) for name in functions.split("|")):
                lacks = " or ".join(functions.split("|"))
                raise BadInput(f"{where}: {part.options.__name__} lacks the function {lacks}; see docs/extending.md")
        if self._defaults is not None:
            for name, function in vars(import_module(self._defaults)).items():
                if isinstance(function, FunctionType) and not hasattr(part.options, name):
                    setattr(part.options, name, function)
        self._parts[part.name] = part

    def _built_in(self) -> dict[str, str]:
        """Map each built-in part's name to its module, by the files of the room. Nothing is imported."""
        if self._modules is None:
            spec = find_spec(self._room)
            folders = spec.submodule_search_locations or [] if spec else []
            stems = sorted(file.stem for folder in folders for file in Path(folder).glob("[!_]*.py"))
            self._modules = {stem.rstrip("_"): f"{self._room}.{stem}" for stem in stems}
        return self._modules

    def _is_own_file(self, part: Part) -> bool:
        """Return True while a built-in part's own file registers it, also when that file is imported again."""
        spec = find_spec(module) if (module := self._built_in().get(part.name)) else None
        return spec is not None and spec.origin is not None and Path(spec.origin) == part.file

    def names(self) -> list[str]:
        """Return the names of all parts: the built-in ones in alphabetical order, then those from outside."""
        built_in = list(self._built_in())
        return built_in + [name for name in self._parts if name not in built_in]

    def from_outside(self) -> list[Part]:
        """Return the parts that plug-ins have registered."""
        return [part for name, part in self._parts.items() if name not in self._built_in()]

    def part(self, name: str, key: str | None = None) -> Part:
        """Return a part by its name; a built-in one's file is imported now, if it was not before.

        Args:
            name: as in a config.
            key: what the error calls it; None: the kind.

        Raises:
            BadInput: with the nearest name, if there is no such part.
        """
        if name not in self._parts and name in self._built_in():
            import_module(self._built_in()[name])
        if name not in self._parts:
            raise not_a_choice(key or self.kind, name, self.names())
        return self._parts[name]
