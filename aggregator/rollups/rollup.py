"""What a rollup is: which events, grouped by which keys, into which measures, over which windows.

A rollup is a value, the same on every engine: ``rollup_files`` reads it from TOML, the engines run it (in the kernel,
over columns of a running trace, over Parquet by DuckDB or Spark), and each gives a ``Result``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from traceleft.aggregator.rollups.expression_tree import Expression
from traceleft.aggregator.rollups.parts import DEFAULT_MAX_KEYS, Key, KeyValue, Measure, MeasureValue
from traceleft.aggregator.rollups.rollup_tables import RollupTable
from traceleft.document import Document
from traceleft.errors import FormatError
from traceleft.tracer.decode.texts import mark_bytes

KEY_BYTES: Final = "key_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """What to add up: which events, by which keys, into which measures, over which windows.

    ::

        rollup = Rollup.parse("slow", events=["%file"], by=["comm"], measures=["count", "p99(duration)"], window="1s")

    It is a value that every engine runs: the kernel, ``Aggregator``, DuckDB and Spark. ``Rollup.parse`` makes one of
    texts, ``read_rollups`` reads them from TOML.

    - ``events``: expressions as ``-e`` takes them, by default every event. ``where``: a condition on events.
    - ``window_ns``, ``slide_ns``: the length of windows and the distance of their starts, in nanoseconds. Windows begin
      at multiples of the distance since the epoch. Without windows there is one row for each group.
    - ``lateness_ns``: an event that is older than the newest by more than this is late. It is counted as late, and is
      in no window that was already returned.
    - ``top``: keep so many groups of each window, the largest by ``order_by``, and add the rest up as ``other``.
    - ``max_keys``: keep at most so many groups while events come. Events with further keys go to ``other``.
    - ``file``, ``line``, ``lines``: where the rollup and its parts stand in a file.
    """

    name: str
    events: tuple[str, ...] = ()
    where: Expression | None = None
    by: tuple[Key, ...] = ()
    measures: tuple[Measure, ...]
    window_ns: int | None = None
    slide_ns: int | None = None
    lateness_ns: int = 0
    top: int | None = None
    order_by: str = "count"
    max_keys: int = DEFAULT_MAX_KEYS
    file: str = ""
    line: int = 0
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    kind: str = field(default="rollup", compare=False, repr=False)

    @classmethod
    def parse(cls, name: str, **texts: Any) -> "Rollup":
        """Return a rollup, given as the texts that TOML has: ``Rollup.parse("x", by=["comm"], measures=["count"])``.

        Raises FormatError for a mistake.
        """
        return cls(**RollupTable(Document("", ""), name, texts).fields())

    def error(self, message: str, place: str = "") -> FormatError:
        """Return the FormatError for a place of the rollup, such as ``where``, ``by.0`` or ``measures.2``."""
        line = self.lines.get(place) or self.line or None
        return FormatError(f"{self.kind} {self.name}: {message}", file=self.file or None, line=line)


@dataclass(frozen=True, slots=True)
class Row:
    """One group of one window.

    ``window_ns`` are the window's start and end in nanoseconds since the epoch, None without windows. ``keys`` and
    ``values`` are in the order of the rollup's keys and measures. ``keys`` is None for all groups beyond ``top`` and
    ``max_keys`` together.
    """

    window_ns: tuple[int, int] | None
    keys: tuple[KeyValue, ...] | None
    values: tuple[MeasureValue, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of a rollup.

    Rows are ordered by window, then by ``order_by`` from the largest on, then by keys; ``other`` comes last. ``events``
    counts the events that the rollup is about, ``late`` those that are in no row, and ``capped`` those in ``other``
    because of ``max_keys``. All three count from the beginning, whatever windows the rows show. ``notices`` are lines
    for the user.
    """

    rollup: Rollup
    rows: tuple[Row, ...]
    events: int = 0
    late: int = 0
    capped: int = 0
    notices: tuple[str, ...] = field(default=())

    def to_json(self) -> Iterable[dict[str, object]]:
        """Yield the rows as flat objects: keys and measures by name, and the window's start and end in nanoseconds."""
        return (row_to_json(self.rollup, row) for row in self.rows)


def row_to_json(rollup: Rollup, row: Row) -> dict[str, object]:
    """Return one flat object: ``window_start`` and ``window_end`` (ns since the epoch) where there are windows, keys by
    name (null, and ``"other": true``, of what was added up), measures by name (a histogram: counts by the smallest
    value of its power of two, as text). Bytes of keys that are not UTF-8 are under ``key_bytes``."""
    window = {} if row.window_ns is None else {"window_start": row.window_ns[0], "window_end": row.window_ns[1]}
    names = [key.name for key in rollup.by]
    keys: Sequence[KeyValue] = [None] * len(names) if row.keys is None else row.keys
    other = {"other": True} if row.keys is None and names else {}
    measures = {m.name: _value_to_json(value) for m, value in zip(rollup.measures, row.values, strict=True)}
    return mark_bytes({**window, **dict(zip(names, keys, strict=True)), **other, **measures}, key=KEY_BYTES)


def _value_to_json(value: MeasureValue) -> object:
    if not isinstance(value, Mapping):
        return value
    return {str(1 << (power - 1) if power > 0 else power): count for power, count in sorted(value.items())}
