"""What a person sees while a data set is prepared: a bar with the time left, or a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 15.0  # where there is no terminal; work that takes less says nothing


def waiting_for(folder: Path) -> None:
    """Say why nothing happens, which may take hours."""
    Console(stderr=True).print(f"{folder}: another process is preparing it; waiting", highlight=False, soft_wrap=True)


@contextmanager
def stage(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a piece of work on stderr; gives the function that takes how many more of ``total`` are done."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    start = said = time.perf_counter()
    done = 0
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(count: int) -> None:
            nonlocal done, said
            done += count
            bar.advance(task, count)
            now = time.perf_counter()
            if not console.is_terminal and 0 < done < total and now - said >= SECONDS_BETWEEN_LINES:
                said = now
                left = (now - start) / done * (total - done)
                console.print(f"{what}: {done}/{total}, {left:.0f} s left", highlight=False)

        yield advance
