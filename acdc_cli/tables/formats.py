"""Write a table as Markdown, LaTeX (booktabs), CSV and PNG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acdc_cli.report.table import csv_table, markdown_table
from acdc_cli.system.files import replace_file, replace_text
from acdc_cli.tables.fill import FilledRow
from acdc_cli.tables.spec import UNKNOWN, TableSpec
from acdc_cli.tables.text import TextTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATEX = {
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "{": r"\{",
    "}": r"\}",
    "±": r"$\pm$",
    "–": "--",
    "ᵈ": "$^d$",
    "ᵐ": "$^m$",
    "ˢ": "$^s$",
    "ᵒ": "$^o$",
}
CHARACTER_INCHES, TITLE_CHARACTER_INCHES, NOTE_CHARACTER_INCHES, LINE_INCHES = 0.085, 0.09, 0.058, 0.24


def write_table(folder: Path, spec: TableSpec, rows: Sequence[FilledRow], table: TextTable) -> list[Path]:
    """Write NAME.md, NAME.csv, NAME.tex and NAME.png into the folder, replacing old ones. Returns their paths."""
    page, numbers, source, picture = paths = [
        folder / f"{spec.name}.{suffix}" for suffix in ("md", "csv", "tex", "png")
    ]
    text = markdown(table)
    is_drawn = picture.is_file() and page.is_file() and page.read_text() == text
    # Drawing takes a quarter of a second, so a picture is kept if the page has not changed. The page is replaced after
    # the picture: after an interruption, an old page makes the picture be drawn again.
    if not is_drawn:
        replace_file(picture, lambda temporary: _draw(table).savefig(temporary, format="png", dpi=150))
    replace_text(page, text)
    replace_text(numbers, full_csv(spec, rows) + "\n")
    replace_text(source, latex(spec.name, table))
    return paths


def markdown(table: TextTable) -> str:
    """Return a Markdown page with the table, its notes and its sources."""
    sources = [f"{number}. {source}" for number, source in enumerate(table.sources, 1)]
    listed = ["", "Published:", "", *sources] if sources else []
    notes = [line for note in table.notes for line in ("", note)]
    return "\n".join([f"# {table.title}", "", markdown_table(table.headings, table.rows), *notes, *listed, ""])


def latex(name: str, table: TextTable) -> str:
    """Return a table environment for a LaTeX document that uses booktabs."""
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in [table.headings, *table.rows]]
    sources = [f"[{number}] {source}." for number, source in enumerate(table.sources, 1)]
    below = " ".join(map(_latex, [*table.notes, *sources]))
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_latex(table.title)}}}",
            rf"\label{{tab:{name}}}",
            rf"\begin{{tabular}}{{ll{'r' * (len(table.headings) - 2)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            rf"\par\footnotesize {below}",
            r"\end{table}",
            "",
        ]
    )


def _latex(text: str) -> str:
    return re.sub("|".join(map(re.escape, LATEX)), lambda match: LATEX[match[0]], text)


def full_csv(spec: TableSpec, rows: Sequence[FilledRow]) -> str:
    """Return the table as CSV with all digits.

    Each column of the table becomes six: mean, deviation, seeds, published value, difference and source.
    """
    parts = ("", "_deviation", "_seeds", "_published", "_difference", "_source")
    columns = ["method", "setting", "seeds", "seeds_asked", "marks", "note"]
    columns += [f"{name}{part}" for name in spec.columns for part in parts]
    cells = []
    for row in rows:
        line: list[object] = [row.row.method, row.row.setting, row.seeds_done, row.seeds_asked, row.marks, row.note]
        for cell in (row.cells[name] for name in spec.columns):
            spread, published = cell.measured, cell.published
            line += [spread and spread.mean, spread and spread.deviation, spread and spread.count]
            value, source = (published.value, published.source) if published else (None, None)
            line += [UNKNOWN if published and value is None else value, cell.difference, source]
        cells.append(line)
    return csv_table(columns, cells)


def _draw(table: TextTable) -> Figure:
    """Draw the table as a picture that is as wide as the widest of the table, its title and its notes."""
    import matplotlib  # imported here because it takes half a second and only pictures need it
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from acdc_cli.report.figures import STYLE

    widths = [max(map(len, column)) + 2 for column in zip(table.headings, *table.rows, strict=True)]
    lines = len(table.rows) + 1
    notes = [*table.notes, *(f"[{number}] {source}" for number, source in enumerate(table.sources, 1))]
    table_inches = CHARACTER_INCHES * sum(widths)
    longest_note = max(map(len, notes), default=0)
    width = 0.1 + max(table_inches, TITLE_CHARACTER_INCHES * len(table.title), NOTE_CHARACTER_INCHES * longest_note)
    height = LINE_INCHES * (lines + 2 + len(notes))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        bottom = LINE_INCHES * (len(notes) + 0.5) / height
        axes = figure.add_axes((0.05 / width, bottom, table_inches / width, LINE_INCHES * lines / height))
        axes.axis("off")
        drawn = axes.table(
            cellText=table.rows, colLabels=table.headings, colWidths=[each / sum(widths) for each in widths],
            cellLoc="right", colLoc="right", bbox=Bbox.unit(), edges="horizontal",
        )  # fmt: skip
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(9)
        for (line, column), cell in drawn.get_celld().items():
            cell.set_linewidth(0.6 if line == 0 else 0.2)
            if line == 0:
                cell.set_text_props(weight="bold")
            if column < 2:
                cell.set_text_props(ha="left")
        figure.text(0.05 / width, 1 - LINE_INCHES * 0.8 / height, table.title, weight="bold", fontsize=10)
        for number, note in enumerate(reversed(notes)):
            figure.text(0.05 / width, LINE_INCHES * (number + 0.3) / height, note, fontsize=7)
    return figure
