"""Rules at work: batches of events in, alerts out, in memory that ``max_keys`` bounds.

A window is the sum of its panes, kept up to date event by event: what a pane held is taken off again when the window
has moved on.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from traceleft.aggregator.rollups.expression_tree import (
    OPERATORS,
    Both,
    Compare,
    Constant,
    Expression,
    IsNone,
    Name,
    Not,
)
from traceleft.aggregator.rollups.histogram import bucket_of
from traceleft.aggregator.rollups.parse import type_of
from traceleft.aggregator.rollups.parts import KeyValue, Measure, MeasureValue
from traceleft.aggregator.rollups.results import Cell, Numbers, Partial, empty_partial, value_of
from traceleft.aggregator.rules.rule import Alert, Rule, check_rule, inputs_of
from traceleft.aggregator.streaming.batch_columns import BatchColumns, Columns
from traceleft.aggregator.streaming.evaluate import holds, integers_of, texts_of
from traceleft.aggregator.streaming.factorise import Int64s
from traceleft.expression import Catalogue
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.schema.spec import EventSpec

Keys = tuple[KeyValue, ...]
Values = Mapping[str, MeasureValue]
AlertCallback = Callable[[Alert], object]


class Hit(NamedTuple):
    """An event that a rule is about: its place among those that came together, and what the rule asks of it."""

    row: int
    rank: int
    ts: int
    is_error: bool
    keys: Keys
    inputs: tuple[int | None, ...]
    shown: tuple[KeyValue, ...]


@dataclass(slots=True)
class RuleAccount:
    """What became of a rule: ``late`` events came after their window was over, ``capped`` ones had a key too many."""

    alerts: int = 0
    suppressed: int = 0
    late: int = 0
    capped: int = 0


class Watcher:
    """Runs rules over batches, and calls ``alert`` with each ``Alert``, in the order of the events.

    ::

        watcher = Watcher(read_rules([Path("rules.toml")]), tracer.specs, print)
        tracer.on_batch(",".join(watcher.events), watcher.add)
        tracer.on_round(watcher.end_round)

    ``specs`` are the events that batches can have, ``host`` fills the column of that name, and ``cgroups`` gives the
    path of a cgroup by its ID. Call ``end_round`` after all batches that came together were added.

    Raises FormatError where a rule names an event, column or argument that is not there.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        specs: Mapping[str, EventSpec],
        alert: AlertCallback,
        *,
        host: str = "",
        cgroups: Callable[[int], str | None] | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self._host = host
        self._cgroups = cgroups
        self._states = [_State(rule, alert, host) for rule in rules]
        self._events = [check_rule(state.rule, specs, catalogue=catalogue) for state in self._states]
        for state, events in zip(self._states, self._events, strict=True):
            if not events:
                raise state.rule.rollup.error("none of its events is there; choose them with -e", "events")
        self._hits: list[Hit] = []

    @property
    def events(self) -> frozenset[str]:
        """The names of the events that the rules are about."""
        return frozenset().union(*self._events)

    def add(self, batch: Batch) -> None:
        """Take a batch of events. Alerts are reported at the end of the round."""
        ranks = [rank for rank, events in enumerate(self._events) if batch.spec.name in events]
        if not ranks or not len(batch):
            return
        columns = BatchColumns(batch, batch.tables, host=self._host, cgroups=self._cgroups)
        rows = numpy.frombuffer(batch.rows, "u4") if batch.rows else numpy.arange(len(batch), dtype="u4")
        for rank in ranks:
            self._hits += _hits(self._states[rank].rule, rank, columns, rows)

    def end_round(self) -> None:
        """Look at the events that were added, in the order of time, and report alerts."""
        hits, self._hits = self._hits, []
        hits.sort(key=lambda hit: (hit.row, hit.rank))
        for hit in hits:
            self._states[hit.rank].take(hit)

    def accounts(self) -> dict[str, RuleAccount]:
        """Return what became of each rule so far."""
        return {state.rule.name: state.account for state in self._states}


def _hits(rule: Rule, rank: int, columns: Columns, rows: NDArray[numpy.uint32]) -> list[Hit]:
    """Return the events of a batch that a rule is about; ``rows`` are the places of them all."""
    where = rule.rollup.where
    chosen = numpy.arange(len(columns)) if where is None else numpy.flatnonzero(holds(where, columns))
    if not len(chosen):
        return []
    found = [
        _together([_pick(key.expression, columns, chosen) for key in rule.rollup.by], len(chosen)),
        _together([_pick_numbers(each, columns, chosen) for each in inputs_of(rule)], len(chosen)),
        _together([_pick(name, columns, chosen) for name in rule.shown], len(chosen)),
    ]
    times = columns.integers("ts").values[chosen].tolist()
    errors = (columns.texts("error").codes[chosen] >= 0).tolist()
    places = rows[chosen].tolist()
    return [*map(Hit._make, zip(places, repeat(rank), times, errors, *found, strict=False))]


