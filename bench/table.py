"""Tables and targets from results: pure, so that a report says the same of the same figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

NOTHING: Final = "-"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    marks = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows))


def number(value: float | None) -> str:
    """Return a figure with three digits that count, and thousands apart; a dash for none."""
    if value is None:
        return NOTHING
    size = abs(value)
    digits = 0 if size >= 100 or not size else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def megabytes(value: float | None) -> str:
    """Return bytes as megabytes."""
    return NOTHING if value is None else number(value / 1e6)


def ratio(measured: float | None, base: float | None) -> float | None:
    """Return how many times the base something is; None where either is not known or the base is nothing."""
    return None if measured is None or base is None or base <= 0 else measured / base


def times(value: float | None) -> str:
    """Return a ratio."""
    return NOTHING if value is None else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


@dataclass(frozen=True, slots=True)
class Target:
    """A goal of issue 4: the most (or the least) that a figure may be. `measured` is None where it was not."""

    text: str
    measured: float | None
    limit: float
    unit: str = "times"
    is_least: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether it is; None where nothing was measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.is_least else self.measured <= self.limit

    def row(self) -> list[str]:
        """Return its line of the table: target, limit, measured, met."""
        sign = "≥" if self.is_least else "≤"
        met = {True: "yes", False: "**no**", None: NOTHING}[self.is_met]
        measured = NOTHING if self.measured is None else f"{number(self.measured)} {self.unit}"
        return [self.text, f"{sign} {number(self.limit)} {self.unit}", measured, met]


def look_up(document: Mapping[str, Any], *keys: str | int) -> Any:
    """Return what lies in a document under these keys; None where one of them is not there."""
    found: Any = document
    for key in keys:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError):
            return None
    return found
