"""When: the epochs in which a run trains dense and those in which it trains sparse. Pure data, no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, pairwise

KINDS = ("dense", "sparse")


class TimelineError(ValueError):
    """A schedule that is not a schedule: a gap, an overlap, an empty phase, or numbers that do not fit."""


@dataclass(frozen=True)
class Phase:
    """One phase: whole epochs, half-open ``[start_epoch, end_epoch)``."""

    kind: str
    start_epoch: int
    end_epoch: int

    def __str__(self) -> str:
        return f"{self.kind[0].upper()}[{self.start_epoch},{self.end_epoch})"


@dataclass(frozen=True)
class Timeline:
    """Contiguous phases from epoch 0 on.

    Raises:
        TimelineError: on a gap, an overlap, an empty phase, two of a kind in a row, an unknown kind, no phase.
    """

    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        if not self.phases:
            raise TimelineError("a schedule needs at least one phase")
        expected_start, kind_before = 0, None
        for phase in self.phases:
            if phase.kind not in KINDS:
                raise TimelineError(f"phase kind {phase.kind!r} is neither 'dense' nor 'sparse'")
            if phase.end_epoch <= phase.start_epoch:
                raise TimelineError(f"phase {phase} is empty")
            if phase.start_epoch != expected_start:
                what = "gap" if phase.start_epoch > expected_start else "overlap"
                raise TimelineError(f"{what} before phase {phase}: it must start at epoch {expected_start}")
            if phase.kind == kind_before:
                raise TimelineError(f"phase {phase} continues the {phase.kind} phase before it; join the two")
            expected_start, kind_before = phase.end_epoch, phase.kind

    @classmethod
    def of(cls, phases: Iterable[tuple[str, int, int]]) -> Timeline:
        """A timeline listed in full: ``[("dense", 0, 10), ("sparse", 10, 20), ...]``."""
        listed = [Phase(kind, start, end) for kind, start, end in phases]
        for phase in listed:
            if not all(isinstance(epoch, int) for epoch in (phase.start_epoch, phase.end_epoch)):
                raise TimelineError(f"phase {phase} does not begin and end with whole epochs")
        return cls(tuple(listed))

    @classmethod
    def dense(cls, epochs: int) -> Timeline:
        """Dense from beginning to end."""
        return cls((Phase("dense", 0, epochs),))

    @classmethod
    def acdc(
        cls,
        epochs: int,
        warmup_epochs: int | None = None,
        sparse_epochs: int | None = None,
        dense_epochs: int | None = None,
        final_sparse_epochs: int | None = None,
    ) -> Timeline:
        """AC/DC's schedule (AC/DC, section 3.2 and appendix) from four numbers and the fill rule.

        Dense warm-up; then (sparse, dense) pairs while a whole pair fits before the final sparse phase; what is left
        over lengthens the last dense phase (the warm-up, when there is no pair). A number that is None takes
        ``default_phase_epochs(epochs)``, which gives the paper's ImageNet schedules at 100, 150 and 200 epochs.

        Raises:
            TimelineError: if the numbers leave no room, or no dense phase.
        """
        default = default_phase_epochs(epochs)
        warmup = default["warmup_epochs"] if warmup_epochs is None else warmup_epochs
        sparse = default["sparse_epochs"] if sparse_epochs is None else sparse_epochs
        dense = default["dense_epochs"] if dense_epochs is None else dense_epochs
        final = default["final_sparse_epochs"] if final_sparse_epochs is None else final_sparse_epochs
        if epochs < 2:
            raise TimelineError(f"AC/DC needs at least 2 epochs (one dense, one sparse), not {epochs}")
        if min(sparse, dense, final) < 1 or warmup < 0:
            raise TimelineError("every phase needs at least 1 epoch (the warm-up at least 0)")
        room = epochs - warmup - final
        if room < 0:
            raise TimelineError(
                f"warm-up ({warmup}) and final sparse phase ({final}) need {warmup + final} epochs, "
                f"the run has {epochs}"
            )
        pairs, left_over = divmod(room, sparse + dense)
        # Alternating lengths, dense first; the last dense entry takes what is left over.
        lengths = [warmup, *([sparse, dense] * pairs)]
        lengths[-1] += left_over
        lengths.append(final)
        phases, start = [], 0
        for position, length in enumerate(lengths):
            if length:
                phases.append(Phase(KINDS[position % 2], start, start + length))
            start += length
        timeline = cls(tuple(phases))
        timeline.require_acdc()
        return timeline

    @classmethod
    def stretched(cls, epochs: int, boundaries: Sequence[float | Fraction]) -> Timeline:
        """Phases that keep their share of the run at any length: AC/DC++ with its seven pairs stretched.

        This reading of AC/DC++ is SequentialAttention++'s (section 4.2); the other, phases of 5 epochs, is ``acdc``.

        Args:
            boundaries: rising fractions of the run at which the kind changes, dense first; half an epoch rounds up. A
                float stands for the decimal number that it prints as, so that 0.15 of 90 epochs is exactly 13.5.

        Raises:
            TimelineError: if a phase would be empty.
        """
        inner = [math.floor(Fraction(str(boundary)) * epochs + Fraction(1, 2)) for boundary in boundaries]
        spans = pairwise([0, *inner, epochs])
        return cls(tuple(Phase(KINDS[position % 2], *span) for position, span in enumerate(spans)))

    def require_acdc(self) -> None:
        """Raise TimelineError unless there is a dense phase and the run ends sparse, as AC/DC's two outputs need."""
        if self.phases[-1].kind != "sparse":
            raise TimelineError(f"an AC/DC run must end with a sparse phase, not {self.phases[-1]}")
        if all(phase.kind == "sparse" for phase in self.phases):
            raise TimelineError("an AC/DC run needs a dense phase before its last sparse one")

    @property
    def total_epochs(self) -> int:
        """Length of the run."""
        return self.phases[-1].end_epoch

    @property
    def sparse_epochs(self) -> int:
        """Epochs in sparse phases."""
        return sum(p.end_epoch - p.start_epoch for p in self.phases if p.kind == "sparse")

    def phase(self, epoch: int) -> Phase:
        """The phase that epoch (0-based) belongs to. Raises IndexError outside the timeline."""
        for phase in self.phases:
            if phase.start_epoch <= epoch < phase.end_epoch:
                return phase
        raise IndexError(f"epoch {epoch} is outside the timeline's {self.total_epochs} epochs")

    def begins(self, epoch: int) -> bool:
        """Whether a phase starts at this epoch."""
        return self.phase(epoch).start_epoch == epoch

    def last_sparse_phase(self) -> Phase:
        """The sparse phase that the run ends with. Raises TimelineError when there is none."""
        self.require_acdc()
        return self.phases[-1]

    def __str__(self) -> str:
        return " ".join(map(str, self.phases))


def default_phase_epochs(epochs: int) -> dict[str, int]:
    """The four phase lengths in epochs that a run of that many epochs gets unless told otherwise."""
    alternating = max(1, min(5, round(epochs / 20)))
    return {
        "warmup_epochs": max(1, min(10, round(epochs / 10))),
        "sparse_epochs": alternating,
        "dense_epochs": alternating,
        "final_sparse_epochs": max(1, min(15, round(3 * epochs / 20))),
    }


def nearest_stretched_epochs(epochs: int, boundaries: Sequence[float | Fraction]) -> int:
    """The run length nearest to ``epochs`` at which ``Timeline.stretched`` has no empty phase; the longer of two.

    Args:
        boundaries: rising fractions in (0, 1). Once every phase's share is a whole epoch or more, every length fits.
    """
    for distance in count():
        for candidate in (epochs + distance, epochs - distance):
            try:
                Timeline.stretched(candidate, boundaries)
            except TimelineError:
                continue
            return candidate
    raise AssertionError("unreachable: a long enough run always fits")