def _together(columns: Sequence[Sequence[KeyValue]], count: int) -> Sequence[Any]:
    return [*zip(*columns, strict=True)] if columns else [()] * count


def _pick(expression: Expression, columns: Columns, chosen: Int64s) -> Sequence[KeyValue]:
    """Return what an expression gives for some of the events."""
    if type_of(expression) != "text":
        return _pick_numbers(expression, columns, chosen)
    texts = texts_of(expression, columns)
    table = [*texts.values, None]
    return [table[code] for code in texts.codes[chosen].tolist()]


def _pick_numbers(expression: Expression, columns: Columns, chosen: Int64s) -> Sequence[int | None]:
    found = integers_of(expression, columns)
    numbers: list[int | None] = found.values[chosen].tolist()
    if found.valid is None:
        return numbers
    return [number if valid else None for number, valid in zip(numbers, found.valid[chosen].tolist(), strict=True)]


@dataclass(slots=True)
class _Group:
    """One key of a rule: its panes by when they begin, their sum, and what was said of it."""

    newest: int
    panes: dict[int, Cell] = field(default_factory=dict)
    total: Cell = field(default_factory=Cell)
    has_old_extremes: bool = False
    is_firing: bool = False
    last_alert: int | None = None
    suppressed: int = 0


class _State:
    """A rule at work."""

    def __init__(self, rule: Rule, alert: AlertCallback, host: str) -> None:
        self.rule = rule
        self.account = RuleAccount()
        self._alert = alert
        self._host = host
        self._names = [key.name for key in rule.rollup.by]
        inputs = inputs_of(rule)
        measures = rule.rollup.measures
        # Which partial figures are fed by which input.
        self._fed = [(at, inputs.index(m.expression)) for at, m in enumerate(measures) if m.expression is not None]
        tested = set() if rule.when is None else names_in(rule.when)
        self._tested = [(at, measure) for at, measure in enumerate(measures) if measure.name in tested]
        self._all = [*enumerate(measures)]
        self._window_ns = rule.rollup.window_ns or 0
        self._holds = None if rule.when is None else compile_condition(rule.when)
        # Groups that got something last stand last.
        self._groups: OrderedDict[Keys, _Group] = OrderedDict()
        self._alerts: deque[int] = deque(maxlen=None if rule.limit is None else rule.limit[0])
        self._suppressed = 0

    def take(self, hit: Hit) -> None:
        """Look at an event that the rule is about."""
        pane = hit.ts - hit.ts % self.rule.pane_ns if self.rule.pane_ns else hit.ts
        group = self._group(hit.keys, pane)
        if group is None:
            self.account.capped += 1
        elif self._holds is None:
            shown = dict(zip((name.name for name in self.rule.shown), hit.shown, strict=True))
            self._fire(group, hit, shown, None)
        else:
            self._take_into_window(group, hit, pane, self._holds)

    def _take_into_window(self, group: _Group, hit: Hit, pane: int, holds: Callable[[Values], bool]) -> None:
        if pane <= group.newest - self._window_ns:
            self.account.late += 1
            return
        if pane > group.newest:
            group.newest = pane
            self._expire(group)
        cell = group.panes.get(pane)
        if cell is None:
            cell = group.panes[pane] = self._empty()
        self._add((group.total, cell), hit)
        if not holds(self._read(group, self._tested)):
            group.is_firing = False
            return
        if group.is_firing and (not self.rule.cooldown_ns or self._is_cooling(group, hit.ts)):
            return
        end = group.newest + self.rule.pane_ns
        self._fire(group, hit, self._read(group, self._all), (end - self._window_ns, end))

    def _fire(self, group: _Group, hit: Hit, values: Mapping[str, Any], window_ns: tuple[int, int] | None) -> None:
        """Give an alert, unless cooldown or limit hold it back."""
        group.is_firing = True
        if self._is_cooling(group, hit.ts):
            group.suppressed += 1
            self.account.suppressed += 1
            return
        group.last_alert = hit.ts
        if self._is_over_limit(hit.ts):
            self._suppressed += 1
            self.account.suppressed += 1
            return
        suppressed = group.suppressed + self._suppressed
        group.suppressed = self._suppressed = 0
        self.account.alerts += 1
        keys = dict(zip(self._names, hit.keys, strict=True))
        shown = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
        self._alert(Alert(hit.ts, self.rule, keys, shown, window_ns, suppressed, self._host))

    def _is_cooling(self, group: _Group, ts: int) -> bool:
        return group.last_alert is not None and ts - group.last_alert < self.rule.cooldown_ns

    def _is_over_limit(self, ts: int) -> bool:
        """Tell whether there were as many alerts as there may be; count this one if not."""
        if self.rule.limit is None:
            return False
        if len(self._alerts) == self.rule.limit[0] and ts - self._alerts[0] < self.rule.limit[1]:
            return True
        self._alerts.append(ts)
        return False

    def _group(self, keys: Keys, pane: int) -> _Group | None:
        """Return a key's group; None for a new one where there are ``max_keys`` that are not over."""
        group = self._groups.get(keys)
        if group is not None:
            self._groups.move_to_end(keys)
            return group
        while self._groups and self._is_over(next(iter(self._groups.values())), pane):
            self._suppressed += self._groups.popitem(last=False)[1].suppressed
        if len(self._groups) >= self.rule.rollup.max_keys:
            return None
        group = self._groups[keys] = _Group(pane, total=self._empty())
        return group

    def _is_over(self, group: _Group, now: int) -> bool:
        """Tell whether a group is as good as none: its window has moved on, and an alert would not be held back."""
        return group.newest <= now - self._window_ns and not self._is_cooling(group, now)

    def _expire(self, group: _Group) -> None:
        for start in [start for start in group.panes if start <= group.newest - self._window_ns]:
            cell = group.panes.pop(start)
            group.has_old_extremes = True
            group.total.count -= cell.count
            group.total.errors -= cell.errors
            for mine, gone in zip(group.total.partials, cell.partials, strict=True):
                _take_off(mine, gone)

    def _empty(self) -> Cell:
        return Cell(partials=tuple(empty_partial(measure.function) for measure in self.rule.rollup.measures))

    def _add(self, cells: Iterable[Cell], hit: Hit) -> None:
        for cell in cells:
            cell.count += 1
            cell.errors += hit.is_error
        for place, source in self._fed:
            value = hit.inputs[source]
            if value is not None:
                bucket = bucket_of(value)
                for cell in cells:
                    _add_value(cell.partials[place], value, bucket)

    def _read(self, group: _Group, wanted: Iterable[tuple[int, Measure]]) -> dict[str, MeasureValue]:
        """Return figures of a group's window."""
        total = group.total
        if group.has_old_extremes:
            group.has_old_extremes = False
            for place, partial in enumerate(total.partials):
                if isinstance(partial, Numbers):
                    _read_extremes(partial, [cell.partials[place] for cell in group.panes.values()])
        return {measure.name: value_of(measure, total, total.partials[place]) for place, measure in wanted}


