"""What every engine ends in: groups of partial figures, added up, ordered and cut to a ``Result``.

An engine gives ``Groups``; they merge, over windows, hosts and engines, and ``finish`` makes rows of them. So the same
partial figures give the same numbers, whichever engine they come from.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from traceleft.aggregator.rollups.histogram import PERCENT_SCALE, log2_bucket, percentile
from traceleft.aggregator.rollups.parse import parse_measure
from traceleft.aggregator.rollups.parts import Function, KeyValue, Measure, MeasureValue
from traceleft.aggregator.rollups.rollup import Result, Rollup, Row

Keys = tuple[KeyValue, ...]
Window = int | None
"""When a window begins, in nanoseconds since the epoch; None where there are no windows."""

NUMBERS: Final[frozenset[Function]] = frozenset({"sum", "min", "max", "avg"})
COUNTERS: Final[frozenset[Function]] = frozenset({"percentile", "histogram", "exact"})


@dataclass(slots=True)
class Numbers:
    """What ``sum``, ``min``, ``max`` and ``avg`` are read from: how many values there were, and which."""

    n: int = 0
    total: int = 0
    low: int | None = None
    high: int | None = None

    def add(self, other: "Numbers") -> None:
        """Add other values to these."""
        self.n += other.n
        self.total += other.total
        if other.low is not None and (self.low is None or other.low < self.low):
            self.low = other.low
        if other.high is not None and (self.high is None or other.high > self.high):
            self.high = other.high


Counter = dict[int, int]
"""How many values there were: by bucket of the histogram for ``percentile``, by power of two (``log2_bucket``) for
``histogram``, by the value itself for ``exact``."""
Partial = Numbers | Counter | None
"""One measure's partial figure: Numbers for ``NUMBERS``, a Counter for ``COUNTERS``, None for ``count`` and
``errors``."""


@dataclass(slots=True)
class Cell:
    """The partial figures of one group in one window, those of measures as ``partial_measures`` lists them."""

    count: int = 0
    errors: int = 0
    partials: tuple[Partial, ...] = ()

    def add(self, other: "Cell") -> None:
        """Add another cell of the same rollup to this one."""
        self.count += other.count
        self.errors += other.errors
        for mine, theirs in zip(self.partials, other.partials, strict=True):
            if isinstance(mine, Numbers) and isinstance(theirs, Numbers):
                mine.add(theirs)
            elif isinstance(mine, dict) and isinstance(theirs, dict):
                for bucket, count in theirs.items():
                    mine[bucket] = mine.get(bucket, 0) + count

    def copy(self) -> "Cell":
        """Return a cell of the same figures that can be added to."""
        return Cell(self.count, self.errors, tuple(map(copy, self.partials)))


@dataclass(slots=True)
class Groups:
    """Partial figures of a rollup, which can be merged.

    ::

        total = Groups()
        for aggregator in aggregators:  # one for each host
            total.add(aggregator.groups())
        result = finish(rollup, total)

    ``cells`` has a cell for each window and tuple of keys (None: beyond ``max_keys``). ``events``, ``late`` and
    ``capped`` are as in ``Result``.
    """

    cells: dict[tuple[Window, Keys | None], Cell] = field(default_factory=dict)
    events: int = 0
    late: int = 0
    capped: int = 0

    def add(self, other: "Groups") -> None:
        """Add the groups of another host, or of another part of the data. The other groups do not change."""
        for (window, keys), cell in other.cells.items():
            self.add_cell(window, keys, cell)
        self.events += other.events
        self.late += other.late
        self.capped += other.capped

    def add_cell(self, window: Window, keys: Keys | None, cell: Cell) -> None:
        """Add one cell to the cell of its window and keys. The added cell does not change."""
        mine = self.cells.get((window, keys))
        if mine is None:
            self.cells[window, keys] = cell.copy()
        else:
            mine.add(cell)


@lru_cache(maxsize=64)
def partial_measures(rollup: Rollup) -> tuple[Measure, ...]:
    """Return the measures that engines keep partial figures of: the rollup's, and ``order_by`` where it is not one of
    them."""
    order = order_measure(rollup)
    return rollup.measures if order in rollup.measures else (*rollup.measures, order)


@lru_cache(maxsize=64)
def order_measure(rollup: Rollup) -> Measure:
    """Return the measure that rows are ordered by."""
    named = (measure for measure in rollup.measures if measure.name == rollup.order_by)
    return next(named, None) or parse_measure(rollup.order_by)


def empty_partial(function: Function) -> Partial:
    """Return the partial figure of no value."""
    return Numbers() if function in NUMBERS else {} if function in COUNTERS else None


def value_of(measure: Measure, cell: Cell, partial: Partial) -> MeasureValue:
    """Return a measure's figure."""
    match measure.function, partial:
        case "count", _:
            return cell.count
        case "errors", _:
            return cell.errors
        case (("sum" | "min" | "max" | "avg"), Numbers() as numbers):
            return _number(measure.function, numbers)
        case "percentile", dict(buckets):
            return percentile(buckets, measure.thousandths)
        case "histogram", dict(powers):
            return dict(sorted(powers.items()))
        case "exact", dict(values):
            return exact_percentile(values, measure.thousandths)
    raise TypeError(f"{measure.name}: {measure.function} is not read from {type(partial).__name__}")


