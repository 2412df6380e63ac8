"""Plug-ins: Python files and modules of a user that register models, data sets, methods and tasks when imported.

A plug-in is imported if the user names it: by ``plugins=[my_lab.sparse, ./my_method.py]`` in a config or on the
command line, by ``--plugin`` of the other commands, or in the variable ``ACDC_PLUGINS``. It is also imported if an
installed package announces it in the entry-point group ``acdc_cli.plugins``. What only a run folder names is not.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from acdc_cli.errors import AcdcError, BadInput, reason

VARIABLE = "ACDC_PLUGINS"
GROUP = "acdc_cli.plugins"


@dataclass(frozen=True)
class Plugin:
    """An imported plug-in.

    Attributes:
        name: as it was given.
        file: its file; empty for a module without one.
        sha256: of the file's content.
    """

    name: str
    file: str
    sha256: str


_imported: dict[str, Plugin] = {}  # by name, in the order of their import


def load_plugins(names: Iterable[str]) -> None:
    """Import plug-ins, each once in a process.

    Args:
        names: modules (``my_lab.sparse``) or files (``./my_method.py``), relative to the current folder.

    Raises:
        BadInput: in one line, with file and line number, if a plug-in is missing or fails to import, or if what it
            registers is refused.
    """
    for name in names:
        if name not in _imported:
            _imported[name] = _described(name, _import(name))


def load_announced_plugins() -> None:
    """Import the plug-ins that ``ACDC_PLUGINS`` names and those of installed packages. Raises as ``load_plugins``."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    load_plugins([name for name in named if name] + _of_installed_packages())


def imported_plugins() -> list[Plugin]:
    """Return the plug-ins that this process has imported."""
    return list(_imported.values())


@cache
def _of_installed_packages() -> list[str]:
    return [entry.value.partition(":")[0] for entry in entry_points(group=GROUP)]


def _import(name: str) -> ModuleType:
    is_file = name.endswith(".py") or os.sep in name
    try:
        return _import_file(Path(name).expanduser()) if is_file else _import_module(name)
    except AcdcError:
        raise  # a registration that was refused; it names its own file and line
    except (Exception, SystemExit) as error:  # a plug-in may raise whatever it likes
        raise BadInput(f"plugins=[{name}]: cannot be imported: {_where(error)}{_said(error)}") from None


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BadInput(f"plugins=[{path}]: there is no such file in {Path.cwd()}; give its path from there")
    path = path.resolve()
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    # The name is the same in every process, so that what the file defines can be pickled for another one.
    module_name = f"acdc_plugin_{path.stem}_{digest}"
    spec = spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[module_name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _import_module(name: str) -> ModuleType:
    """Import a module that is installed or lies in the current folder, as ``python -m`` finds it."""
    here = str(Path.cwd())
    is_added = here not in sys.path
    if is_added:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    finally:
        if is_added:
            sys.path.remove(here)


def _described(name: str, module: ModuleType) -> Plugin:
    file = getattr(module, "__file__", None)
    return Plugin(name, file or "", hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "")


def _where(error: BaseException) -> str:
    """Return ``FILE, line N: `` for the last line of a plug-in's own that an error went through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: "
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_of_import(frame.filename)]
    return f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""


def _is_of_import(filename: str) -> bool:
    return filename == __file__ or "importlib" in filename


def _said(error: BaseException) -> str:
    said = error.msg if isinstance(error, SyntaxError) else reason(error)
    return said if said == type(error).__name__ else f"{type(error).__name__}: {said}"
