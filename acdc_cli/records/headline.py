"""The metric that the program shows first for a run: its name for people, and its keys in the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from acdc_cli.records.run_result import HeadlineRecord


@dataclass(frozen=True)
class Headline:
    """One metric of the records.

    Attributes:
        label: what people call it, without "validation" before it.
        val_key: its key in rows of metrics.jsonl and in the sections of result.json.
        train_key: its key in rows of metrics.jsonl for the training batches; None if they have no such number.
        direction: "up" if a larger value is better, "down" if a smaller one is.
        digits: number of decimal places that are shown.
    """

    label: str
    val_key: str
    train_key: str | None = None
    direction: Literal["up", "down"] = "up"
    digits: int = 4

    @property
    def column(self) -> str:
        """The metric's name in a column of a spreadsheet: ``top1`` of ``val_top1``."""
        return self.val_key.removeprefix("val_")

    @property
    def sign(self) -> int:
        """1 if a larger value is better, -1 if a smaller one is."""
        return 1 if self.direction == "up" else -1

    def text(self, value: float | None) -> str:
        """Return a value of the metric as it is shown; a dash for None."""
        return "–" if value is None else f"{value:.{self.digits}f}"


TOP1 = Headline("top-1", val_key="val_top1", train_key="train_top1")


def headline_of(result: Mapping[str, object]) -> Headline:
    """Return the headline metric that a result.json names. Older results name none: they are of image classifiers."""
    if (record := cast(HeadlineRecord | None, result.get("headline"))) is None:
        return TOP1
    return Headline(record["label"], record["name"], record["train_name"], record["direction"], record["digits"])


def as_record(headline: Headline) -> HeadlineRecord:
    """Return the entry of result.json that ``headline_of`` reads. Its ``name`` is the metric's key in the records."""
    return {
        "name": headline.val_key,
        "direction": headline.direction,
        "label": headline.label,
        "train_name": headline.train_key,
        "digits": headline.digits,
    }
