"""What a report page shows of recordings: the account of each, rollups of all together, and how they went over time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from traceleft.aggregator.rollups.parse import INTEGERS
from traceleft.aggregator.rollups.parts import KeyValue, MeasureValue
from traceleft.aggregator.rollups.results import Groups, finish
from traceleft.aggregator.rollups.rollup import Result, Rollup
from traceleft.aggregator.rollups.rollup_files import builtin
from traceleft.aggregator.streaming.batch_columns import BatchColumns
from traceleft.aggregator.streaming.engine import Aggregator
from traceleft.errors import RecordingError

if TYPE_CHECKING:
    from traceleft.tracer.account.ledger import Ledger
    from traceleft.tracer.recording import Recording

BINS_MAX: Final = 160
"""How many stretches of time the page shows at most, some 80 at least where there is more than an instant."""
SHOWN_EVENTS: Final = 8
"""How many events have a colour of their own."""
_TOP: Final = 20
_TOP_STACKS: Final = 2000

SYSCALLS, PROCESSES, FILES, ERRORS, PEERS, STACKS, TIMES = (
    *("syscalls", "processes", "files", "errors", "peers", "stacks", "times"),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One recording: where it is from, how many of its events were read, and what was wrong with it, if anything."""

    name: str
    host: str
    kernel: str
    machine: str
    hook: str
    level: str
    events: int
    ledger: "Ledger | None"
    command: str = ""
    damage: RecordingError | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """What happened when: bins of ``width_ns`` from ``start_ns`` on, each figure by bin.

    ``events`` holds the most frequent ones, the most frequent first, and ``other`` all others together; ``durations``
    (of all, under None, and of each of ``events``) holds counts by bin and power of two (``histogram.log2_bucket``).
    """

    start_ns: int
    width_ns: int
    bins: int
    events: Mapping[str, Sequence[int]] = field(default_factory=dict)
    other: Sequence[int] = ()
    others: int = 0
    errors: Sequence[int] = ()
    durations: Mapping[str | None, Mapping[tuple[int, int], int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows: ``results`` by name, of all subjects together; no ``times`` where nothing happened."""

    subjects: tuple[Subject, ...]
    span_ns: tuple[int, int] | None
    results: Mapping[str, Result]
    times: Times | None

    @property
    def events(self) -> int:
        """How many events were read."""
        return sum(subject.events for subject in self.subjects)

    @property
    def damages(self) -> tuple[RecordingError, ...]:
        """What was wrong with recordings, as far as they could be opened."""
        return tuple(subject.damage for subject in self.subjects if subject.damage is not None)


def make_overview(recordings: Iterable["Recording"]) -> Overview:
    """Return the overview of recordings: events over time, latencies, tables and losses.

    ::

        with Recording.open("make.rec") as recording:
            page = render_overview(make_overview([recording]))

    Each recording is read once, batch by batch, and must stay open meanwhile. Memory is bounded. Of a damaged recording
    what lies before the damage is shown.
    """
    opened = tuple(recordings)
    spans = [span for recording in opened if (span := recording.span_ns) is not None]
    span_ns = (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None
    rollups = make_rollups(span_ns)
    groups = {rollup.name: Groups() for rollup in rollups}
    subjects = tuple(_survey(recording, rollups, groups) for recording in opened)
    results = {rollup.name: finish(rollup, groups[rollup.name]) for rollup in rollups}
    times = results.pop(TIMES, None)
    return Overview(subjects, span_ns, results, None if times is None else make_times(times))


def make_rollups(span_ns: tuple[int, int] | None) -> tuple[Rollup, ...]:
    """Return the rollups that the page shows, by their names; the last is over time, where there is a span of it."""
    rollups = (
        builtin(SYSCALLS),
        replace(builtin(PROCESSES), top=_TOP),
        Rollup.parse(
            FILES,
            where="path is not None",
            by=["path"],
            measures=["count", "errors", "sum(duration) as total_ns"],
            top=_TOP,
        ),
        Rollup.parse(ERRORS, where="error is not None", by=["error", "event"], measures=["count"], top=_TOP),
        Rollup.parse(
            PEERS,
            where="address is not None",
            by=["address", "port"],
            measures=["count", "errors", "bytes", "sum(duration) as total_ns"],
            top=_TOP,
        ),
        Rollup.parse(STACKS, where="stack is not None", by=["comm", "stack"], measures=["count"], top=_TOP_STACKS),
    )
    return rollups if span_ns is None else (*rollups, _rollup_over_time(span_ns))


def _rollup_over_time(span_ns: tuple[int, int]) -> Rollup:
    # Records that lie outside of what their blocks say, or before 1970, would make windows without end.
    first, last = (min(max(time, 0), INTEGERS.stop - 1) for time in span_ns)
    return Rollup.parse(
        TIMES,
        where=f"ts >= {first} and ts <= {last}",
        by=["event"],
        measures=["count", "errors", "histogram(duration) as durations"],
        window=f"{bin_width(last - first)}ns",
    )


def bin_width(span_ns: int) -> int:
    """Return how wide bins are, such that at most ``BINS_MAX`` cover a span: 1, 2 or 5 times 10^n."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if span_ns // (digit * power) + 2 <= BINS_MAX:
                return digit * power
        power *= 10


def _survey(recording: "Recording", rollups: Sequence[Rollup], groups: Mapping[str, Groups]) -> Subject:
    """Read one recording and add what it holds to the groups."""
    tables = recording.schema.tables
    engines = [Aggregator(rollup, recording.specs, tables=tables, host=recording.host) for rollup in rollups]
    events, damage = 0, None
    try:
        for batch in recording.batches(resolves_paths=True):
            columns = BatchColumns(batch, tables, host=recording.host, cgroups=recording.cgroups.get)
            events += len(batch)
            for engine in engines:
                engine.add_columns(columns)
    except RecordingError as exc:
        damage = exc
    for engine in engines:
        groups[engine.rollup.name].add(engine.groups())
    head = recording.head
    name = recording.files[0]
    return Subject(
        *(
            name,
            head.host,
            head.kernel,
            head.machine,
            head.hook,
            head.level,
            events,
            recording.ledger,
            head.command,
            damage,
        )
    )


def make_times(result: Result) -> Times | None:
    """Return what a windowed result by event, of counts, errors and histograms, says of each bin."""
    windows = [row.window_ns for row in result.rows if row.window_ns is not None]
    if not windows:
        return None
    start, (last, end) = windows[0][0], windows[-1]
    times = Times(start, end - last, (last - start) // (end - last) + 1)
    counts: dict[str, list[int]] = {}
    errors = [0] * times.bins
    durations: dict[str | None, dict[tuple[int, int], int]] = {None: {}}
    for row in result.rows:
        assert row.window_ns is not None
        place = (row.window_ns[0] - start) // times.width_ns
        name = _text(row.keys)
        count, failed, powers = row.values
        counts.setdefault(name, [0] * times.bins)[place] += _number(count)
        errors[place] += _number(failed)
        if isinstance(powers, Mapping):
            for target in (durations[None], durations.setdefault(name, {})):
                _add_powers(target, place, powers)
    order = sorted(counts, key=lambda name: (-sum(counts[name]), name))
    shown, rest = order[:SHOWN_EVENTS], order[SHOWN_EVENTS:]
    return replace(
        times,
        events={name: counts[name] for name in shown},
        other=[sum(column) for column in zip(*(counts[name] for name in rest), strict=True)],
        others=len(rest),
        errors=errors,
        durations={name: durations.get(name, {}) for name in (None, *shown)},
    )


def _add_powers(target: dict[tuple[int, int], int], place: int, powers: Mapping[int, int]) -> None:
    for power, count in powers.items():
        target[place, power] = target.get((place, power), 0) + count


def _text(keys: Sequence[KeyValue] | None) -> str:
    return "other" if keys is None else str(keys[0])


def _number(value: MeasureValue) -> int:
    return value if isinstance(value, int) else 0
