"""The timeline of a run: in which epochs it trains dense and in which it trains sparse. This module needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, pairwise

KINDS = ("dense", "sparse")


class TimelineError(ValueError):
    """A schedule is invalid: it has a gap, an overlap or an empty phase, or its numbers do not fit together."""


@dataclass(frozen=True)
class Phase:
    """One phase of whole epochs, half-open: ``[start_epoch, end_epoch)``."""

    kind: str
    start_epoch: int
    end_epoch: int

    def __str__(self) -> str:
        return f"{self.kind[0].upper()}[{self.start_epoch},{self.end_epoch})"


@dataclass(frozen=True)
class Timeline:
    """The phases of a run, contiguous from epoch 0.

    Raises:
        TimelineError: for a gap, an overlap, an empty phase, two phases of one kind in a row, an unknown kind, or no
            phase.
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
        """Return a timeline from a full list of phases, such as ``[("dense", 0, 10), ("sparse", 10, 20), ...]``."""
        listed = [Phase(kind, start, end) for kind, start, end in phases]
        for phase in listed:
            if not all(isinstance(epoch, int) for epoch in (phase.start_epoch, phase.end_epoch)):
                raise TimelineError(f"phase {phase} does not begin and end with whole epochs")
        return cls(tuple(listed))

    @classmethod
    def dense(cls, epochs: int) -> Timeline:
        """Return a timeline of one dense phase."""
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
        """Return AC/DC's schedule (AC/DC, section 3.2 and appendix), filled in from four phase lengths.

        A dense warm-up comes first. Then follow (sparse, dense) pairs, as many as fit before the final sparse phase.
        The epochs that remain lengthen the last dense phase (the warm-up if there is no pair). A length that is None
        is taken from ``default_phase_epochs(epochs)``, which gives the paper's ImageNet schedules at 100, 150 and 200
        epochs.

        Raises:
            TimelineError: if the phases do not fit into the epochs, or there is no dense phase.
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
        # Lengths alternate between dense and sparse, dense first. The last dense one takes the epochs that remain.
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
        """Return phases that take fixed fractions of the run, whatever its length.

        AC/DC++ stretches its seven pairs of phases in this way. This is the reading of AC/DC++ in SequentialAttention++
        (section 4.2); the other reading, phases of 5 epochs, is ``acdc``.

        Args:
            boundaries: rising fractions of the run at which the kind changes, dense first. Half an epoch is rounded up.
                A float means the decimal number that it prints as, so that 0.15 of 90 epochs is exactly 13.5.

        Raises:
            TimelineError: if a phase would be empty.
        """
        inner = [math.floor(Fraction(str(boundary)) * epochs + Fraction(1, 2)) for boundary in boundaries]
        spans = pairwise([0, *inner, epochs])
        return cls(tuple(Phase(KINDS[position % 2], *span) for position, span in enumerate(spans)))

    def require_acdc(self) -> None:
        """Raise TimelineError unless the run has a dense phase and ends sparse. AC/DC's two outputs need both."""
        if self.phases[-1].kind != "sparse":
            raise TimelineError(f"an AC/DC run must end with a sparse phase, not {self.phases[-1]}")
        if all(phase.kind == "sparse" for phase in self.phases):
            raise TimelineError("an AC/DC run needs a dense phase before its last sparse one")

    @property
    def total_epochs(self) -> int:
        """Number of epochs of the run."""
        return self.phases[-1].end_epoch

    @property
    def sparse_epochs(self) -> int:
        """Number of epochs in sparse phases."""
        return sum(p.end_epoch - p.start_epoch for p in self.phases if p.kind == "sparse")

    def phase(self, epoch: int) -> Phase:
        """Return the phase that an epoch (0-based) belongs to. Raises IndexError outside the timeline."""
        for phase in self.phases:
            if phase.start_epoch <= epoch < phase.end_epoch:
                return phase
        raise IndexError(f"epoch {epoch} is outside the timeline's {self.total_epochs} epochs")

    def begins(self, epoch: int) -> bool:
        """Return whether a phase starts at this epoch."""
        return self.phase(epoch).start_epoch == epoch

    def last_sparse_phase(self) -> Phase:
        """Return the sparse phase that the run ends with. Raises TimelineError if the run is not an AC/DC run."""
        self.require_acdc()
        return self.phases[-1]

    def __str__(self) -> str:
        return " ".join(map(str, self.phases))


def default_phase_epochs(epochs: int) -> dict[str, int]:
    """Return the four default phase lengths, in epochs, of an AC/DC run of this many epochs."""
    alternating = max(1, min(5, round(epochs / 20)))
    return {
        "warmup_epochs": max(1, min(10, round(epochs / 10))),
        "sparse_epochs": alternating,
        "dense_epochs": alternating,
        "final_sparse_epochs": max(1, min(15, round(3 * epochs / 20))),
    }


def nearest_stretched_epochs(epochs: int, boundaries: Sequence[float | Fraction]) -> int:
    """Return the run length nearest to ``epochs`` at which ``Timeline.stretched`` has no empty phase.

    Of two lengths that are equally near, the longer is returned. The search ends, because no phase is empty in a run
    that is long enough to give every phase a whole epoch.

    Args:
        boundaries: rising fractions in (0, 1).
    """
    for distance in count():
        for candidate in (epochs + distance, epochs - distance):
            try:
                Timeline.stretched(candidate, boundaries)
            except TimelineError:
                continue
            return candidate
    raise AssertionError("unreachable: a long enough run always fits")
