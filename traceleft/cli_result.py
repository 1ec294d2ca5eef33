"""The result of a rollup as text or as lines of JSON."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceleft.aggregator.rollup import KeyValue, MeasureValue, Result, Row

NS_A_SECOND = 1_000_000_000
MAX_CELL = 100


def result_lines(result: "Result", form: str) -> Iterator[bytes]:
    """Yield a result's lines, ``text`` or ``json``: an object a row, or a table with notices after it."""
    if form == "json":
        import msgspec

        encode = msgspec.json.Encoder().encode
        yield from (encode(row) + b"\n" for row in result.to_json())
        return
    yield from (line.encode(errors="backslashreplace") + b"\n" for line in table_lines(result))


def table_lines(result: "Result") -> Iterator[str]:
    """Yield the lines of a table: windows by their begin (UTC), what is not there as ``-``."""
    rollup = result.rollup
    windows = [] if rollup.window_ns is None else ["window"]
    head = [*windows, *(key.name for key in rollup.by), *(measure.name for measure in rollup.measures)]
    rows = [head, *(_cells(row, len(rollup.by)) for row in result.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    left = len(windows) + len(rollup.by)
    for row in rows:
        cells = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
    yield from (f"note: {notice}" for notice in result.notices)


def _cells(row: "Row", keys: int) -> list[str]:
    windows = [] if row.window_ns is None else [_time(row.window_ns[0])]
    named = [_key(key) for key in row.keys] if row.keys is not None else ["other", *[""] * keys][:keys]
    return [*windows, *named, *map(_figure, row.values)]


def _time(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, NS_A_SECOND)
    text = f"{datetime.fromtimestamp(whole, tz=UTC):%Y-%m-%d %H:%M:%S}"
    return f"{text}.{rest:09}".rstrip("0") if rest else text


def _key(value: "KeyValue") -> str:
    if value is None:
        return "-"
    text = str(value)
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return shown if len(shown) <= MAX_CELL else f"{shown[:MAX_CELL]}…"


def _figure(value: "MeasureValue") -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{1 << (power - 1) if power > 0 else power}:{count}" for power, count in value.items()) or "-"
    return "-" if value is None else f"{value:,}"
