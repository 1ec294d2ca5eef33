"""The screen of ``top``: a header, and as many rows as there is room for, at any width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from traceleft.aggregator.text.result_text import show_duration, show_keys
from traceleft.terminal import as_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from traceleft.aggregator.streaming.live import LiveRow, LiveView

# Lines other than the rows: two of totals, one of keys or loss, the heads of columns.
FRAME = 4
NO_LOSS = "nothing lost"
LONGEST = 10_000_000
SCALES = ((1, ""), (1_000, "k"), (1_000_000, "M"))
KEYS = "q quit  s sort  e errors"


@dataclass(frozen=True, slots=True)
class GroupColumn:
    """A column: its head, its order in ``live.ORDERS``, the width of the screen that it needs, and its cells."""

    head: str
    order: str
    needs: int
    width: int
    show: "Callable[[LiveRow], str]"


COLUMNS = (
    GroupColumn("rate/s", "rate", 0, 8, lambda row: show_rate(row.rate)),
    GroupColumn("calls", "calls", 0, 9, lambda row: show_number(row.calls)),
    GroupColumn("errors", "errors", 44, 7, lambda row: show_number(row.errors) if row.errors else ""),
    GroupColumn("time", "time", 76, 7, lambda row: show_duration(row.time)),
    GroupColumn("p50", "p50", 66, 7, lambda row: show_duration(row.p50)),
    GroupColumn("p99", "p99", 56, 7, lambda row: show_duration(row.p99)),
)


@dataclass(frozen=True, slots=True)
class Screen:
    """What is shown: a view, how it is ordered, what it is grouped by, and the last line about loss."""

    view: "LiveView"
    order: str
    by: Sequence[str]
    loss: str = ""
    has_keys: bool = True

    def render(self, width: int, height: int, *, most: int | None = None) -> "RenderableType":
        """Return the picture of it for a terminal of so many columns and lines, of at most so many rows."""
        room = max(height - FRAME, 1)
        rows = self.view.ordered(self.order)
        shown = rows[: room if most is None else min(room, most)]
        grid = Table.grid(expand=False)
        grid.add_column(no_wrap=True, overflow="ellipsis", width=width)
        for line in self._header(hidden=len(rows) - len(shown)):
            grid.add_row(line)
        grid.add_row(self._table(shown, width))
        return grid

    def to_text(self, width: int, *, rows: int) -> str:
        """Return it as plain text of so many columns and rows, a newline at its end."""
        console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
        with console.capture() as captured:
            console.print(self.render(width, rows + FRAME))
        return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())

    def _header(self, *, hidden: int) -> "list[Text]":
        view = self.view
        minutes, seconds = divmod(int(view.elapsed_s), 60)
        first = Text(f"traceleft top  {minutes:02d}:{seconds:02d}  by {', '.join(self.by)}", style="bold")
        rest = f"  +{hidden} more rows" if hidden else ""
        errors = f"{view.errors:,} errors {show_rate(view.error_rate)}/s"
        second = Text(f"{view.calls:,} calls {show_rate(view.rate)}/s  {errors}{rest}")
        if self.loss:
            return [first, second, Text(as_line(self.loss), style="bold red")]
        return [first, second, Text(f"{NO_LOSS}  {KEYS}" if self.has_keys else NO_LOSS, style="dim")]

    def _table(self, rows: "Sequence[LiveRow]", width: int) -> Table:
        columns = [column for column in COLUMNS if width >= column.needs or column.order == self.order]
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="reverse", expand=False, width=width)
        for column in columns:
            head = Text(column.head, style="bold underline" if column.order == self.order else "")
            table.add_column(head, justify="right", no_wrap=True, width=column.width)
        for name in self.by:
            table.add_column(Text(name), no_wrap=True, overflow="ellipsis", ratio=1)
        for row in rows:
            style = "red" if row.errors and row.errors == row.calls else ""
            cells = [column.show(row) for column in columns]
            table.add_row(*map(Text, (*cells, *show_keys(row.keys, len(self.by)))), style=style)
        return table


def show_rate(rate: float) -> str:
    """Return a rate with three digits or as a whole number: ``0.42``, ``12.5``, ``1,250``."""
    return show_number(round(rate)) if rate >= 100 or not rate else f"{rate:.3g}"


def show_number(number: int) -> str:
    """Return a number, from ten millions on in thousands or millions: ``9,999,999``, ``12,500k``."""
    scale, unit = next((each for each in SCALES if number < LONGEST * each[0]), SCALES[-1])
    return f"{number // scale:,}{unit}"
