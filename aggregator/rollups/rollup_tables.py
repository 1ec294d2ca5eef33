"""One rollup as a TOML table has it, read and checked."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from traceleft.aggregator.rollups.expression_tree import Expression
from traceleft.aggregator.rollups.parse import parse_condition, parse_key, parse_measure, parse_time
from traceleft.aggregator.rollups.parts import DEFAULT_MAX_KEYS, Key, Measure
from traceleft.document import Document
from traceleft.errors import ExpressionError, FormatError
from traceleft.expression import MAX_EXPRESSION, suggest

MAX_LISTED: Final = 64
MAX_KEYS: Final = 1_000_000
MAX_PANES: Final = 3600
"""How many windows an event can be in: ``window`` is at most so many times ``slide``."""
KEYS: Final = (
    *("events", "where", "by", "measures", "window", "slide", "lateness", "top", "order_by", "max_keys"),
    "description",
)
RESERVED: Final = ("window_start", "window_end", "other")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_HEADER: Final = re.compile(r"\s*\[\s*(rollup|rule)\b")
T = TypeVar("T")


class RollupTable:
    """Reads one rollup's table, or what a rule has of one: ``kind`` is what errors call it."""

    kind = "rollup"
    known: tuple[str, ...] = KEYS

    def __init__(self, document: Document, name: str, table: object) -> None:
        self._document = document
        self._name = name
        header = re.compile(rf"\s*\[\s*{self.kind}\s*\.\s*[\"']?{re.escape(name)}[\"']?\s*\]")
        self._lines = document.text.split("\n")
        self._line = next((at for at, line in enumerate(self._lines, 1) if header.match(line)), 0)
        if not self._line:
            self._line = document.line_of(name) or 0
        later = (at for at, line in enumerate(self._lines, 1) if at > self._line and _HEADER.match(line))
        self._end = next(later, len(self._lines) + 1)
        if not _NAME.fullmatch(name):
            message = f"{name[:64]!r} is not a valid name of a {self.kind}: use letters, digits, _ and -, at most 64"
            raise FormatError(message, file=document.file or None, line=self._line or None)
        if not isinstance(table, Mapping):
            raise self._error(f"must be a table: write [{self.kind}.{name}]")
        self._table: Mapping[str, object] = table

    def fields(self) -> dict[str, Any]:
        """Return the fields of a ``Rollup``; ``FormatError`` for the first mistake in the table."""
        for key in self._table:
            if key not in self.known:
                hint = suggest(key, self.known) or f"; known: {', '.join(self.known)}"
                raise self._error(f"unknown key {key[:64]!r}{hint}", key)
        if not isinstance(self._table.get("description", ""), str):
            raise self._error("`description` must be text", "description")
        by = self._parse_list("by", parse_key)
        measures: tuple[Measure, ...] = (Measure("count", "count"),)
        if "measures" in self._table:
            measures = self._parse_list("measures", parse_measure)
        window_ns, slide_ns = self._times()
        max_keys = self._number("max_keys", DEFAULT_MAX_KEYS)
        fields: dict[str, Any] = {
            "name": self._name,
            "events": self._texts("events"),
            "where": self._condition(),
            "by": by,
            "measures": measures,
            "window_ns": window_ns,
            "slide_ns": slide_ns,
            "lateness_ns": self._time("lateness") or 0,
            "top": self._number("top", 0) or None,
            "order_by": self._order(measures),
            "max_keys": max_keys,
            "file": self._document.file,
            "line": self._line,
            "lines": self._places(),
            "kind": self.kind,
        }
        self._check_whole(fields)
        return fields

    def _check_whole(self, fields: Mapping[str, Any]) -> None:
        if not fields["measures"]:
            raise self._error("`measures` is empty; leave it out to count", "measures")
        if fields["lateness_ns"] and fields["window_ns"] is None:
            raise self._error("`lateness` needs a `window`", "lateness")
        if fields["top"] and not fields["by"]:
            raise self._error("`top` needs `by`", "top")
        seen: set[str] = set()
        named: Iterable[Key | Measure] = (*fields["by"], *fields["measures"])
        for name in (each.name for each in named):
            if name in seen or name in RESERVED:
                why = "is given twice" if name in seen else "has a meaning of its own"
                raise self._error(f"the name {name!r} {why}; write `as NAME` after a key or measure", name)
            seen.add(name)

    def _times(self) -> tuple[int | None, int | None]:
        window_ns, slide_ns = self._time("window"), self._time("slide")
        for key, time_ns in (("window", window_ns), ("slide", slide_ns)):
            if time_ns == 0:
                raise self._error(f"`{key}` is zero", key)
        if slide_ns is None:
            return window_ns, None
        if window_ns is None:
            raise self._error("`slide` needs a `window`", "slide")
        if slide_ns > window_ns or window_ns % slide_ns or window_ns // slide_ns > MAX_PANES:
            raise self._error(f"`window` is not 1 to {MAX_PANES} times `slide`", "slide")
        return window_ns, None if slide_ns == window_ns else slide_ns

    def _time(self, key: str) -> int | None:
        if key not in self._table:
            return None
        value = self._table[key]
        if not isinstance(value, str):
            raise self._error(f'`{key}` must be a time in quotes, as in "10s"', key)
        return self._parse(key, value, parse_time)

    def _condition(self) -> Expression | None:
        if "where" not in self._table:
            return None
        value = self._table["where"]
        if not isinstance(value, str):
            raise self._error("`where` must be a condition in quotes", "where")
        return self._parse("where", value, parse_condition)

    def _order(self, measures: Iterable[Measure]) -> str:
        value = self._table.get("order_by", "count")
        if not isinstance(value, str):
            raise self._error("`order_by` must be a measure in quotes", "order_by")
        named = next((measure for measure in measures if measure.name == value), None)
        measure = named or self._parse("order_by", value, parse_measure)
        if measure.function == "histogram":
            raise self._error(f"`order_by` is {value!r}, which is not a single number", "order_by")
        return value

    def _number(self, key: str, default: int) -> int:
        if key not in self._table:
            return default
        value = self._table[key]
        if type(value) is not int or not 1 <= value <= MAX_KEYS:
            raise self._error(f"`{key}` must be a number from 1 to {MAX_KEYS}", key)
        return value

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, ())
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each for each in value):
            raise self._error(f"`{key}` must be a list of texts in quotes", key)
        if len(value) > MAX_LISTED:
            raise self._error(f"`{key}` lists more than {MAX_LISTED}", key)
        if any(len(each) > MAX_EXPRESSION for each in value):
            raise self._error(f"`{key}` has a text that is too long", key)
        if key == "events" and key in self._table and not value:
            raise self._error("`events` names no event; leave it out for every event", key)
        return tuple(value)

    def _parse_list(self, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        return tuple(self._parse(key, text, parse) for text in self._texts(key))

    def _parse(self, key: str, text: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(text)
        except ExpressionError as exc:
            raise self._error(f"`{key}`: {exc}", key, text) from exc

    def _places(self) -> Mapping[str, int]:
        """Return the lines of the parts, by ``where``, ``events.0``, …."""
        places: dict[str, int] = {}
        for key, value in self._table.items():
            places[key] = self._line_of(key)
            if isinstance(value, list | tuple):
                places |= {f"{key}.{rank}": self._line_of(key, str(text)) for rank, text in enumerate(value)}
        return places

    def _line_of(self, key: str, text: str = "") -> int:
        """Return the line of a key, or of a text below it; the rollup's own where it is not found."""
        start = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        own = range(self._line, min(self._end - 1, len(self._lines)))
        first = next((at for at in own if start.match(self._lines[at])), None)
        if first is None:
            first = next((at for at in own if key in self._lines[at]), None)
        if first is None:
            return self._line
        quoted = (f'"{text}"', f"'{text}'", text)
        found = (at for form in quoted for at in range(first, own.stop) if form in self._lines[at])
        return (next(found, first) if text else first) + 1

    def _error(self, message: str, key: str = "", text: str = "") -> FormatError:
        line = self._line_of(key, text) if key else self._line
        return FormatError(f"{self.kind} {self._name}: {message}", file=self._document.file or None, line=line or None)
