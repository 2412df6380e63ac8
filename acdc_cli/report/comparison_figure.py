"""Draw accuracy against training FLOPs, with one panel per sparsity, as AC/DC's Figure 3 does, for a folder of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from acdc_cli.report.colors import PHASE_COLOR
from acdc_cli.report.comparison import Row
from acdc_cli.report.figures import MUTED, STYLE
from acdc_cli.system.files import replace_file

PANEL, LEGEND_LINE, LEGEND_MARKER, CHARACTER = (4.4, 3.4), 0.2, 0.6, 0.08  # inches
MARKERS = ["o", "s", "^", "v", "D", "P", "X", "<", ">", "p", "h", "*"]


def save_figure(path: Path, rows: Sequence[Row]) -> None:
    """Draw the accuracy of the sparse models against their training FLOPs.

    Each row is a point with an error bar of one standard deviation. Each panel has the Pareto front, and a horizontal
    line for dense runs.

    Args:
        path: a ``.png`` or ``.svg`` file; an existing file is replaced.
        rows: the rows of a comparison.
    """
    sparse = [row for row in rows if row.sparse_metric is not None]
    targets = list(dict.fromkeys(row.target for row in sparse))
    names = sorted({_name(row) for row in sparse})
    colors = matplotlib.colormaps["tab20" if len(names) > 10 else "tab10"]
    style = {name: (MARKERS[index % len(MARKERS)], colors(index)) for index, name in enumerate(names)}
    labels = {_name(row) for row in rows}
    width = PANEL[0] * max(2, len(targets))
    columns = max(1, int(width / (LEGEND_MARKER + CHARACTER * max(map(len, labels)))))
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(width, PANEL[1] + LEGEND_LINE * math.ceil(len(labels) / columns)), layout="constrained"
        )
        panels = figure.subplots(1, len(targets), squeeze=False)[0]
        for axes, target in zip(panels, targets, strict=True):
            _draw_panel(axes, [row for row in sparse if row.target == target], rows, style)
            axes.set_title(f"sparsity {target}")
        panels[0].set_ylabel(f"{sparse[0].headline.label} of the sparse model")
        handles = {
            label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
        replace_file(path, lambda temporary: figure.savefig(temporary, format=path.suffix[1:], dpi=150))


def pareto_front(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other row beats in both headline metric and training FLOPs, the cheapest first."""
    front = list[Row]()
    for row in sorted(rows, key=lambda row: (row.train_flops_fraction, -_goodness(row))):
        if not front or _goodness(row) > _goodness(front[-1]):
            front.append(row)
    return front


def _goodness(row: Row) -> float:
    assert row.sparse_metric is not None
    return row.headline.sign * row.sparse_metric.mean


def _value(row: Row) -> float:
    return row.headline.sign * _goodness(row)


def _draw_panel(
    axes: Axes, sparse: Sequence[Row], rows: Sequence[Row], style: Mapping[str, tuple[str, object]]
) -> None:
    for row in sparse:
        marker, color = style[_name(row)]
        axes.errorbar(
            row.train_flops_fraction,
            _value(row),
            yerr=None if row.sparse_metric is None else row.sparse_metric.deviation,
            fmt=marker,
            color=color,
            capsize=2,
            label=_name(row),
        )
    front = pareto_front(sparse)
    x, y = [row.train_flops_fraction for row in front], [_value(row) for row in front]
    axes.step(x, y, where="post", color=MUTED, linewidth=0.8, zorder=0, label="Pareto front")
    for row in rows:
        if row.method == "dense" and row.dense_metric is not None:
            axes.axhline(
                row.dense_metric.mean, color=PHASE_COLOR["dense"], linewidth=1, linestyle="--", label=_name(row)
            )
    axes.axvline(1.0, color=MUTED, linewidth=0.6, linestyle=":")
    axes.set_xlabel("training FLOPs (fraction of a dense run)")


def _name(row: Row) -> str:
    return f"{row.method} {row.setting}".strip()
