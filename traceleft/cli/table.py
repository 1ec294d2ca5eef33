"""Tables on stdout: drawn on a terminal, plain columns elsewhere."""

import sys
from collections.abc import Sequence

from traceleft.terminal import printable, say


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table; the columns that ``right`` names by number are numbers."""
    rows = [[*map(printable, row)] for row in rows]
    if sys.stdout.isatty():
        draw_table(head, rows, right=right)
        return
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        say("  ".join(cells).rstrip())


def draw_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> None:
    """Draw a table on the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column, name in enumerate(head):
        table.add_column(name, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        # No markup: what a battery says is data.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
