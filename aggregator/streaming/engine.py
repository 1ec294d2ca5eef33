"""The engine that runs a rollup in user space, over columns of events as they come, in bounded memory.

Time is cut into panes, of ``slide`` or of a whole window; a window is the sum of its panes. A pane keeps the partial
figures of at most ``max_keys`` groups, and those of all others together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy

from traceleft.aggregator.rollups.expression_tree import Expression
from traceleft.aggregator.rollups.histogram import buckets_of
from traceleft.aggregator.rollups.parts import Measure
from traceleft.aggregator.rollups.results import (
    NUMBERS,
    Cell,
    Groups,
    Keys,
    Numbers,
    Partial,
    finish,
    partial_measures,
    powers_of,
)
from traceleft.aggregator.rollups.rollup import Result, Rollup
from traceleft.aggregator.rollups.rollup_check import check_rollup
from traceleft.aggregator.streaming.batch_columns import BatchColumns, Bools, Columns, Integers
from traceleft.aggregator.streaming.evaluate import holds, integers_of
from traceleft.aggregator.streaming.factorise import Int64s, factorise
from traceleft.aggregator.streaming.grouping import count_buckets, extremes_by, sum_by
from traceleft.aggregator.streaming.key_columns import key_column, take
from traceleft.expression import Catalogue
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.schema.spec import EventSpec, Tables

T = TypeVar("T", bound=numpy.generic)

MAX_WAITING: Final = 1 << 15
MAX_WAITING_BYTES: Final = 16 << 20
# Rows of windows that overlap: an event may be in thousands of them.
MAX_CELLS: Final = 1 << 19


@dataclass(slots=True)
class _State:
    """The partial figures of one group: of each expression the numbers, and the counts by bucket, that are wanted."""

    count: int = 0
    errors: int = 0
    numbers: list[Numbers] = field(default_factory=list)
    buckets: list[dict[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Pane:
    """The groups of a stretch of time, and what came with a key beyond ``max_keys``."""

    groups: dict[Keys, _State] = field(default_factory=dict)
    other: _State | None = None


class Aggregator:
    """Runs one rollup over batches of events, in numpy.

    ::

        rollup = Rollup.parse("opens", events=["openat"], by=["comm"], measures=["count", "errors"])
        opens = Aggregator(rollup, tracer.specs, tables=tracer.tables)
        tracer.on_batch("openat", opens.add)
        tracer.run(duration_s=10)
        for row in opens.finish().to_json():
            print(row)

    ``specs`` are the events that batches can have. ``catalogue`` are the events that the rollup may name, where they
    are more. ``host`` fills the column of that name, ``cgroups`` gives the path of a cgroup by its ID, and ``stacks``
    the folded stacks of a batch. For one thread at a time.

    Raises FormatError where the rollup names an event, column or argument that is not there, or needs unbounded memory.
    """

    def __init__(
        self,
        rollup: Rollup,
        specs: Mapping[str, EventSpec],
        *,
        tables: Tables,
        host: str = "",
        cgroups: Callable[[int], str | None] | None = None,
        stacks: Callable[[Batch], Iterable[str | None]] | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.rollup = rollup
        self.events: frozenset[str] = check_rollup(rollup, specs, catalogue=catalogue)
        """The names of the events that the rollup is about, of those in ``specs``."""
        self._tables = tables
        self._host = host
        self._cgroups = cgroups
        self._stacks = stacks
        self._measures = partial_measures(rollup)
        refuse_exact(rollup)
        self._numbers = _once_each(m.expression for m in self._measures if m.function in NUMBERS)
        self._buckets = _once_each(m.expression for m in self._measures if m.function in ("percentile", "histogram"))
        self._extremes = {m.expression for m in self._measures if m.function in ("min", "max")}
        self._pane_ns = rollup.slide_ns or rollup.window_ns
        self._panes: dict[int | None, _Pane] = {}
        self._newest: int | None = None
        self._closed: int | None = None
        self._seen = self._late = self._capped = 0
        self._waiting: dict[tuple[str, int, int], list[Batch]] = {}
        self._waiting_rows = self._waiting_bytes = 0

    def add(self, batch: Batch) -> None:
        """Add the events of a batch. A batch of an event that the rollup is not about is ignored.

        Small batches wait for others of their event, at the latest until a result is asked for.
        """
        if not len(batch) or batch.spec.name not in self.events:
            return
        self._waiting.setdefault((batch.spec.name, *batch.origin), []).append(batch)
        self._waiting_rows += len(batch)
        self._waiting_bytes += batch.size_bytes
        if self._waiting_rows >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._waiting_rows = self._waiting_bytes = 0
        for batches in waiting.values():
            batch = Batch.joined(batches)
            columns = BatchColumns(batch, self._tables, host=self._host, cgroups=self._cgroups, stacks=self._stacks)
            self._add(columns, None)

    def add_columns(self, columns: Columns) -> None:
        """Add events of any kind, given as columns. Events that the rollup is not about are left out."""
        self._flush()
        if not len(columns):
            return
        wanted = None
        if self.rollup.events:
            events = columns.texts("event")
            table = numpy.array([*(name in self.events for name in events.values), False], dtype=bool)
            wanted = table[events.codes]
        self._add(columns, wanted)

    def advance(self, ts: int) -> None:
        """Close windows as if an event had come at ``ts`` (nanoseconds since the epoch), where no event comes."""
        self._newest = ts if self._newest is None else max(self._newest, ts)

    def closed(self) -> Result:
        """Return the windows that can no longer change, and forget them: each window is returned once.

        A window is closed when the newest event is ``lateness_ns`` beyond its end.
        """
        self._flush()
        window_ns = self.rollup.window_ns
        if window_ns is None or self._newest is None:
            return self._finish(Groups())
        # The last window that has ended: it begins at a multiple of a pane's length.
        until = self._newest - self.rollup.lateness_ns - window_ns
        until -= until % self._pane_length()
        if self._closed is not None and until <= self._closed:
            return self._finish(Groups())
        groups = self._collect(until)
        self._closed = until
        self._panes = {start: pane for start, pane in self._panes.items() if start is None or start > until}
        return self._finish(groups)

    def current(self) -> Result:
        """Return all windows that were not returned before, as they are now. They are kept."""
        return self._finish(self.groups())

    def finish(self) -> Result:
        """Return all windows that were not returned before, and forget them."""
        groups = self.groups()
        self._panes = {}
        return self._finish(groups)

    def groups(self) -> Groups:
        """Return the partial figures of all windows that were not returned before.

        ``Groups.add`` merges them with those of other hosts.
        """
        self._flush()
        groups = self._collect(None)
        groups.events, groups.late, groups.capped = self._seen, self._late, self._capped
        return groups

    def _finish(self, groups: Groups) -> Result:
        groups.events, groups.late, groups.capped = self._seen, self._late, self._capped
        return finish(self.rollup, groups)

    def _pane_length(self) -> int:
        assert self._pane_ns is not None
        return self._pane_ns

    def _collect(self, until: int | None) -> Groups:
        """Return the groups of all windows that were not given out and begin at ``until`` at the latest."""
        groups, cells = Groups(), 0
        for start, pane in self._panes.items():
            for window in self._windows(start, until):
                cells += len(pane.groups)
                if cells > MAX_CELLS and self.rollup.slide_ns is not None:
                    raise self.rollup.error(f"has more than {MAX_CELLS:,} rows; choose a longer `slide`", "slide")
                for keys, state in pane.groups.items():
                    groups.add_cell(window, keys, self._cell(state))
                if pane.other is not None:
                    groups.add_cell(window, None, self._cell(pane.other))
        return groups

    def _windows(self, start: int | None, until: int | None) -> Iterator[int | None]:
        """Yield when the windows begin that a pane is in."""
        if start is None or self.rollup.window_ns is None:
            yield None
            return
        step = self._pane_length()
        first = start - self.rollup.window_ns + step
        if self._closed is not None:
            first = max(first, self._closed + step)
        yield from range(first, (start if until is None else min(start, until)) + 1, step)

    def _cell(self, state: _State) -> Cell:
        return Cell(state.count, state.errors, tuple(self._partial(measure, state) for measure in self._measures))

    def _partial(self, measure: Measure, state: _State) -> Partial:
        if measure.expression is None:
            return None
        if measure.function in NUMBERS:
            return state.numbers[self._numbers.index(measure.expression)]
        buckets = state.buckets[self._buckets.index(measure.expression)]
        return powers_of(buckets) if measure.function == "histogram" else buckets

    def _add(self, columns: Columns, wanted: Bools | None) -> None:
        if self.rollup.where is not None:
            fits = holds(self.rollup.where, columns)
            wanted = fits if wanted is None else wanted & fits
        rows = None if wanted is None or wanted.all() else numpy.flatnonzero(wanted)
        count = len(columns) if rows is None else len(rows)
        self._seen += count
        if not count:
            return
        panes: Int64s | None = None
        if self._pane_ns is not None:
            times = take(columns.integers("ts").values, rows)
            self._newest = max(int(times.max()), times.item(0) if self._newest is None else self._newest)
            panes = times - times % self._pane_ns
            if self._closed is not None and (late := panes <= self._closed).any():
                self._late += int(late.sum())
                on_time = numpy.flatnonzero(~late)
                rows = on_time if rows is None else rows[on_time]
                panes, count = panes[on_time], len(on_time)
        if count:
            self._add_rows(columns, rows, panes, count)

    def _add_rows(self, columns: Columns, rows: Int64s | None, panes: Int64s | None, count: int) -> None:
        keys = [key_column(key.expression, columns, rows) for key in self.rollup.by]
        hashed = [column for key in keys for column in key.columns]
        if panes is not None and (panes != panes[0]).any():
            hashed.append(panes)
        codes, firsts = factorise(hashed, count)
        # By first appearance: which groups are kept under the cap is then the same however events are batched.
        order = numpy.argsort(_first_rows(codes, len(firsts)), kind="stable")
        ranks = numpy.empty(len(order), dtype=numpy.int64)
        ranks[order] = numpy.arange(len(order))
        codes, firsts = ranks[codes], firsts[order]
        starts: Sequence[int | None] = [None] * len(firsts) if panes is None else panes[firsts].tolist()
        named = zip(*(key.values(firsts) for key in keys), strict=True) if keys else iter([()] * len(firsts))
        counts = numpy.bincount(codes, minlength=len(firsts))
        states, places = self._find_states(zip(starts, named, strict=True), counts.tolist())
        targets = codes if len(states) == len(firsts) else places[codes]
        self._add_figures(columns, rows, targets, states)

    def _find_states(
        self, groups: Iterable[tuple[int | None, Keys]], counts: Sequence[int]
    ) -> tuple[list[_State], Int64s]:
        """Return the states that groups go to, each once, and the place among them for each group."""
        states: list[_State] = []
        others: dict[int | None, int] = {}
        places = []
        for (start, keys), count in zip(groups, counts, strict=True):
            pane = self._panes.get(start)
            if pane is None:
                pane = self._panes[start] = _Pane()
            state = pane.groups.get(keys)
            if state is None and len(pane.groups) < self.rollup.max_keys:
                state = pane.groups[keys] = self._new_state()
            if state is not None:
                places.append(len(states))
                states.append(state)
                continue
            self._capped += count
            if start not in others:
                pane.other = pane.other or self._new_state()
                others[start] = len(states)
                states.append(pane.other)
            places.append(others[start])
        return states, numpy.array(places, dtype=numpy.int64)

    def _new_state(self) -> _State:
        return _State(numbers=[Numbers() for _ in self._numbers], buckets=[{} for _ in self._buckets])

    def _add_figures(self, columns: Columns, rows: Int64s | None, codes: Int64s, states: list[_State]) -> None:
        size = len(states)
        counts = numpy.bincount(codes, minlength=size).tolist()
        failed = take(columns.texts("error").codes, rows) >= 0
        errors = numpy.bincount(codes[failed], minlength=size).tolist()
        for state, count, error in zip(states, counts, errors, strict=True):
            state.count += count
            state.errors += error
        for place, expression in enumerate(self._numbers):
            values, own = _valid(integers_of(expression, columns), rows, codes)
            if len(values):
                self._add_numbers(place, expression, values, own, states)
        for place, expression in enumerate(self._buckets):
            values, own = _valid(integers_of(expression, columns), rows, codes)
            for code, bucket, count in count_buckets(own, buckets_of(values), size):
                found = states[code].buckets[place]
                found[bucket] = found.get(bucket, 0) + count

    def _add_numbers(
        self, place: int, expression: Expression, values: Int64s, codes: Int64s, states: list[_State]
    ) -> None:
        size = len(states)
        counts = numpy.bincount(codes, minlength=size)
        totals = sum_by(codes, values, size)
        extremes = extremes_by(codes, values, size) if expression in self._extremes else None
        for code in numpy.flatnonzero(counts).tolist():
            low, high = (None, None) if extremes is None else (int(extremes[0][code]), int(extremes[1][code]))
            states[code].numbers[place].add(Numbers(int(counts[code]), totals[code], low, high))


def refuse_exact(rollup: Rollup) -> None:
    """Raise ``FormatError`` where a rollup keeps all values: memory is bounded while events stream."""
    for rank, measure in enumerate(partial_measures(rollup)):
        if measure.function == "exact":
            remedy = "only `traceleft report` over stored data takes it; p99 is at most 3.2 % below it"
            raise rollup.error(
                f"{measure.name} keeps every value, and memory is bounded here: {remedy}", f"measures.{rank}"
            )


def _valid(integers: Integers, rows: Int64s | None, codes: Int64s) -> tuple[Int64s, Int64s]:
    """Return the values that are there, and the codes of their rows."""
    values = take(integers.values, rows)
    if integers.valid is None:
        return values, codes
    valid = take(integers.valid, rows)
    return values[valid], codes[valid]


def _first_rows(codes: Int64s, size: int) -> Int64s:
    """Return for each code the first row that has it."""
    firsts = numpy.empty(size, dtype=numpy.int64)
    firsts[codes[::-1]] = numpy.arange(len(codes) - 1, -1, -1)
    return firsts


def _once_each(expressions: Iterable[Expression | None]) -> list[Expression]:
    return list(dict.fromkeys(each for each in expressions if each is not None))
