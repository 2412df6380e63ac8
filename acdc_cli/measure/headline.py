"""The headline metric, which the program shows first for a run: its displayed name and its keys in the records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """One metric of the records.

    Attributes:
        name: displayed name, without the word "validation".
        val_key: key of the validation value in rows of metrics.jsonl and in the sections of result.json.
        train_key: key of the training value in rows of metrics.jsonl.
        direction: 1 if larger values are better, -1 if smaller values are better.
        digits: number of displayed decimals.
    """

    name: str
    val_key: str
    train_key: str
    direction: int = 1
    digits: int = 4

    def text(self, value: float | None) -> str:
        """Return a value of the metric as text; a dash for None."""
        return "–" if value is None else f"{value:.{self.digits}f}"


HEADLINE = Headline("top-1", val_key="val_top1", train_key="train_top1")
