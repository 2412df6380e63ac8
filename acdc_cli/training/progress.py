"""What a person sees while a run trains: lines that stay, and on a terminal one line below them that changes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live as LiveDisplay
from rich.text import Text

from acdc_cli.records.epoch_row import EpochRow
from acdc_cli.records.headline import TOP1, Headline
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.training.durations import run_seconds, sweep_seconds_left
from acdc_cli.training.epoch_lines import GAP, Kept, epoch_line, fitting_columns, header, kept_epochs
from acdc_cli.training.live_line import BAR, PLAIN_BAR, Live, live_line

WIDTH_WITHOUT_TERMINAL = 80  # columns
STDERR = 2
OVER_THE_LIVE_LINE = "\r\x1b[2K"  # to its beginning, and empty it
REFRESHES_PER_SECOND = 4
ROOM_FOR_CTRL_C = 3  # columns: the terminal writes ^C behind the live line, which must not move to the next line


@dataclass(frozen=True)
class SweepPlace:
    """Where in a sweep a run stands.

    Attributes:
        number: of the run, from 1.
        count: of the sweep's runs.
        finished_seconds: what each finished run of the sweep took.
        is_parallel: whether other runs print at the same time.
    """

    number: int
    count: int
    finished_seconds: tuple[float, ...]
    is_parallel: bool


class Progress:
    """Prints the lines of a run on stderr.

    Args:
        name: of the run.
        timeline: of the whole run.
        steps_per_epoch: calls of ``step`` an epoch.
        steps_done: steps of the run that were done before this process began.
        batch_size: samples a step.
        is_shown: whether anything is: of several ranks one speaks.
        sweep: which run of a sweep this is, if it is one.
        headline: the metric that the lines show.
        console: where the lines go; None: stderr.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        timeline: Timeline,
        steps_per_epoch: int,
        steps_done: int,
        batch_size: int,
        is_shown: bool = True,
        sweep: SweepPlace | None = None,
        headline: Headline = TOP1,
        console: Console | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._console = console or Console(stderr=True, quiet=not is_shown)
        self._sweep, self._clock = sweep, clock
        self._is_parallel = sweep is not None and sweep.is_parallel
        self._is_live = self._console.is_terminal and is_shown and not self._is_parallel
        self._prefix = name if self._is_parallel else ""  # of every line
        self._kept, self._epochs = kept_epochs(timeline), timeline.total_epochs
        self._columns = fitting_columns(self._width(), self._epochs, self._prefix, headline)
        self._all_steps, self._batch_size = self._epochs * steps_per_epoch, batch_size
        self._steps_before = self._steps_done = self._steps_at_begin = steps_done
        self._start = self._begin = self._last_step = clock()
        self._epoch, self._phase = 0, ""
        self._seconds = 0.0  # of the epochs since the last line that stays
        self._has_header = False
        self._display = LiveDisplay(
            console=self._console,
            get_renderable=self._live_text,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,  # it may be a pipe
        )

    def _width(self) -> int:
        if self._console.is_terminal:
            return self._console.width
        if self._is_parallel and sys.stderr.isatty():  # which a process of a parallel sweep does not call a terminal
            return os.get_terminal_size(STDERR).columns
        return WIDTH_WITHOUT_TERMINAL + (len(self._prefix + GAP) if self._is_parallel else 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()

    def begin(self, epoch: int, phase: str) -> None:
        """An epoch (0-based) of that kind of phase begins, or goes on."""
        self._epoch, self._phase = epoch, phase
        self._steps_at_begin, self._begin = self._steps_done, self._clock()
        if self._is_live:
            self._display.start()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def say_at_once(self, line: str) -> None:
        """A line out of a signal handler: whatever else prints may be what the signal has come into the middle of."""
        if not self._console.quiet:
            os.write(STDERR, f"{OVER_THE_LIVE_LINE if self._is_live else ''}{line}\n".encode())

    def step(self) -> None:
        """One training step is done."""
        self._steps_done += 1
        self._last_step = self._clock()

    def epoch(self, row: EpochRow) -> None:
        """An epoch is done; it leaves a line, or is one of those that the next line stands for."""
        self._seconds += row["seconds"]
        if row["epoch"] not in self._kept:
            return
        if not self._has_header:
            self.say(header(self._columns, self._prefix))
            self._has_header = True
        kept = Kept(row, self._epochs, self._seconds, self._seconds_left()[0])
        self.say(epoch_line(self._columns, kept, self._prefix))
        self._seconds = 0.0

    def _seconds_left(self) -> tuple[float | None, float | None]:
        """Return the time that the run and the sweep will still take at the pace so far."""
        done, spent = self._steps_done - self._steps_before, self._clock() - self._start
        left = run_seconds(spent, done, self._all_steps - self._steps_done)
        if self._sweep is None:
            return left, None
        whole, to_come = run_seconds(spent, done, self._all_steps), self._sweep.count - self._sweep.number
        return left, sweep_seconds_left(left, whole, self._sweep.finished_seconds, to_come)

    def _live_text(self) -> Text:
        steps, seconds = self._steps_done - self._steps_at_begin, self._last_step - self._begin
        run_left, sweep_left = self._seconds_left()
        live = Live(
            self._epoch,
            self._epochs,
            self._phase,
            share=self._steps_done / self._all_steps,
            samples_per_second=steps * self._batch_size / seconds if steps and seconds > 0 else None,
            run_left=run_left,
            run=None if self._sweep is None else (self._sweep.number, self._sweep.count),
            sweep_left=sweep_left,
        )
        bar = BAR if self._console.encoding.startswith("utf") else PLAIN_BAR
        return Text(live_line(live, self._console.width - ROOM_FOR_CTRL_C, bar), no_wrap=True, overflow="crop")
