"""The lines of a run that stay in the terminal: one an epoch, or in a long run one a phase, in aligned columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acdc_cli.records.epoch_row import EpochRow, metric_of
from acdc_cli.records.headline import TOP1, Headline
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.training.durations import duration

MOST_LINES = 40  # a run of at most so many epochs keeps a line of every one
LONG_RUN_LINES = 20  # a longer one keeps about so many, beside the last epoch of each phase
GAP = "  "


@dataclass(frozen=True)
class Kept:
    """What one line shows.

    Attributes:
        row: the record of the last epoch that the line stands for.
        seconds: of all epochs that the line stands for.
        seconds_left: of the run.
    """

    row: EpochRow
    epochs: int  # of the whole run
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class Column:
    """One column: heading, least width, and the cell's text."""

    heading: str
    width: int
    cell: Callable[[Kept], str]


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 1000 else f"{value:.2e}"  # 8 characters at most


def _columns(headline: Headline) -> tuple[Column, ...]:
    return (
        Column("epoch", 5, lambda kept: f"{kept.row['epoch'] + 1}/{kept.epochs}"),
        Column("phase", 6, lambda kept: kept.row["phase"]),
        Column("train loss", 10, lambda kept: _number(kept.row["train_loss"])),
        _column_of(headline, "train", headline.train_key),
        Column("val loss", 8, lambda kept: _number(kept.row["val_loss"])),
        _column_of(headline, "val", headline.val_key),
        Column("sparsity", 8, lambda kept: f"{kept.row['sparsity']:.4f}"),
        Column("learning rate", 13, lambda kept: f"{kept.row['lr']:.3g}"),
        Column("samples/s", 9, lambda kept: f"{kept.row['samples_per_second']:,.0f}"),
        Column("time", 8, lambda kept: duration(kept.seconds)),
        Column("left", 8, lambda kept: duration(kept.seconds_left)),
    )


def _column_of(headline: Headline, split: str, key: str | None) -> Column:
    heading = f"{split} {headline.label}"
    return Column(heading, max(8, len(heading)), lambda kept: headline.text(metric_of(kept.row, key or "")))


def _by_use(headline: Headline) -> tuple[str, ...]:
    """Return the headings beside those that are always there, the most useful first."""
    train = (f"train {headline.label}",) if headline.train_key else ()
    return ("sparsity", "val loss", "train loss", "left", *train, "samples/s", "learning rate")


def kept_epochs(timeline: Timeline) -> frozenset[int]:
    """The epochs (0-based) that leave a line.

    In a run of at most 40 epochs every epoch does; in a longer one the last epoch of each phase, and the last of each
    twentieth of the run, so that a phase of a hundred epochs is not silent.
    """
    epochs = timeline.total_epochs
    if epochs <= MOST_LINES:
        return frozenset(range(epochs))
    every = -(-epochs // LONG_RUN_LINES)
    return frozenset({phase.end_epoch - 1 for phase in timeline.phases} | set(range(every - 1, epochs, every)))


def fitting_columns(width: int, epochs: int, name: str = "", headline: Headline = TOP1) -> tuple[Column, ...]:
    """The columns that fit into ``width`` characters, in their order.

    Args:
        width: of the terminal.
        epochs: of the run.
        name: stands before every line, if it is not empty.
        headline: the metric that has columns.
    """
    epoch_width = max(len("epoch"), len(f"{epochs}/{epochs}"))
    columns = {each.heading: each for each in _columns(headline)}
    columns["epoch"] = Column("epoch", epoch_width, columns["epoch"].cell)
    chosen = {"epoch", "phase", f"val {headline.label}", "time"}
    for heading in _by_use(headline):
        wanted = {*chosen, heading}
        if len(_prefix(name)) + sum(columns[each].width + len(GAP) for each in wanted) - len(GAP) > width:
            break
        chosen = wanted
    return tuple(column for heading, column in columns.items() if heading in chosen)


def header(columns: Sequence[Column], name: str = "") -> str:
    """The line of headings."""
    return _prefix(name) + GAP.join(_aligned(column, column.heading) for column in columns)


def epoch_line(columns: Sequence[Column], kept: Kept, name: str = "") -> str:
    """The line that stays."""
    return _prefix(name) + GAP.join(_aligned(column, column.cell(kept)) for column in columns)


def _prefix(name: str) -> str:
    return f"{name}{GAP}" if name else ""


def _aligned(column: Column, text: str) -> str:
    return text.ljust(column.width) if column.heading == "phase" else text.rjust(column.width)
