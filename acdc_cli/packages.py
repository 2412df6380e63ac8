"""Optional packages: whether one is installed, and the line that installs it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from acdc_cli.errors import BadInput


def require_package(name: str, asked_by: str) -> None:
    """Raise BadInput, with the line that installs it, if a package is not installed.

    Args:
        name: of the package.
        asked_by: the key=value that needs it.
    """
    if find_spec(name) is None:
        raise BadInput(f"{asked_by}: {name} is not installed; {sys.executable} -m pip install {name}")
