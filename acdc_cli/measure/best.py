"""Find the best epoch of a run by the headline metric, among the epochs that are as sparse as the end of the run.

Methods such as STR, SparseVD and gradual pruning are denser in their early epochs and therefore more accurate. These
epochs do not count, because a model at the final sparsity is the result of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from acdc_cli.records.epoch_row import EpochRow, metric_of
from acdc_cli.records.headline import TOP1, Headline

SPARSITY_TOLERANCE = 0.001  # an epoch may be this much less sparse than the last epoch of its kind


def best_epoch(rows: Sequence[EpochRow], kind: str, headline: Headline = TOP1) -> EpochRow | None:
    """Return the best epoch of a phase kind, or None if there is no epoch of this kind.

    The earliest of equally good epochs is returned.

    Args:
        rows: the records of all epochs, in order.
        kind: ``sparse`` compares the epochs whose ``sparsity`` is at least that of the last sparse epoch minus 0.001;
            ``dense`` compares all dense epochs.
        headline: the metric by which epochs are compared.
    """
    of_kind = [row for row in rows if row["phase"] == kind]
    if not of_kind:
        return None
    least = _required_sparsity(of_kind[-1]) - SPARSITY_TOLERANCE
    return max((row for row in of_kind if _required_sparsity(row) >= least), key=lambda row: _score(row, headline))


def possible_best_epochs(rows: Sequence[EpochRow], kind: str, headline: Headline = TOP1) -> list[int]:
    """Return the epochs of a phase kind that ``best_epoch`` may still return at the end of an unfinished run.

    The final sparsity is not known before the end. An epoch can be ruled out if another epoch is at least as sparse and
    is better, or equally good and earlier, because that epoch counts whenever the first one does. The remaining epochs
    are the Pareto front of accuracy and sparsity. For dense epochs this is a single epoch.
    """
    of_kind = [row for row in rows if row["phase"] == kind]
    return [row["epoch"] for row in of_kind if not any(_replaces(other, row, headline) for other in of_kind)]


def _replaces(other: EpochRow, row: EpochRow, headline: Headline) -> bool:
    if _required_sparsity(other) < _required_sparsity(row):
        return False
    return (_score(other, headline), -other["epoch"]) > (_score(row, headline), -row["epoch"])


def _score(row: EpochRow, headline: Headline) -> float:
    value = metric_of(row, headline.val_key)
    return -math.inf if value is None else headline.sign * value


def _required_sparsity(row: EpochRow) -> float:
    """Return the sparsity by which epochs are compared: 0 for a dense epoch, although some weights may stay zero."""
    return row["sparsity"] if row["phase"] == "sparse" else 0.0
