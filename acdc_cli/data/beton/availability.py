"""Whether FFCV works here, found out once and without a traceback."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from acdc_cli.errors import typed_reason


@cache
def ffcv_problem() -> str | None:
    """Why ``import ffcv`` fails, in one line, or None if it works. Takes seconds: writing needs it, reading does not.

    FFCV is built against system libraries when it is installed and loads others when it is imported, so both "not
    installed" and "installed but broken" happen.
    """
    try:
        import_module("ffcv.loader")
    except Exception as error:  # whatever a broken native library raises
        return typed_reason(error)
    return None


@cache
def reading_problem() -> str | None:
    """Why .beton files cannot be read here, in one line, or None if they can."""
    try:
        ctypes.CDLL(str(ffcv_library()))
        import_module("cv2")  # whose system libraries writing needs, and an embedded set may have to be written
        import_module("numba")
    except Exception as error:
        return ffcv_problem() or f"{type(error).__name__}: {error}"
    return None


def not_installed() -> str | None:
    """Which part of FFCV is not installed, or None. It loads nothing, so it cannot say whether what is there works."""
    try:
        ffcv_library()
    except ImportError as error:
        return str(error)
    missing = [name for name in ("cv2", "numba") if find_spec(name) is None]
    return f"{missing[0]} is not installed" if missing else None


def ffcv_library() -> Path:
    """FFCV's compiled library, found without importing FFCV. Raises ImportError if there is none."""
    spec = find_spec("ffcv")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("_libffcv*.so")):
            return path
    raise ImportError("FFCV's compiled library _libffcv is not installed")
