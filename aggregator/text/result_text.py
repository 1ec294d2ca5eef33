"""A rollup's result as text: strace -c's table with percentiles, histograms as bpftrace prints them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from traceleft.aggregator.rollups.expression_tree import Expression, Name
from traceleft.aggregator.rollups.histogram import PERCENT_SCALE
from traceleft.aggregator.rollups.parse import name_of
from traceleft.aggregator.rollups.parts import KeyValue, Measure, MeasureValue
from traceleft.aggregator.rollups.rollup import Result, Rollup, Row
from traceleft.aggregator.text.units import show_time, show_utc
from traceleft.tracer.output.show import escape

BAR: Final = 52
LABEL: Final = 16
COUNT: Final = 8
TOTAL: Final = "total"
OTHER: Final = "other"
NONE: Final = "-"
EMPTY: Final = '""'
_DURATION: Final = Name("duration_ns", "integer")
_UNITS: Final = ((60, "E"), (50, "P"), (40, "T"), (30, "G"), (20, "M"), (10, "K"))
_ADDED: Final = frozenset({"count", "errors", "sum"})


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of figures: its head, a cell for each row, and what the line of totals has there."""

    head: str
    cells: Sequence[str]
    total: str = ""


def show_result(result: Result) -> str:
    """Return a result as text, a newline at its end: for each window its time, a table, its histograms."""
    parts = []
    for window, rows in groupby(result.rows, key=lambda row: row.window_ns):
        listed = list(rows)
        heading = "" if window is None else f"{show_utc(window[0])}, {show_time(window[1] - window[0])}\n"
        parts.append(f"{heading}{show_table(result.rollup, listed)}{show_histograms(result.rollup, listed)}")
    if not parts and result.rollup.window_ns is None:
        parts.append(show_table(result.rollup, ()))
    return "\n".join(parts)


def show_table(rollup: Rollup, rows: Sequence[Row]) -> str:
    """Return one table of rows, with a line of totals where they have keys; histograms are left out."""
    figures = list(_figures(rollup, rows))
    keys = [_key_column(rollup, rows, place) for place in range(len(rollup.by))]
    widths = [max(len(text) for text in (each.head, each.total, *each.cells)) for each in figures]
    widths += [max(len(text) for text in (each.head, *each.cells, TOTAL)) for each in keys]
    columns = [*figures, *keys]
    rule = _line(["-" * width for width in widths], widths, len(figures))
    lines = [_line([each.head for each in columns], widths, len(figures)), rule]
    lines += [_line([each.cells[at] for each in columns], widths, len(figures)) for at in range(len(rows))]
    if keys:
        totals = [*(each.total for each in figures), TOTAL, *[""] * (len(keys) - 1)]
        lines += [rule, _line(totals, widths, len(figures))]
    return "\n".join(lines) + "\n"


def show_histograms(rollup: Rollup, rows: Sequence[Row]) -> str:
    """Return the histograms of rows, each with an empty line before it; nothing where there is none."""
    parts = []
    for row in rows:
        for measure, value in zip(rollup.measures, row.values, strict=True):
            if isinstance(value, Mapping) and value:
                name = measure.name if measure.expression is None else name_of(measure.expression)
                keys = f"[{', '.join(show_keys(row.keys, len(rollup.by))).rstrip(', ')}]" if rollup.by else ""
                parts.append(f"\n@{name}{keys}:\n{show_histogram(value)}")
    return "".join(parts)


