"""What a person sees while a run trains: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINES_WITHOUT_TERMINAL = 10
STDERR = 2
BELOW_THE_BAR = "\n"


class Progress:
    """Epoch, phase, loss, top-1, samples/s and time left, on stderr.

    Args:
        epochs: of the whole run.
        done: epochs that are behind us when we start.
        steps_per_epoch: calls of ``step`` an epoch.
        is_shown: whether anything is: of several ranks one speaks.
    """

    def __init__(self, epochs: int, done: int, steps_per_epoch: int, is_shown: bool = True) -> None:
        self._console = Console(stderr=True, quiet=not is_shown)
        self._epochs, self._done, self._steps = epochs, done, steps_per_epoch
        self._start = time.perf_counter()
        self._last = ""  # the figures of the epoch before: this one has none yet
        self._bar = Bar(
            TextColumn("{task.fields[text]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (is_shown and self._console.is_terminal),
        )
        self._task = self._bar.add_task("", total=epochs * steps_per_epoch, completed=done * steps_per_epoch, text="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, epoch: int, phase: str) -> None:
        """An epoch (0-based) of that kind of phase begins."""
        self._bar.update(self._task, text=f"epoch {epoch + 1}/{self._epochs}  {phase:<6}{self._last}")

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        self._console.print(line, highlight=False, soft_wrap=True)

    def say_at_once(self, line: str) -> None:
        """A line out of a signal handler: whatever else prints may be what the signal has come into the middle of."""
        if not self._console.quiet:
            os.write(STDERR, f"{BELOW_THE_BAR if self._console.is_terminal else ''}{line}\n".encode())

    def step(self) -> None:
        """One training step is done."""
        self._bar.advance(self._task)

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch is done; show its record."""
        number = row["epoch"] + 1
        self._last = (
            f"  loss {row['train_loss']:.3f}  top-1 {row['val_top1']:.3f}  {row['samples_per_second']:,.0f} samples/s"
        )
        text = f"epoch {number}/{self._epochs}  {row['phase']:<6}{self._last}"
        self._bar.update(self._task, text=text, completed=number * self._steps)
        last = number == self._epochs
        if not self._console.is_terminal and (last or number % max(1, self._epochs // LINES_WITHOUT_TERMINAL) == 0):
            spent = time.perf_counter() - self._start
            left = spent / (number - self._done) * (self._epochs - number)
            self._console.print(f"{text}  {left:.0f} s left", highlight=False)
