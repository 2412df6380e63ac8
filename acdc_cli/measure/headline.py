"""The metric that the program shows first for a run: its name for people, and its keys in the records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """One metric of the records.

    Attributes:
        name: as people know it, without "validation" before it.
        val_key: in rows of metrics.jsonl and in the sections of result.json.
        train_key: in rows of metrics.jsonl.
        direction: 1 if a larger value is better, -1 if a smaller one is.
        digits: shown behind the point.
    """

    name: str
    val_key: str
    train_key: str
    direction: int = 1
    digits: int = 4

    def text(self, value: float | None) -> str:
        """A value of the metric, as it is shown; a dash for None."""
        return "–" if value is None else f"{value:.{self.digits}f}"


HEADLINE = Headline("top-1", val_key="val_top1", train_key="train_top1")
