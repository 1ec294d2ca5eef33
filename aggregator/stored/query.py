"""Rollups over stored events: a rollup becomes queries, an engine runs them, ``finish`` makes rows of what comes back.

The stored events are read once for the groups and once more for each further histogram. What that gives (partial
figures by slide, key and bucket) the engine keeps; windows are put together of it, groups ordered and cut to ``top`` in
the engine, so that what reaches this process is bounded by windows and ``top``.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import ibis

from traceleft.aggregator.rollups.expression_tree import Expression
from traceleft.aggregator.rollups.histogram import PERCENT_SCALE
from traceleft.aggregator.rollups.parts import KeyValue, Measure
from traceleft.aggregator.rollups.results import (
    COUNTERS,
    Cell,
    Counter,
    Groups,
    Numbers,
    Partial,
    finish,
    order_measure,
    partial_measures,
    powers_of,
)
from traceleft.aggregator.rollups.rollup import Result, Rollup
from traceleft.aggregator.rollups.rollup_check import select_events
from traceleft.aggregator.stored.parquet import DAY, NS_A_DAY, Days, start_of
from traceleft.aggregator.stored.translate import WIDE, bucket_of, floor_divide, floor_mod, translate
from traceleft.expression import Catalogue
from traceleft.tracer.decode.texts import from_column

HUNDRED_PERCENT: Final = 100 * PERCENT_SCALE
EVER: Final = Days()
_TRACEPOINT: Final = re.compile(r"(?<![/\w])\w+:\w+(?![/\w])", re.ASCII)
_WINDOW: Final = "window"
_SLOT: Final = "slot"
_BUCKET: Final = "bucket"

Label = tuple[int | KeyValue, ...]
"""What tells a group in rows that come back: its window, where there are windows, and its slot or its keys."""


class Engine(Protocol):
    """Runs queries over a table of events."""

    @property
    def events(self) -> Any:
        """The stored events, as an Ibis table of ``columns.COLUMNS``."""
        ...

    def keep(self, expression: Any) -> Any:
        """Run a query, keep what it gives until the engine is closed, and return that as a table."""
        ...

    def rows(self, expression: Any) -> Iterable[tuple[Any, ...]]:
        """Run a query and return its rows."""
        ...


@dataclass(frozen=True, slots=True)
class Spread:
    """Values that are counted one by one: by bucket of the histogram, or by the value itself."""

    expression: Expression
    is_exact: bool

    def bucket(self, value: Any) -> Any:
        """Return what a value is counted by."""
        return value if self.is_exact else bucket_of(value)


def run_rollup(rollup: Rollup, engine: Engine, *, catalogue: Catalogue | None = None, days: Days = EVER) -> Result:
    """Return a rollup of an engine's events of some days.

    ``catalogue`` lists events that the rollup may name in addition to those that are stored, and any tracepoint;
    ``FormatError`` for another.
    """
    events = _within(engine.events, days)
    if rollup.events:
        stored = {name for (name,) in engine.rows(events.select("event").distinct())}
        known = catalogue or Catalogue(frozenset())
        tracepoints = {name for each in rollup.events for name in _TRACEPOINT.findall(each)}
        names = select_events(rollup, replace(known, names=known.names | stored | tracepoints))
        events = events.filter(events.event.isin(sorted(names & stored)))
    return finish(rollup, _Query(rollup, engine, events).groups())


def _within(events: Any, days: Days) -> Any:
    """Return the events of some days; where the day is a partition's, no file of another is opened."""
    if DAY in events.columns:
        partition = events[DAY]
        events = events if days.since is None else events.filter(partition >= days.since.isoformat())
        events = events if days.until is None else events.filter(partition <= days.until.isoformat())
    if days.since is not None:
        events = events.filter(events.ts >= start_of(days.since))
    return events if days.until is None else events.filter(events.ts < start_of(days.until) + NS_A_DAY)


