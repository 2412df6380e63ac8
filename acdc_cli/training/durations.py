"""How long something takes: as text, and estimated from what is done so far."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

UNKNOWN = "–"
LONG_HOURS = 100  # from here on, minutes say nothing


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``0:12:34``, ``123 h``; a dash for None."""
    if seconds is None:
        return UNKNOWN
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours} h" if hours >= LONG_HOURS else f"{hours}:{minute:02}:{second:02}"


def run_seconds(spent: float, done: int, steps: int) -> float | None:
    """Estimate how long ``steps`` steps take where ``done`` steps took ``spent`` seconds. None before the first."""
    return None if done == 0 else spent / done * steps


def sweep_seconds_left(
    run_left: float | None, whole_run: float | None, finished: Sequence[float], to_come: int
) -> float | None:
    """Estimate what is left of a sweep.

    Args:
        run_left: seconds left of the current run.
        whole_run: seconds that the current run takes from beginning to end.
        finished: seconds that each finished run took.
        to_come: how many runs follow the current one. Each is taken to last as long as the runs so far do on average.

    Returns:
        None before there is an estimate for the current run.
    """
    if run_left is None or whole_run is None:
        return None
    return run_left + to_come * fmean([*finished, whole_run])
