"""How signals and the clock pause a run: real signals to this process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from acdc_cli.errors import Interrupted
from acdc_cli.training.group import ALONE
from acdc_cli.training.pauses import Pauses

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Caught(Exception):
    """By the handler that was there before."""


def catch(number: int, frame: object) -> None:
    raise Caught(number)


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Handlers of ours for all five, so that none of them can end the tests; afterwards what was there."""
    before = {number: signal.signal(number, catch) for number in WATCHED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Recorder:
    """What pauses have saved and said."""

    def __init__(self) -> None:
        self.saves, self.lines = 0, list[str]()

    def save(self) -> None:
        self.saves += 1

    def pauses(self, every_minutes: float | None) -> Pauses:
        return Pauses(self.save, every_minutes, ALONE, self.lines.append)


@pytest.mark.parametrize("number", WATCHED, ids=lambda number: signal.Signals(number).name)
def test_a_signal_waits_for_the_step_and_saves(number: int) -> None:
    recorder = Recorder()
    with pytest.raises(Interrupted) as ended, recorder.pauses(None) as pauses:
        pauses.after_step()
        os.kill(os.getpid(), number)
        assert recorder.saves == 0
        assert recorder.lines == [f"{signal.Signals(number).name}: finishing the step; again to stop at once"]
        pauses.after_step()
    assert recorder.saves == 1
    assert ended.value.signal_number == number and ended.value.exit_code == 75
    assert signal.Signals(number).name in str(ended.value)


def test_the_same_signal_again_acts_at_once() -> None:
    recorder = Recorder()
    with pytest.raises(Caught), recorder.pauses(None):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)  # another one: it waits too
        os.kill(os.getpid(), signal.SIGTERM)
    assert recorder.saves == 0


def test_the_handlers_are_restored_however_it_ends() -> None:
    with Recorder().pauses(None):
        assert catch not in [signal.getsignal(number) for number in WATCHED]
    assert [signal.getsignal(number) for number in WATCHED] == [catch] * 5
    with pytest.raises(Interrupted), Recorder().pauses(None) as pauses:
        os.kill(os.getpid(), signal.SIGUSR1)
        pauses.after_step()
    assert [signal.getsignal(number) for number in WATCHED] == [catch] * 5
    with pytest.raises(ValueError, match="other"), Recorder().pauses(None):
        raise ValueError("other")
    assert [signal.getsignal(number) for number in WATCHED] == [catch] * 5


def test_the_clock_saves_and_goes_on() -> None:
    every_step, never, hourly = Recorder(), Recorder(), Recorder()
    for recorder, every_minutes in ((every_step, 0), (never, None), (hourly, 60)):
        with recorder.pauses(every_minutes) as pauses:
            for _ in range(3):
                pauses.after_step()
    assert (every_step.saves, never.saves, hourly.saves) == (3, 0, 0)


def test_the_clock_runs_from_the_last_checkpoint() -> None:
    """3 ms apart: after none at once, after a wait one, and none at once after that one."""
    recorder = Recorder()
    with recorder.pauses(0.003 / 60) as pauses:
        threading.Event().wait(0.004)
        pauses.restart_clock()
        pauses.after_step()
        saves = [recorder.saves]
        threading.Event().wait(0.004)
        pauses.after_step()
        pauses.after_step()
        saves.append(recorder.saves)
    assert saves == [0, 1]


def test_a_signal_between_two_epochs_stops_without_another_checkpoint() -> None:
    """The epoch's own has been written."""
    recorder = Recorder()
    with pytest.raises(Interrupted) as ended, recorder.pauses(None) as pauses:
        os.kill(os.getpid(), signal.SIGTERM)
        pauses.after_epoch()
    assert recorder.saves == 0 and ended.value.signal_number == signal.SIGTERM


def test_outside_the_main_thread_the_clock_runs_and_signals_are_left_alone() -> None:
    """Signals reach the main thread only; a sweep's launcher may run jobs in others."""
    recorder = Recorder()
    handlers: list[object] = []

    def train() -> None:
        with recorder.pauses(0) as pauses:
            handlers.extend(signal.getsignal(number) for number in WATCHED)
            pauses.after_step()

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert recorder.saves == 1
    assert handlers == [catch] * 5


def test_a_terminal_that_has_gone_away_does_not_keep_a_run_from_its_checkpoint() -> None:
    """SIGHUP comes because of it: the line cannot be written."""
    saves: list[None] = []

    def gone(line: str) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(Interrupted), Pauses(lambda: saves.append(None), None, ALONE, gone) as pauses:
        os.kill(os.getpid(), signal.SIGHUP)
        pauses.after_step()
    assert len(saves) == 1


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """``nohup acdc-train`` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Pauses(lambda: None, None, ALONE, lambda line: None) as pauses:
            signal.raise_signal(signal.SIGHUP)
            pauses.after_step()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