def _number(function: Function, numbers: Numbers) -> int | None:
    if not numbers.n:
        return None
    match function:
        case "sum":
            return numbers.total
        case "avg":
            return numbers.total // numbers.n
    return numbers.low if function == "min" else numbers.high


def exact_percentile(values: Mapping[int, int], thousandths: int) -> int | None:
    """Return the value of that rank (the nearest rank, as ``percentile`` has it) among values and how often each is."""
    rank = max(1, -(-sum(values.values()) * thousandths // (100 * PERCENT_SCALE)))
    seen = 0
    for value in sorted(values):
        seen += values[value]
        if seen >= rank:
            return value
    return None


def powers_of(buckets: Mapping[int, int]) -> Counter:
    """Return counts by power of two of counts by bucket."""
    powers: Counter = {}
    for bucket, count in buckets.items():
        power = log2_bucket(bucket)
        powers[power] = powers.get(power, 0) + count
    return powers


def finish(rollup: Rollup, groups: Groups, *, notices: tuple[str, ...] = ()) -> Result:
    """Return the rows of groups: measures computed, ordered, cut to ``top``, and the rest added up as ``other``."""
    windows: dict[Window, list[tuple[Keys | None, Cell]]] = {}
    for (window, keys), cell in groups.cells.items():
        if cell.count:
            windows.setdefault(window, []).append((keys, cell))
    order = sorted(windows, key=lambda window: (window is not None, window or 0))
    rows = tuple(row for window in order for row in _rows(rollup, window, windows[window]))
    return Result(rollup, rows, groups.events, groups.late, groups.capped, notices)


def _rows(rollup: Rollup, window: Window, listed: list[tuple[Keys | None, Cell]]) -> Iterable[Row]:
    bounds = None if window is None or rollup.window_ns is None else (window, window + rollup.window_ns)
    measures = partial_measures(rollup)
    order = order_measure(rollup)
    place = measures.index(order)

    def rank(group: tuple[Keys, Cell]) -> Any:
        value = value_of(order, group[1], group[1].partials[place])
        number = value if isinstance(value, int) else 0
        return value is None, -number, [rank_key(key) for key in group[0]]

    named = sorted(((keys, cell) for keys, cell in listed if keys is not None), key=rank)
    kept = named if rollup.top is None else named[: rollup.top]
    rest = [cell for _, cell in named[len(kept) :]] + [cell for keys, cell in listed if keys is None]
    for keys, cell in kept:
        yield Row(bounds, keys, _values(rollup, measures, cell))
    if rest:
        other = rest[0].copy()
        for cell in rest[1:]:
            other.add(cell)
        yield Row(bounds, None, _values(rollup, measures, other))


def rank_key(value: KeyValue) -> tuple[int, int, str]:
    """Return what keys are ordered by: numbers, then text by code points, then None."""
    if value is None:
        return 2, 0, ""
    return (0, value, "") if isinstance(value, int) else (1, 0, value)


def _values(rollup: Rollup, measures: tuple[Measure, ...], cell: Cell) -> tuple[MeasureValue, ...]:
    pairs = zip(measures, cell.partials, strict=True)
    return tuple(value_of(measure, cell, partial) for measure, partial in pairs)[: len(rollup.measures)]
