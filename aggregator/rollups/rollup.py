"""What a rollup is: which events, grouped by which keys, into which measures, over which windows.

A rollup is a value, the same on every engine: ``traceleft.aggregator.rollups.config`` reads it from TOML, the engines
run it (in the kernel, over columns of a running trace, over Parquet by DuckDB or Spark), and each gives a ``Result``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from traceleft.aggregator.rollups.expression import Expression
from traceleft.aggregator.rollups.parts import DEFAULT_MAX_KEYS, Key, KeyValue, Measure, MeasureValue
from traceleft.aggregator.rollups.reader import RollupTable
from traceleft.document import Document
from traceleft.errors import FormatError
from traceleft.tracer.decode.texts import mark_bytes

KEY_BYTES: Final = "key_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """A rollup: ``events`` are expressions as ``-e`` takes them, none means every event.

    Without ``window_ns`` one row a group stands for the whole trace. Windows begin at multiples of ``slide_ns`` (of
    ``window_ns`` where they tumble) since the epoch; ``ts`` says which one an event is in. An event that comes more
    than ``lateness_ns`` after the newest is late: counted, and in no window that was given out before. ``top`` keeps so
    many groups of each window, the largest by the measure ``order_by``, and adds the rest up as ``other``; ``max_keys``
    bounds the groups that are kept at all while events stream (for each ``slide_ns`` of time, or the whole trace), what
    comes with a new key beyond goes to ``other``. ``lines`` are those of the parts in the file.
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
        """Return the rollup of texts as TOML has them: ``Rollup.parse("x", by=["comm"], measures=["count"])``.

        Raise ``FormatError`` as for a file.
        """
        return cls(**RollupTable(Document("", ""), name, texts).fields())

    def error(self, message: str, place: str = "") -> FormatError:
        """Return the error for a place of the rollup (``where``, ``by.0``, ``measures.2``, …; see ``lines``)."""
        line = self.lines.get(place) or self.line or None
        return FormatError(f"{self.kind} {self.name}: {message}", file=self.file or None, line=line)


@dataclass(frozen=True, slots=True)
class Row:
    """One group of one window. ``keys`` None: the groups beyond ``top`` and ``max_keys``, all together."""

    window_ns: tuple[int, int] | None
    keys: tuple[KeyValue, ...] | None
    values: tuple[MeasureValue, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Rows of a rollup: by window, in it by ``order_by`` from the largest on, equal ones by their keys, ``other`` last.

    The numbers of events are those since the beginning, whatever windows the rows show: ``events`` that the rollup
    is about, ``late`` ones that are in no row, and ``capped`` ones that came with a key beyond ``max_keys``, which are
    in ``other``.
    """

    rollup: Rollup
    rows: tuple[Row, ...]
    events: int = 0
    late: int = 0
    capped: int = 0
    notices: tuple[str, ...] = field(default=())

    def to_json(self) -> Iterable[dict[str, object]]:
        """Yield the rows as JSON objects; see ``row_to_json``."""
        return (row_to_json(self.rollup, row) for row in self.rows)


def row_names(rollup: Rollup) -> tuple[str, ...]:
    """Return the names of a row's keys and measures, in that order."""
    return *(key.name for key in rollup.by), *(measure.name for measure in rollup.measures)


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
