"""The steps at which methods change their masks, and by how much: pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Masks change every ``interval`` steps, from step ``start`` to step ``end`` inclusive.

    A step's number is the number of optimizer steps finished before it. WoodFisher counts epochs in place of steps.

    Raises:
        ValueError: unless 0 <= start <= end and interval >= 1.
    """

    start: int
    end: int
    interval: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end or self.interval < 1:
            raise ValueError(
                f"a window needs 0 <= start <= end and interval >= 1, not start={self.start}, end={self.end}, "
                f"interval={self.interval}"
            )

    def is_due(self, step: int) -> bool:
        """Return whether masks change at this step (0-based)."""
        return self.start <= step <= self.end and (step - self.start) % self.interval == 0

    @property
    def last(self) -> int:
        """The last step at which masks change."""
        return self.start + (self.end - self.start) // self.interval * self.interval

    def progress(self, step: int) -> float:
        """Return the fraction of the window that has passed at a step, in [0, 1]: 1 from the ``last`` step on."""
        if step < self.start:
            return 0.0
        return 1.0 if step >= self.last else (step - self.start) / (self.last - self.start)


def gradual_sparsity(initial: float, final: float, progress: float, power: float = 3.0) -> float:
    """Return s_f + (s_i - s_f) (1 - progress)^power, a sparsity that rises from s_i to s_f.

    Power 3 gives the cubic schedule of Zhu & Gupta 2017 (arXiv 1710.01878, equation 1).
    """
    return final + (initial - final) * (1 - progress) ** power


def cosine_drop_fraction(initial: float, step: int, end: int) -> float:
    """Return alpha / 2 (1 + cos(pi t / T_end)), which is 0 from T_end on (RigL, arXiv 1911.11134, section 3)."""
    return initial / 2 * (1 + math.cos(math.pi * min(step, end) / end)) if end else 0.0
