"""Draw the phases of a run as a bar of text, in which every column is some epochs, shaded by the kind of phase."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text

from acdc_cli.report.colors import PHASE_COLOR
from acdc_cli.sparsity.timeline import KINDS, Phase

# The shades can be told apart without colours. A column is "mixed" if it covers phases of both kinds and neither kind
# has DOMINANT_SHARE of its epochs.
SHADE = {"dense": "█", "mixed": "▒", "sparse": "░"}
STYLE = {**PHASE_COLOR, "mixed": ""}
DOMINANT_SHARE = 0.75
NARROWEST = 20


def timeline_text(phases: Sequence[Phase], width: int) -> Text:
    """Return a legend with totals, the bar, and epoch ticks below the bar.

    If every phase is at least one column wide, a column shows the phase at its middle, so that every phase is visible.
    If phases are shorter, a column shows the kind that dominates it, or the shade for mixed columns.

    Args:
        phases: contiguous phases.
        width: width of the bar in columns of the terminal; at least ``NARROWEST`` columns are used.
    """
    width = max(width, NARROWEST)
    columns = _columns(phases, width)
    bar = Text()
    for kind, run in groupby(columns):
        bar.append(SHADE[kind] * len(list(run)), style=STYLE[kind])
    ticks = Text(_ticks(phases[0].start_epoch, phases[-1].end_epoch, width), style="dim")
    return Text("\n").join([*_legend(phases, "mixed" in columns, width), bar, ticks])


def _columns(phases: Sequence[Phase], width: int) -> list[str]:
    start, total = phases[0].start_epoch, phases[-1].end_epoch - phases[0].start_epoch
    epochs = total / width
    edges = [start + column * epochs for column in range(width)]
    if all(phase.end_epoch - phase.start_epoch >= epochs for phase in phases):
        return [_kind_at(phases, edge + epochs / 2) for edge in edges]
    shares = [_dense_epochs(phases, edge, edge + epochs) / epochs for edge in edges]
    return [
        "dense" if share >= DOMINANT_SHARE else "sparse" if share <= 1 - DOMINANT_SHARE else "mixed" for share in shares
    ]


def _kind_at(phases: Sequence[Phase], moment: float) -> str:
    return next(phase.kind for phase in phases if phase.start_epoch <= moment < phase.end_epoch)


def _dense_epochs(phases: Sequence[Phase], start: float, end: float) -> float:
    overlaps = [min(end, p.end_epoch) - max(start, p.start_epoch) for p in phases if p.kind == "dense"]
    return sum(max(0.0, overlap) for overlap in overlaps)


def _legend(phases: Sequence[Phase], mixed: bool, width: int) -> list[Text]:
    """Return the legend as one line, or as one line per kind if it is wider than ``width``."""
    entries = []
    for kind in KINDS:
        lengths = [phase.end_epoch - phase.start_epoch for phase in phases if phase.kind == kind]
        if lengths:
            text = f"{kind} {_counted(sum(lengths), 'epoch')} in {_counted(len(lengths), 'phase')}"
            entries.append(Text.assemble((SHADE[kind], STYLE[kind]), f" {text}"))
    if mixed:
        entries.append(Text(f"{SHADE['mixed']} both, too short to draw"))
    line = Text("   ").join(entries)
    return [line] if line.cell_len <= width else entries


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _ticks(start: int, end: int, width: int) -> str:
    """Return the ticks, such as ``|0   |10   |20 ...    100|``.

    A mark is at the left edge of its epoch, except the last one, which is at the right end.
    """
    per_epoch, last = width / (end - start), f"{end}|"
    room = len(str(end)) + 4
    steps = (factor * 10**power for power in range(len(str(end)) + 1) for factor in (1, 2, 5))
    step = next((step for step in steps if step * per_epoch >= room), end)
    line = [" "] * width
    for epoch in range(-(-start // step) * step, end, step):
        label = f"|{epoch}"
        column = round((epoch - start) * per_epoch)
        if column + len(label) < width - len(last):
            line[column : column + len(label)] = label
    line[width - len(last) :] = last
    return "".join(line)
