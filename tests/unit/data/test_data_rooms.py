"""Which way the rooms of data/ import each other, and what a command that only reads a config does not wait for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import acdc_cli.data
from acdc_cli.data.preparing.patches import PHOTOGRAPHS
from acdc_cli.data.sets import patches
from acdc_cli.parts import DATASETS

DATA = Path(acdc_cli.data.__file__).parent
# A room may import those that come before it, and the shared files of data/ itself ("").
ORDER = ("beton", "loading", "preparing", "sets")
# Inside functions: what a set's own file needs once it is read, and what finds out about data that nobody has prepared.
LATE = {("sets", "preparing"), ("", "preparing")}


def room_of(module: str) -> str | None:
    """``loading`` of acdc_cli.data.loading.crops, "" of acdc_cli.data.order, None of what lies elsewhere."""
    if not module.startswith("acdc_cli.data."):
        return None
    part = module.removeprefix("acdc_cli.data.").partition(".")[0]
    return part if part in ORDER else ""


def imports(path: Path, at_the_top: bool) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_the_top else ast.walk(tree)
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_rooms_import_in_one_direction() -> None:
    assert {path.name for path in DATA.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(ORDER)
    wrong = []
    for path in DATA.rglob("*.py"):
        own = path.parent.name if path.parent != DATA else ""
        for at_the_top in (True, False):
            for module in imports(path, at_the_top):
                other = room_of(module)
                if other in (None, "", own) or (not at_the_top and (own, other) in LATE):
                    continue
                if own == "" or own == "sets" or ORDER.index(other) > ORDER.index(own):
                    wrong.append(f"{path.relative_to(DATA)} imports {module}")
    assert wrong == []


def test_a_data_sets_file_loads_neither_arrays_nor_images_nor_torch() -> None:
    code = (
        "import sys; from acdc_cli.data.source import source_of; from acdc_cli.parts import DATASETS\n"
        "for name in DATASETS.names(): source_of(name)\n"
        "print(*({'numpy', 'torch', 'sklearn', 'skimage', 'PIL', 'hydra', 'ffcv'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_every_data_set_says_what_it_is() -> None:
    assert set(DATASETS.names()) == {path.stem for path in (DATA / "sets").glob("[!_]*.py")}
    assert all(DATASETS.part(name).facts.summary for name in DATASETS.names())


def test_the_patches_are_of_the_photographs_that_there_are() -> None:
    assert len(PHOTOGRAPHS) == patches.PHOTOGRAPHS
