"""When a run saves its position inside an epoch, and how a signal ends it: after the step that it falls into."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from acdc_cli.errors import Interrupted
from acdc_cli.system.signals import STOPPING, is_heard
from acdc_cli.training.group import Group

GO_ON, SAVE, STOP = 0, 1, 2  # STOP + n: because of signal n
SECONDS_A_MINUTE = 60


class Pauses:
    """Watches the clock and the signals while a run trains; all ranks pause after the same step.

    SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are asked for here and acted on between steps. The same signal again
    acts at once, as it would have before.

    Args:
        save: writes the checkpoint.
        every_minutes: between two checkpoints inside an epoch; None: only at a stop.
        group: the ranks, which agree on every pause one step after the first of them has wished for it.
        say: takes a line for the user, at any moment.
    """

    def __init__(
        self, save: Callable[[], None], every_minutes: float | None, group: Group, say: Callable[[str], None]
    ) -> None:
        self._save, self._group, self._say = save, group, say
        self._every_seconds = None if every_minutes is None else every_minutes * SECONDS_A_MINUTE
        self._saved_at = time.monotonic()
        self._came: int | None = None
        self._before: dict[int, Any] = {}
        self._coming: Callable[[], int] | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # signals reach no other
            self._before = {number: signal.signal(number, self._note) for number in STOPPING if is_heard(number)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._coming is not None:
            self._coming()  # a question that the other ranks have answered already
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_first, self._came = self._came is None, number
        signal.signal(number, self._before[number] or signal.SIG_DFL)
        if not is_first:  # it may have come while the line for another was being printed, which cannot be begun twice
            return
        with suppress(OSError):  # a terminal that has gone away is why SIGHUP comes
            self._say(f"{signal.Signals(number).name}: finishing the step; again to stop at once")

    def after_step(self) -> None:
        """Save if it is time to; stop if a signal came.

        Raises:
            Interrupted: after the checkpoint was written.
        """
        if (wish := self._agreed()) == GO_ON:
            return
        self._save()
        self.restart_clock()
        if wish > STOP:
            self._stop(wish - STOP)

    def after_epoch(self) -> None:
        """The epoch's own checkpoint has just been written: stop if a signal came meanwhile."""
        self.restart_clock()
        number = self._group.start_maximum(self._came or 0)()
        if number:
            self._stop(number)

    def restart_clock(self) -> None:
        """A checkpoint was written now."""
        self._saved_at = time.monotonic()

    def _wish(self) -> int:
        if self._came is not None:
            return STOP + self._came
        is_due = self._every_seconds is not None and time.monotonic() - self._saved_at >= self._every_seconds
        return SAVE if is_due else GO_ON

    def _agreed(self) -> int:
        """Return what any rank wishes. It is asked after one step and answered by the next, so that no step waits."""
        if self._group.ranks.count == 1:
            return self._wish()
        answer = GO_ON if self._coming is None else self._coming()
        self._coming = self._group.start_maximum(self._wish() if answer == GO_ON else GO_ON)
        return answer

    def _stop(self, number: int) -> None:
        self._give_back()
        raise Interrupted(f"{signal.Signals(number).name}: stopped after a step", number)
