"""Which epoch of a run is its best: by the headline metric, among epochs that are as sparse as the run ends.

Methods such as STR, SparseVD and gradual pruning are denser in their early epochs, and more accurate for that.
Those epochs are no result of the run, so they do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from acdc_cli.records.headline import TOP1, Headline

Row = Mapping[str, Any]  # of metrics.jsonl

SPARSITY_TOLERANCE = 0.001  # by which an epoch may be less sparse than the last one of its kind


def best_epoch(rows: Sequence[Row], kind: str, headline: Headline = TOP1) -> Row | None:
    """The best epoch of a phase kind, the earliest of equally good ones; None if no epoch was of that kind.

    Args:
        rows: the records of all epochs, in order.
        kind: ``sparse``: of the epochs whose ``sparsity`` is at least that of the last sparse one less 0.001;
            ``dense``: of all dense epochs.
        headline: the metric.
    """
    of_kind = [row for row in rows if row["phase"] == kind]
    if not of_kind:
        return None
    least = _required_sparsity(of_kind[-1]) - SPARSITY_TOLERANCE
    return max((row for row in of_kind if _required_sparsity(row) >= least), key=lambda row: _score(row, headline))


def possible_best_epochs(rows: Sequence[Row], kind: str, headline: Headline = TOP1) -> list[int]:
    """The epochs of a phase kind that ``best_epoch`` can still name, however the run goes on.

    How sparse the run ends is not known before its end. An epoch is out of the race when another one is at least as
    sparse and better, or as good and earlier: wherever the first would count, the second counts too. The others are the
    Pareto front of accuracy and sparsity; of dense epochs that is one.
    """
    of_kind = [row for row in rows if row["phase"] == kind]
    return [row["epoch"] for row in of_kind if not any(_replaces(other, row, headline) for other in of_kind)]


def _replaces(other: Row, row: Row, headline: Headline) -> bool:
    if _required_sparsity(other) < _required_sparsity(row):
        return False
    return (_score(other, headline), -other["epoch"]) > (_score(row, headline), -row["epoch"])


def _score(row: Row, headline: Headline) -> float:
    return headline.direction * row[headline.val_key]


def _required_sparsity(row: Row) -> float:
    """What a sparse epoch is compared by; zeros that stay in a dense phase say nothing about it."""
    return row["sparsity"] if row["phase"] == "sparse" else 0.0
