"""Draw the figures of one run as SVG text, from its records."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from acdc_cli.records.epoch_row import EpochRow, metric_of
from acdc_cli.records.headline import Headline
from acdc_cli.report.colors import PHASE_COLOR

Rows = list[EpochRow]

INK, MUTED = "#1d2733", "#6b7785"
WIDE, HALF = (9.2, 3.1), (4.5, 2.9)
MARGIN_INCHES = (0.7, 0.1, 0.45, 0.3)  # left, right, bottom, top

STYLE: Any = {
    "svg.fonttype": "none",  # keeps text as text, which can be selected and makes the file smaller
    "svg.hashsalt": "acdc",  # makes the same records give the same bytes
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaee",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def _draw(size: tuple[float, float], plot: Callable[[Axes], None], *, long_labels: bool = False) -> str:
    """Return one plot as SVG.

    Margins are fixed unless ``long_labels`` is set, because measuring the labels takes as long as drawing the plot.
    """
    width, height = size
    left, right, bottom, top = MARGIN_INCHES
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained" if long_labels else None)
        plot(figure.subplots())
        if not long_labels:
            figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _by_phase(axes: Axes, rows: Rows, values: Sequence[float], **style: Any) -> None:
    """Draw a curve over epochs, with a value for each, whose segments have the colour of their phase."""
    axes.plot([rows[0]["epoch"] + 1], values[:1], ".", color=PHASE_COLOR[rows[0]["phase"]], **style)
    for (before, row), span in zip(pairwise(rows), pairwise(values), strict=True):
        epochs = [before["epoch"] + 1, row["epoch"] + 1]
        axes.plot(epochs, span, color=PHASE_COLOR[row["phase"]], solid_capstyle="round", **style)


def _numbers(rows: Rows, key: str) -> list[float]:
    """Return a key's value in each of the rows that have one."""
    return [value for row in rows if (value := metric_of(row, key)) is not None]


def _shade_sparse(axes: Axes, rows: Rows) -> None:
    for row in rows:
        if row["phase"] == "sparse":
            axes.axvspan(row["epoch"] + 0.5, row["epoch"] + 1.5, color=PHASE_COLOR["sparse"], alpha=0.08, lw=0)
    axes.set_xlim(rows[0]["epoch"] + 0.5, rows[-1]["epoch"] + 1.5)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _phase_legend(axes: Axes, rows: Rows) -> None:
    kinds = sorted({row["phase"] for row in rows})
    handles = [Patch(color=PHASE_COLOR[kind], label=f"{kind} phase") for kind in kinds]
    axes.legend(handles=handles, loc="lower right")


def headline_figure(rows: Rows, headline: Headline) -> str:
    """Draw the headline metric on the validation set at the end of every epoch."""

    def plot(axes: Axes) -> None:
        axes.set_title(f"Validation {headline.label}")
        _shade_sparse(axes, rows)
        values = _numbers(rows, headline.val_key)
        _by_phase(axes, rows, values, lw=2)
        if headline.direction == "up" and all(0 <= value <= 1 for value in values):
            axes.set_ylim(top=min(axes.get_ylim()[1], 1.01))
        _phase_legend(axes, rows)

    return _draw(WIDE, plot)


def loss_figure(rows: Rows) -> str:
    """Draw the training and validation loss of every epoch."""

    def plot(axes: Axes) -> None:
        axes.set_title("Loss: training (solid), validation (thin)")
        _shade_sparse(axes, rows)
        _by_phase(axes, rows, _numbers(rows, "train_loss"), lw=2)
        _by_phase(axes, rows, _numbers(rows, "val_loss"), lw=0.8)
        if min(min(row["train_loss"], row["val_loss"]) for row in rows) > 0:
            axes.set_yscale("log")

    return _draw(HALF, plot)


