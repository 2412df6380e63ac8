"""Whether FFCV works here, found out once and without a traceback."""

from __future__ import annotations

from functools import cache
from importlib import import_module


@cache
def ffcv_problem() -> str | None:
    """Why ``import ffcv`` fails, in one line, or None if it works.

    FFCV is built against system libraries when it is installed and loads others when it is imported, so both "not
    installed" and "installed but broken" happen.
    """
    try:
        import_module("ffcv.loader")
    except Exception as error:  # whatever a broken native library raises
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None