def _add_value(partial: Partial, value: int, bucket: int) -> None:
    if isinstance(partial, Numbers):
        partial.n += 1
        partial.total += value
        partial.low = value if partial.low is None or value < partial.low else partial.low
        partial.high = value if partial.high is None or value > partial.high else partial.high
    elif partial is not None:
        partial[bucket] = partial.get(bucket, 0) + 1


def _take_off(partial: Partial, gone: Partial) -> None:
    """Take off what a pane held; the smallest and the largest value are read from the panes that are left."""
    if isinstance(partial, Numbers) and isinstance(gone, Numbers):
        partial.n -= gone.n
        partial.total -= gone.total
    elif isinstance(partial, dict) and isinstance(gone, dict):
        for bucket, count in gone.items():
            partial[bucket] -= count
            if not partial[bucket]:
                del partial[bucket]


def _read_extremes(partial: Numbers, parts: Iterable[Partial]) -> None:
    numbers = [each for each in parts if isinstance(each, Numbers)]
    partial.low = min((each.low for each in numbers if each.low is not None), default=None)
    partial.high = max((each.high for each in numbers if each.high is not None), default=None)


def names_in(condition: Expression) -> set[str]:
    """Return the names of the measures that a condition is over."""
    match condition:
        case Name(name):
            return {name}
        case Not(operand) | IsNone(operand):
            return names_in(operand)
        case Both(_, operands):
            return {name for operand in operands for name in names_in(operand)}
        case Compare(_, left, right):
            return names_in(left) | names_in(right)
    return set()


def compile_condition(condition: Expression) -> Callable[[Values], bool]:
    """Return a test of measures by name; a measure without a value is as None is in a condition over columns."""
    match condition:
        case Not(operand):
            inner = compile_condition(operand)
            return lambda values: not inner(values)
        case Both(operator, operands):
            tests = [compile_condition(each) for each in operands]
            combine = all if operator == "and" else any
            return lambda values: combine(test(values) for test in tests)
        case IsNone(Name(name)):
            return lambda values: values[name] is None
        case Compare("in" | "not in" as operator, Name(name), Constant(tuple(listed))):
            return lambda values: (values[name] in listed) == (operator == "in")
        case Compare(operator, left, right):
            return _compile_compare(operator, left, right)
    raise TypeError(f"no condition: {condition}")


def _compile_compare(operator: str, left: Expression, right: Expression) -> Callable[[Values], bool]:
    first, second, compare = _operand(left), _operand(right), OPERATORS[operator]

    def test(values: Values) -> bool:
        a, b = first(values), second(values)
        if not isinstance(a, int) or not isinstance(b, int):
            return operator == "!="
        return bool(compare(a, b))

    return test


def _operand(expression: Expression) -> Callable[[Values], MeasureValue]:
    match expression:
        case Name(name):
            return lambda values: values[name]
        case Constant(int(value)):
            return lambda values: value
    raise TypeError(f"no number: {expression}")
