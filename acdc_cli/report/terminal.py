"""Print a table on a terminal without cutting any number.

A table that is too wide is printed in several parts, each of which repeats the columns that name a row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

TEXT_COLUMNS = ("model", "run", "id", "state", "method", "setting", "overrides")  # the text of these columns may wrap
NAMES = ("model", "run", "id", "method", "setting")
TEXT_WIDTH = 24  # characters; a text column with longer text is not made narrower than this
GAP = 3  # characters between two columns
Cells = Sequence[Sequence[str]]


def print_table(
    columns: Sequence[str], cells: Cells, title: str, note: str | None = None, lines: Sequence[str] = ()
) -> None:
    """Print a table in a single write, because another process may print to the same terminal.

    In a file or a pipe, the table is as wide as its text.

    Args:
        columns: headings.
        cells: rows of text, in the order of the columns.
        title: printed above the table.
        note: text below the table, wrapped at the terminal's width.
        lines: printed below the note, each unchanged.
    """
    natural = [_width(column, [row[place] for row in cells]) for place, column in enumerate(columns)]
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(sum(natural) + GAP * len(columns), cell_len(title)))
    least = [min(width, TEXT_WIDTH) if columns[place] in TEXT_COLUMNS else width for place, width in enumerate(natural)]
    tables, widest = [], console.width
    for part in parts(columns, least, console.width):
        widths = _shared_out([natural[place] for place in part], [least[place] for place in part], console.width)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for place, width in zip(part, widths, strict=True):
            is_text = columns[place] in TEXT_COLUMNS
            heading = escape(columns[place]).replace(" ", "\n")
            table.add_column(heading, justify="left" if is_text else "right", width=width, overflow="fold")
        for row in cells:
            table.add_row(*(escape(row[place]) for place in part))
        tables.append(table)
        widest = max(widest, sum(widths) + GAP * len(widths))
    with printed_at_once(Console(width=widest, highlight=False, markup=False)) as printed:
        printed.print(title, style="table.title", soft_wrap=True)
        for table in tables:
            printed.print(table)
        if note is not None:
            printed.print(note, width=console.width)
        for line in lines:
            printed.print(line, soft_wrap=True)


@contextmanager
def printed_at_once(console: Console) -> Iterator[Console]:
    """Collect everything that is printed on the console in the block, and print it in a single write at the end.

    In a file or a pipe, the blanks with which rich pads the rows of a table are removed from the ends of lines.
    """
    if console.is_terminal:
        with console:
            yield console
        return
    with console.capture() as captured:
        yield console
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def parts(columns: Sequence[str], widths: Sequence[int], available: int) -> list[list[int]]:
    """Return the parts of a table, each as a list of positions in ``columns``.

    Every part begins with the columns that name a row, followed by as many others as fit.

    Args:
        columns: headings.
        widths: width of each column in characters.
        available: width of the terminal in characters.
    """
    names = [place for place, _ in takewhile(lambda pair: pair[1] in NAMES, enumerate(columns))]
    found = [list(names)]
    for place in range(len(names), len(columns)):
        wanted = [*found[-1], place]
        if sum(widths[each] + GAP for each in wanted) > available and len(wanted) > len(names) + 1:
            found.append([*names, place])
        else:
            found[-1] = wanted
    return found


def _width(heading: str, cells: Sequence[str]) -> int:
    return max(map(cell_len, [*heading.split(), *cells]), default=0)


def _shared_out(natural: Sequence[int], least: Sequence[int], available: int) -> list[int]:
    """Return column widths that fit into ``available``. Room beyond the least widths is given out from the left."""
    left, widths = available - sum(width + GAP for width in least), []
    for wanted, width in zip(natural, least, strict=True):
        more = max(0, min(left, wanted - width))
        widths.append(width + more)
        left -= more
    return widths