class _Query:
    """The queries of one rollup.

    Columns: ``window`` is when a slide or window begins, ``k0``… the keys, ``x0``… the values of measures, and of each
    ``x0_n``, ``x0_total``, ``x0_low``, ``x0_high``.
    """

    def __init__(self, rollup: Rollup, engine: Engine, events: Any) -> None:
        self._rollup = rollup
        self._engine = engine
        self._measures = partial_measures(rollup)
        self._expressions = [*dict.fromkeys(each.expression for each in self._measures if each.expression is not None)]
        self._keys = [f"k{at}" for at in range(len(rollup.by))]
        self._windows = [] if rollup.window_ns is None else [_WINDOW]
        self._by = [*self._windows, *self._keys]
        self._order = order_measure(rollup)
        self._numbers = self._needed_numbers()
        self._spreads = self._ordered_spreads()
        self._base = self._select(events)

    def groups(self) -> Groups:
        """Run the queries and return the groups: those within ``top``, and the rest as one of each window."""
        first = self._engine.keep(self._first())
        slots = None if self._rollup.top is None else self._engine.keep(self._rank(first))
        grouped = self._cut(slots) if slots is not None else self._merge(self._slide(first), self._by)
        spreads = {each: self._spread(each, first, slots) for each in self._spreads}
        [(events,)] = self._engine.rows(first.aggregate(first["count"].sum()))
        groups = Groups(events=int(events or 0))
        for row in self._engine.rows(grouped.filter(grouped["count"] > 0)):
            values = dict(zip(grouped.columns, row, strict=True))
            window = values[_WINDOW] if self._windows else None
            is_rest = slots is not None and values[_SLOT] == self._rollup.top
            keys = None if is_rest else tuple(_key_of(values[key]) for key in self._keys)
            label = tuple(values[each] for each in self._label(slots))
            groups.cells[window, keys] = self._cell(values, {each: rows[label] for each, rows in spreads.items()})
        return groups

    def _needed_numbers(self) -> list[tuple[str, str]]:
        """Return the figures that are needed: name of the value, and which figure of it."""
        needed = {"sum": ("n", "total"), "avg": ("n", "total"), "min": ("n", "low"), "max": ("n", "high")}
        pairs = [
            (self._value_name(measure.expression), figure)
            for measure in self._measures
            if measure.expression is not None
            for figure in needed.get(measure.function, ())
        ]
        return [*dict.fromkeys(pairs)]

    def _ordered_spreads(self) -> list[Spread]:
        """Return the spreads that measures need, first the one that rows are ordered by: it needs no join."""
        listed = sorted(self._measures, key=lambda measure: measure != self._order)
        return [*dict.fromkeys(each for each in map(_spread_of, listed) if each is not None)]

    def _value_name(self, expression: Expression) -> str:
        return f"x{self._expressions.index(expression)}"

    def _select(self, table: Any) -> Any:
        """Return the events that count, with what they are grouped by, and their values."""
        rollup = self._rollup
        if rollup.where is not None:
            table = table.filter(translate(rollup.where, table))
        columns = {"failed": table.error.notnull().cast("int64")}
        if rollup.window_ns is not None:
            columns[_WINDOW] = table.ts - floor_mod(table.ts, rollup.slide_ns or rollup.window_ns)
        columns |= {name: translate(key.expression, table) for name, key in zip(self._keys, rollup.by, strict=True)}
        columns |= {self._value_name(each): translate(each, table) for each in self._expressions}
        return table.select(**columns)

    def _first(self) -> Any:
        """Return the partial figures by slide and keys, and by bucket of the first spread."""
        base, by = self._base, self._by
        if self._spreads:
            value = base[self._value_name(self._spreads[0].expression)]
            base = base.mutate(**{_BUCKET: self._spreads[0].bucket(value)})
            by = [*by, _BUCKET]
        figures = {"count": base.count(), "errors": base.failed.sum()}
        for name, figure in self._numbers:
            value = base[name]
            of_value = {"n": value.count, "total": value.cast(WIDE).sum, "low": value.min, "high": value.max}
            figures[f"{name}_{figure}"] = of_value[figure]()
        return base.aggregate(by=by, **figures)

    def _slide(self, partial: Any) -> Any:
        """Return partial figures once for each window that their slide is in."""
        rollup = self._rollup
        if rollup.window_ns is None or rollup.slide_ns is None:
            return partial
        slides = rollup.window_ns // rollup.slide_ns
        each = partial.mutate(back=ibis.range(0, slides).unnest())
        return each.mutate(**{_WINDOW: each[_WINDOW] - each.back * rollup.slide_ns}).drop("back")

    def _figures(self, partial: Any) -> dict[str, Any]:
        """Return what adds up the partial figures of a table."""
        figures = {each: partial[each].sum() for each in ("count", "errors")}
        for name, figure in self._numbers:
            column = partial[f"{name}_{figure}"]
            figures[f"{name}_{figure}"] = {"low": column.min, "high": column.max}.get(figure, column.sum)()
        return figures

    def _merge(self, partial: Any, by: Sequence[str]) -> Any:
        return partial.aggregate(by=by, **self._figures(partial))

    def _rank(self, first: Any) -> Any:
        """Return groups with the slot that they take: their rank in their window, ``top`` for all beyond."""
        partial = self._slide(first)
        if _spread_of(self._order) is None:
            grouped = self._merge(partial, self._by)
            grouped = grouped.mutate(order=self._ordering(grouped))
        else:
            grouped = self._merge_spread(partial)
        keys = [grouped[key].asc(nulls_first=False) for key in self._keys]
        order = [grouped.order.desc(nulls_first=False), *keys]
        rank = ibis.row_number().over(ibis.window(group_by=self._windows or None, order_by=order))
        return grouped.mutate(**{_SLOT: ibis.least(rank, self._rollup.top)}).drop("order")

    def _ordering(self, grouped: Any) -> Any:
        """Return the number that groups are ordered by."""
        measure = self._order
        if measure.expression is None:
            return grouped[measure.function]
        name = self._value_name(measure.expression)
        match measure.function:
            case "sum":
                return grouped[f"{name}_total"]
            case "avg":
                return floor_divide(grouped[f"{name}_total"], grouped[f"{name}_n"])
        return grouped[f"{name}_low" if measure.function == "min" else f"{name}_high"]

    def _merge_spread(self, partial: Any) -> Any:
        """Return groups with the percentile that they are ordered by, as its bucket: they grow together."""
        merged = self._merge(partial, [*self._by, _BUCKET])
        merged = merged.mutate(n=ibis.ifelse(merged[_BUCKET].notnull(), merged["count"], 0))
        is_reached = _is_reached(merged, self._by, self._order.thousandths) & (merged.n > 0)
        merged = merged.mutate(reached=ibis.ifelse(is_reached, merged[_BUCKET], ibis.null("int64")))
        return merged.aggregate(by=self._by, **self._figures(merged), order=merged.reached.min())

    def _cut(self, slots: Any) -> Any:
        """Return one row a slot: its group's keys and figures; the last slot is all groups beyond ``top``."""
        is_kept = slots[_SLOT] < self._rollup.top
        keys = {key: ibis.ifelse(is_kept, slots[key], ibis.null(slots[key].type())).max() for key in self._keys}
        return slots.aggregate(by=self._label(slots), **keys, **self._figures(slots))

    def _label(self, slots: Any) -> list[str]:
        """Return the columns that tell a group in what comes back."""
        return self._by if slots is None else [*self._windows, _SLOT]

    def _spread(self, spread: Spread, first: Any, slots: Any) -> "defaultdict[Label, Counter]":
        """Return a spread's counts, of exact ones the percentiles by thousandths, of each group."""
        by = self._label(slots)
        counts = self._spread_counts(spread, first, slots)
        found: defaultdict[Label, Counter] = defaultdict(dict)
        if spread.is_exact:
            asked = sorted({each.thousandths for each in self._measures if _spread_of(each) == spread})
            reached = {f"p{at}": _is_reached(counts, by, each) for at, each in enumerate(asked)}
            counts = counts.mutate(**reached)
            lowest = {name: counts[_BUCKET].min(where=counts[name]) for name in reached}
            for row in self._engine.rows(counts.aggregate(by=by, **lowest)):
                found[row[: len(by)]] = dict(zip(asked, map(int, row[len(by) :]), strict=True))
        else:
            for *label, bucket, n in self._engine.rows(counts.select(*by, _BUCKET, "n")):
                found[tuple(label)][bucket] = int(n)
        return found

    def _spread_counts(self, spread: Spread, first: Any, slots: Any) -> Any:
        """Return how many values (``n``) each bucket has, in each group that comes back."""
        partial = self._slide(first if spread == self._spreads[0] else self._further(spread))
        partial = partial.filter(partial[_BUCKET].notnull())
        if slots is not None:
            right = slots.select(**{f"right_{name}": slots[name] for name in self._by}, **{_SLOT: slots[_SLOT]})
            same = [partial[name].identical_to(right[f"right_{name}"]) for name in self._by]
            partial = partial.join(right, same)
        return partial.aggregate(by=[*self._label(slots), _BUCKET], n=partial["count"].sum())

    def _further(self, spread: Spread) -> Any:
        """Return the counts by slide, keys and bucket of a spread that is not the first."""
        value = self._base[self._value_name(spread.expression)]
        base = self._base.filter(value.notnull())
        base = base.mutate(**{_BUCKET: spread.bucket(base[value.get_name()])})
        return base.aggregate(by=[*self._by, _BUCKET], count=base.count())

    def _cell(self, values: Mapping[str, Any], spreads: Mapping[Spread, Counter]) -> Cell:
        partials = tuple(self._partial(each, values, spreads) for each in self._measures)
        return Cell(int(values["count"]), int(values["errors"]), partials)

    def _partial(self, measure: Measure, values: Mapping[str, Any], spreads: Mapping[Spread, Counter]) -> Partial:
        spread = _spread_of(measure)
        if spread is not None:
            counter = spreads[spread]
            if measure.function == "exact":
                return {counter[measure.thousandths]: 1} if counter else {}
            return powers_of(counter) if measure.function == "histogram" else counter
        if measure.expression is None:
            return None
        name = self._value_name(measure.expression)
        n, total, low, high = (values.get(f"{name}_{figure}") for figure in ("n", "total", "low", "high"))
        return Numbers(int(n or 0), int(total or 0), low, high)


def _key_of(value: Any) -> Any:
    return from_column(value) if isinstance(value, str) else value


def _spread_of(measure: Measure) -> Spread | None:
    """Return the spread that a measure is read from, None where it is read from none."""
    if measure.expression is None or measure.function not in COUNTERS:
        return None
    return Spread(measure.expression, measure.function == "exact")


def _is_reached(counts: Any, by: Sequence[str], thousandths: int) -> Any:
    """Tell of counts (``n``) by bucket whether those up to it reach a percentile's rank: no division is needed."""
    up_to = ibis.cumulative_window(group_by=by or None, order_by=_BUCKET)
    whole = ibis.window(group_by=by or None)
    return counts.n.sum().over(up_to) * HUNDRED_PERCENT >= counts.n.sum().over(whole) * thousandths
