"""The rooms of the package and the directions of their imports: a room takes from the rooms below it alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import acdc_cli

PACKAGE = Path(acdc_cli.__file__).parent
# From the bottom to the top; rooms of one line may not take from each other.
FLOORS = (
    ("errors", "sparsity"),
    ("options", "packages", "plugins", "ranks", "system"),
    ("registry",),
    ("parts",),
    ("records",),
    ("config",),
    ("methods",),
    ("models",),
    ("data",),
    ("measure",),
    ("tasks",),
    ("report",),
    ("planning",),
    ("tables",),
    ("training",),
    ("launch",),
    ("commands",),
)
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> list[str]:
    """Modules of the package that a file names in imports, wherever these stand in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.startswith("acdc_cli.") and name.count(".") > 1]


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_no_files_import_each_other_in_a_circle() -> None:
    files = {".".join(("acdc_cli", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}
    uses = {
        name: {used for each in imports(path) for used in (each, each.rpartition(".")[0]) if used in files} - {name}
        for name, path in files.items()
    }
    while without := {name for name, used in uses.items() if not used}:
        uses = {name: used - without for name, used in uses.items() if name not in without}
    assert sorted(uses) == [], "these files are in circles, or use files that are"


def own_room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_has_its_floor() -> None:
    assert {own_room(path) for path in FILES} <= FLOOR.keys()


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_takes_from_those_below_it(room: str) -> None:
    upwards = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in FILES
        if own_room(path) == room
        for name in imports(path)
        if room_of(name) != room and FLOOR[room_of(name)] >= FLOOR[room]
    }
    assert sorted(upwards) == []