def sparsity_figure(rows: Rows) -> str:
    """Draw the fraction of prunable weights that are zero at the end of every epoch."""

    def plot(axes: Axes) -> None:
        axes.set_title("Weights that are zero")
        _shade_sparse(axes, rows)
        _by_phase(axes, rows, _numbers(rows, "sparsity"), lw=2)
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1))

    return _draw(HALF, plot)


def mask_change_figure(rows: Rows) -> str:
    """Draw the fraction of the mask that each sparse phase changed."""
    changes = [row for row in rows if row["mask_change"] is not None]

    def plot(axes: Axes) -> None:
        axes.set_title("Mask change from the previous sparse phase")
        _shade_sparse(axes, rows)
        epochs = [row["epoch"] + 1 for row in changes]
        axes.bar(epochs, _numbers(changes, "mask_change"), color=PHASE_COLOR["sparse"], width=0.9)
        axes.yaxis.set_major_formatter(PercentFormatter(1))

    return _draw(HALF, plot)


def stayed_zero_figure(rows: Rows) -> str:
    """Draw the fraction of pruned weights that are still zero in dense phases."""
    dense = [row for row in rows if row["stayed_zero"] is not None]

    def plot(axes: Axes) -> None:
        axes.set_title("Pruned weights still zero in dense phases")
        _shade_sparse(axes, rows)
        fractions = _numbers(dense, "stayed_zero")
        axes.bar([row["epoch"] + 1 for row in dense], fractions, color=PHASE_COLOR["dense"])
        axes.set_ylim(0, max([0.01, *(1.05 * fraction for fraction in fractions)]))
        axes.yaxis.set_major_formatter(PercentFormatter(1))

    return _draw(HALF, plot)


def dead_channels_figure(rows: Rows) -> str:
    """Draw the number of output channels whose weights are all zero at the end of every epoch."""

    def plot(axes: Axes) -> None:
        axes.set_title("Output channels without non-zero weights")
        _shade_sparse(axes, rows)
        channels = _numbers(rows, "dead_channels")
        _by_phase(axes, rows, channels, lw=2)
        axes.set_ylim(0, max(4.0, 1.05 * max(channels)))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))

    return _draw(HALF, plot)


def flops_figure(rows: Rows, dense_flops: float) -> str:
    """Draw the training FLOPs per sample of every epoch as a fraction of dense training.

    Args:
        rows: the records of all epochs.
        dense_flops: forward FLOPs per sample of the dense model.
    """
    per_sample_dense = 3 * dense_flops

    def plot(axes: Axes) -> None:
        axes.set_title("Training FLOPs per sample, over dense training")
        _shade_sparse(axes, rows)
        _by_phase(axes, rows, [row["train_flops"] / per_sample_dense for row in rows], lw=2)
        axes.axhline(1, color=MUTED, lw=0.8, ls="--")
        axes.set_ylim(0, 1.08)
        axes.yaxis.set_major_formatter(PercentFormatter(1))

    return _draw(HALF, plot)


def layer_figure(layer_sparsity: dict[str, float], total: float) -> str:
    """Draw the sparsity of every prunable layer, in model order, and of all weights together as a line.

    Args:
        layer_sparsity: weight name -> fraction of zeros.
        total: fraction of zeros over all prunable weights.
    """
    names = list(layer_sparsity)

    def plot(axes: Axes) -> None:
        axes.set_title(f"Layer-wise sparsity (all weights: {total:.2%})")
        positions = range(len(names))
        values = [layer_sparsity[name] for name in names]
        axes.barh(positions, values, color=PHASE_COLOR["sparse"], height=0.7)
        for position, value in zip(positions, values, strict=True):
            axes.text(min(value, 0.995) + 0.005, position, f"{value:.1%}", va="center", fontsize=7, color=MUTED)
        axes.set_yticks(positions, [name.removesuffix(".weight") for name in names])
        axes.axvline(total, color=MUTED, lw=0.8, ls="--")
        axes.invert_yaxis()
        axes.set_xlim(0, 1.07)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(PercentFormatter(1))

    return _draw((9.2, 0.9 + 0.24 * len(names)), plot, long_labels=True)
