"""The one line of a run that changes while it trains, and goes away with it."""

from __future__ import annotations

from dataclasses import dataclass

from acdc_cli.training.durations import duration

LEAST_BAR = 5  # characters; a shorter one shows nothing
MOST_BAR = 60
COMFORTABLE_BAR = 10
BAR = ("━", "─")  # done, to come
PLAIN_BAR = ("#", "-")  # where the terminal's encoding has no such characters


@dataclass(frozen=True)
class Live:
    """What the line shows.

    Attributes:
        epoch: 0-based.
        share: of the run that is done, in [0, 1].
        samples_per_second: None before the first step.
        run: such as ``(2, 4)`` for the second of a sweep's four runs.
        sweep_left: seconds.
    """

    epoch: int
    epochs: int
    phase: str
    share: float
    samples_per_second: float | None
    run_left: float | None
    run: tuple[int, int] | None
    sweep_left: float | None


def live_line(live: Live, width: int, bar: tuple[str, str] = BAR) -> str:
    """The line, in at most ``width`` characters wherever its words fit; the bar takes what they leave."""
    before = [f"epoch {live.epoch + 1}/{live.epochs}", f"{live.phase:<6}"]
    rate = "" if live.samples_per_second is None else f"{live.samples_per_second:,.0f} samples/s"
    left = f"left {duration(live.run_left)}"
    if live.run is not None:
        before.insert(0, f"run {live.run[0]}/{live.run[1]}")
        left += f", sweep {duration(live.sweep_left)}"
    for gap, behind, least in (("  ", [rate, left], COMFORTABLE_BAR), (" ", [rate, left], LEAST_BAR), (" ", [left], 0)):
        words = [*before, *filter(None, behind)]
        room = width - sum(map(len, words)) - len(gap) * len(words)
        if room >= least:
            break
    length = max(0, min(room, MOST_BAR))
    done = min(length, int(live.share * length))
    drawn = bar[0] * done + bar[1] * (length - done)
    return gap.join([*before, drawn, *filter(None, behind)])
