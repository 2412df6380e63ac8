"""The metric that the program shows first for a run: its name for people, and its keys in the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Headline:
    """One metric of the records.

    Attributes:
        name: as people know it, without "validation" before it.
        val_key: in rows of metrics.jsonl and in the sections of result.json.
        train_key: in rows of metrics.jsonl; None: there is no such number of the training batches.
        direction: 1 if a larger value is better, -1 if a smaller one is.
        digits: shown behind the point.
    """

    name: str
    val_key: str
    train_key: str | None = None
    direction: int = 1
    digits: int = 4

    @property
    def column(self) -> str:
        """The metric's name in a column of a spreadsheet: ``top1`` of ``val_top1``."""
        return self.val_key.removeprefix("val_")

    def text(self, value: float | None) -> str:
        """A value of the metric, as it is shown; a dash for None."""
        return "–" if value is None else f"{value:.{self.digits}f}"


TOP1 = Headline("top-1", val_key="val_top1", train_key="train_top1")


def headline_of(result: Mapping[str, Any]) -> Headline:
    """Return the headline metric that a result.json names. Results of before it was named are of image classifiers."""
    return Headline(**result["headline"]) if result.get("headline") else TOP1


def as_record(headline: Headline) -> dict[str, Any]:
    """Return the entry of result.json that ``headline_of`` reads."""
    return asdict(headline)