def show_histogram(powers: Mapping[int, int]) -> str:
    """Return counts by power of two (``histogram.log2_bucket``) as lines with bars, those between without a count,
    too."""
    most = max(powers.values(), default=0)
    lines = []
    for power in range(min(powers, default=0), max(powers, default=-1) + 1):
        count = powers.get(power, 0)
        bar = "@" * (count * BAR // most if most else 0)
        lines.append(f"{_range(power):<{LABEL}}{count:>{COUNT}} |{bar:<{BAR}}|\n")
    return "".join(lines)


def show_keys(keys: Sequence[KeyValue] | None, count: int) -> list[str]:
    """Return a row's ``count`` keys as text: None as ``-``, empty text as ``""``, the keys of ``other`` so named."""
    if keys is None:
        return [OTHER, *[""] * count][:count]
    return [_show_key(key) for key in keys]


def show_duration(time_ns: int | None) -> str:
    """Return a time with its unit, as short as it gets: ``1.23µs``; nothing where there is none."""
    return "" if time_ns is None else show_time(time_ns).replace(" ", "")


def head_of(measure: Measure) -> str:
    """Return what stands above a measure's column."""
    if measure.function == "count":
        return "calls"
    if measure.function == "errors" or measure.expression != _DURATION:
        return measure.name
    return f"p{measure.thousandths / PERCENT_SCALE:g}" if measure.thousandths else measure.function


def _show_key(key: KeyValue) -> str:
    if key is None:
        return NONE
    return (escape(key) or EMPTY) if isinstance(key, str) else str(key)


def _line(cells: Sequence[str], widths: Sequence[int], figures: int) -> str:
    aligned = (
        cell.rjust(width) if place < figures else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return " ".join(aligned).rstrip()


def _key_column(rollup: Rollup, rows: Sequence[Row], place: int) -> _Column:
    cells = [show_keys(row.keys, len(rollup.by))[place] for row in rows]
    return _Column(rollup.by[place].name, cells)


def _figures(rollup: Rollup, rows: Sequence[Row]) -> Iterator[_Column]:
    """Yield the columns of figures: those of ``strace -c`` first, in its order, then the others in the rollup's."""
    places = range(len(rollup.measures))
    for place in sorted(places, key=lambda place: _rank(rollup.measures[place])):
        measure = rollup.measures[place]
        values = [row.values[place] for row in rows]
        if _is_total_time(measure):
            yield from _times(values)
        elif _is(measure, "avg", _DURATION):
            yield _each(rollup, rows, values)
        elif measure.function != "histogram":
            show = _show_errors if measure.function == "errors" else _show_of(measure)
            yield _Column(head_of(measure), list(map(show, values)), show(_total(measure, values)))


def _rank(measure: Measure) -> int:
    if measure.expression == _DURATION and measure.function in ("sum", "avg"):
        return ("sum", "avg").index(measure.function)
    return {"count": 2, "errors": 3}.get(measure.function, 4)


def _is(measure: Measure, function: str, expression: Expression) -> bool:
    return measure.function == function and measure.expression == expression


def _is_total_time(measure: Measure) -> bool:
    return _is(measure, "sum", _DURATION)


def _times(values: Sequence[MeasureValue]) -> Iterator[_Column]:
    numbers = [value if isinstance(value, int) else 0 for value in values]
    total = sum(numbers)
    shares = [f"{100 * number / total if total else 0:.2f}" for number in numbers]
    yield _Column("% time", shares, "100.00")
    yield _Column("seconds", [f"{number / 1e9:.6f}" for number in numbers], f"{total / 1e9:.6f}")


def _each(rollup: Rollup, rows: Sequence[Row], values: Sequence[MeasureValue]) -> _Column:
    """Return how long a call took; of all together where their time and number are known."""
    sums = _column_sum(rollup, rows, _is_total_time)
    calls = _column_sum(rollup, rows, lambda measure: measure.function == "count")
    total = str(sums // calls // 1000) if sums is not None and calls else ""
    return _Column("usecs/call", [str(value // 1000) if isinstance(value, int) else "" for value in values], total)


def _column_sum(rollup: Rollup, rows: Sequence[Row], is_it: Callable[[Measure], bool]) -> int | None:
    place = next((place for place, measure in enumerate(rollup.measures) if is_it(measure)), None)
    if place is None:
        return None
    return sum(value for row in rows if isinstance(value := row.values[place], int))


def _total(measure: Measure, values: Sequence[MeasureValue]) -> int | None:
    numbers = [value for value in values if isinstance(value, int)]
    if measure.function in _ADDED:
        return sum(numbers)
    if measure.function in ("min", "max"):
        return (min if measure.function == "min" else max)(numbers, default=None)
    return None


def _show_of(measure: Measure) -> Callable[[MeasureValue], str]:
    def show_number(value: MeasureValue) -> str:
        return "" if value is None else str(value)

    def show_figure(value: MeasureValue) -> str:
        return show_duration(value) if isinstance(value, int) else ""

    return show_figure if measure.expression == _DURATION else show_number


def _show_errors(value: MeasureValue) -> str:
    return str(value) if value else ""


def _range(power: int) -> str:
    if power < 0:
        return "(..., 0)"
    if power < 2:
        return f"[{power}]"
    return f"[{_power(power - 1)}, {_power(power)})"


def _power(exponent: int) -> str:
    """Return a power of two as bpftrace writes it: ``512``, ``1K``."""
    shift, unit = next((each for each in _UNITS if exponent >= each[0]), (0, ""))
    return f"{1 << (exponent - shift)}{unit}"
