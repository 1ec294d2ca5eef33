"""What ``top`` shows: groups since the beginning, with the rate of the last interval."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from traceleft.aggregator.rollups.results import Cell, Groups, Keys, partial_measures, rank_key, value_of
from traceleft.aggregator.rollups.rollup import Rollup

ORDERS: Final = ("rate", "calls", "errors", "time", "p50", "p99")


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One group: ``rate`` in calls a second over the last interval, the other figures since the beginning.

    ``keys`` None: what had no room for a group of its own. Times are in nanoseconds, None where none was taken.
    """

    keys: Keys | None
    rate: float
    calls: int
    errors: int
    time: int | None
    p50: int | None
    p99: int | None


@dataclass(frozen=True, slots=True)
class LiveView:
    """All rows at one moment, and what they come to together; ``elapsed_s`` since the first look."""

    rows: tuple[LiveRow, ...] = ()
    elapsed_s: float = 0.0
    rate: float = 0.0
    calls: int = 0
    errors: int = 0
    error_rate: float = 0.0

    def ordered(self, order: str) -> list[LiveRow]:
        """Return the rows by one of ``ORDERS`` from the largest on, equal ones by calls and keys, the rest last."""
        figure = _FIGURES[order]
        return sorted(self.rows, key=lambda row: (row.keys is None, -(figure(row) or 0), -row.calls, _rank(row)))


_FIGURES: Final[Mapping[str, Callable[[LiveRow], float | None]]] = {
    "rate": lambda row: row.rate,
    "calls": lambda row: row.calls,
    "errors": lambda row: row.errors,
    "time": lambda row: row.time,
    "p50": lambda row: row.p50,
    "p99": lambda row: row.p99,
}


class Live:
    """Makes views out of what was added up so far, as it grows. Its rollup has ``words.LIVE_FIGURES``, without
    windows."""

    def __init__(self, rollup: Rollup, *, begin_s: float) -> None:
        self._measures = partial_measures(rollup)
        self._begin_s = self._last_s = begin_s
        self._counts: dict[Keys | None, int] = {}
        self._total = self._errors = 0

    def update(self, groups: Groups, at_s: float) -> LiveView:
        """Return the view at a moment (in seconds of the clock of ``begin_s``)."""
        seconds = max(at_s - self._last_s, 1e-9)
        cells = {keys: cell for (_, keys), cell in groups.cells.items() if cell.count}
        rows = tuple(self._row(keys, cell, seconds) for keys, cell in cells.items())
        calls, errors = sum(row.calls for row in rows), sum(row.errors for row in rows)
        view = LiveView(
            rows,
            at_s - self._begin_s,
            _rate(calls - self._total, seconds),
            calls,
            errors,
            _rate(errors - self._errors, seconds),
        )
        self._last_s, self._total, self._errors = at_s, calls, errors
        self._counts = {keys: cell.count for keys, cell in cells.items()}
        return view

    def _row(self, keys: Keys | None, cell: Cell, seconds: float) -> LiveRow:
        pairs = zip(self._measures, cell.partials, strict=True)
        named: dict[str, Any] = {measure.name: value_of(measure, cell, partial) for measure, partial in pairs}
        return LiveRow(
            keys,
            _rate(cell.count - self._counts.get(keys, 0), seconds),
            cell.count,
            cell.errors,
            named["duration_ns_sum"],
            named["duration_ns_p50"],
            named["duration_ns_p99"],
        )


def _rate(number: int, seconds: float) -> float:
    # Figures that are read while calls come in may be a little behind those before.
    return max(number, 0) / seconds


def _rank(row: LiveRow) -> list[tuple[int, int, str]]:
    return [rank_key(key) for key in row.keys or ()]
