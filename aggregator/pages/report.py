"""Report pages: of recordings, and of the results of rollups."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from traceleft.aggregator.pages.charts import Chart, bars, heat_map, timeline
from traceleft.aggregator.pages.flame import OTHER, flame_chart
from traceleft.aggregator.pages.html import (
    TableColumn,
    TableRow,
    cards,
    chart,
    details,
    page,
    paragraph,
    section,
    table,
)
from traceleft.aggregator.pages.overview import ERRORS, FILES, PEERS, PROCESSES, STACKS, SYSCALLS, Overview, Subject
from traceleft.aggregator.rollups.expression_tree import Name
from traceleft.aggregator.rollups.parts import Measure, MeasureValue
from traceleft.aggregator.rollups.rollup import Result, Row
from traceleft.aggregator.text.result_text import head_of, show_keys
from traceleft.aggregator.text.units import show_bytes, show_count, show_time, show_utc

if TYPE_CHECKING:
    from traceleft.tracer.account.ledger import Figures, Ledger

ROWS_MAX: Final = 500
"""Rows of a result that a page shows."""
_BARS: Final = 20
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_FIGURES: Final = ("emitted", "delivered", "lost", "dropped", "undecodable", "unaccounted", "missed", "compat")
_GOOD: Final = ("emitted", "delivered")
_HEADS: Final = {
    "count": "calls",
    "errors": "errors",
    "bytes": "bytes",
    "total_ns": "time in calls",
    "address": "address",
    "port": "port",
    "path": "path",
    "error": "error",
    "event": "event",
    "pid": "process",
    "comm": "name",
}


def render_overview(overview: Overview, *, title: str = "", notices: Iterable[str] = ()) -> str:
    """Return an overview as one HTML page. ``notices`` are lines that say what was wrong; they come first."""
    hosts = sorted({subject.host for subject in overview.subjects})
    named = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")
    body = [*(paragraph(notice, "notice") for notice in notices), *_overview_parts(overview)]
    return page(title or f"System calls of {named or 'nothing'}", _when(overview), body)


def render_results(results: Sequence[Result], *, title: str) -> str:
    """Return results of rollups as one HTML page: a table each, and a figure of its largest groups."""
    parts = [part for rank, result in enumerate(results) for part in _result_parts(result, rank)]
    return page(title, f"{show_count(sum(result.events for result in results))} events", parts)


def render_charts(charts: Sequence[Chart], *, title: str, subtitle: str) -> str:
    """Return a page of figures only, such as a flame graph."""
    return page(title, subtitle, [section(each.summary, chart(each)) for each in charts])


def _when(overview: Overview) -> str:
    if overview.span_ns is None:
        return "no events"
    first, last = overview.span_ns
    commands = {subject.command for subject in overview.subjects if subject.command}
    what = f"{commands.pop()}: " if len(commands) == 1 else ""
    return f"{what}{show_utc(first)} to {show_utc(last)}, {show_time(last - first)}"


def _overview_parts(overview: Overview) -> Iterator[str]:
    yield cards(_overview_cards(overview))
    yield from _over_time(overview)
    yield section("Events", _events_table(overview.results[SYSCALLS]))
    pairs = (
        *(("Processes", PROCESSES, "by the time that their calls took"), ("Errors", ERRORS, "by name and event")),
        *(("Files", FILES, "by the path that calls named"), ("Network peers", PEERS, "by address and port")),
    )
    tables = (section(title, _plain_table(overview.results[name], what)) for title, name, what in pairs)
    yield f"<div class=pair>{''.join(tables)}</div>\n"
    yield from _stacks(overview.results[STACKS])
    yield section("Loss", *_loss(overview.subjects))
    yield section("Recordings", _subjects_table(overview.subjects))


def _overview_cards(overview: Overview) -> Iterator[tuple[str, str]]:
    count, errors = (sum(_numbers(overview.results[SYSCALLS], name)) for name in ("count", "errors"))
    yield "events", show_count(overview.events)
    if overview.span_ns and (length := overview.span_ns[1] - overview.span_ns[0]) > 0:
        yield "events/s", show_count(round(overview.events * 1e9 / length))
    yield "errors", f"{show_count(errors)} ({100 * errors / count:.1f} %)" if count else "0"
    ledgers = [subject.ledger for subject in overview.subjects if subject.ledger is not None]
    yield "lost", show_count(sum(_missing(ledger) for ledger in ledgers)) if ledgers else "not known"


def _missing(ledger: "Ledger") -> int:
    total = ledger.total
    return total.lost + total.dropped - ledger.surplus + total.undecodable + max(total.unaccounted, 0) + total.missed


def _over_time(overview: Overview) -> Iterator[str]:
    times = overview.times
    if times is None:
        what = "No event has a time since 1970." if overview.events else "The recording holds no events."
        yield section("Over time", paragraph(what))
        return
    outside = overview.events - sum(map(sum, times.events.values())) - sum(times.other)
    bins = f"Bins of {show_time(times.width_ns)}, stacked by event, those that failed once more below."
    note = f" {show_count(outside)} events lie outside of the time that their recording says." if outside else ""
    yield section("Events over time", paragraph(bins + note), chart(timeline(times)))
    spread = heat_map(times)
    if spread is None:
        yield section("Latency", paragraph("No durations were measured: record with -T to have them."))
        return
    what = "How many calls took how long: darker (in the dark: brighter) is more, on a scale of powers of ten."
    yield section("Latency over time", paragraph(what), chart(spread))


def _stacks(result: Result) -> Iterator[str]:
    """Yield a flame graph, where there are stacks."""
    folded = {";".join(map(str, row.keys)) if row.keys else OTHER: _number(row.values[0]) for row in result.rows}
    if folded:
        text = "Where calls came from: the width is how many, who calls lies below; a click on a frame shows it alone."
        yield section("Stacks", paragraph(text), chart(flame_chart(folded)))


_EVENT_COLUMNS: Final = (
    TableColumn("event"),
    TableColumn("% time", True, "share of the time that all calls took together"),
    TableColumn("seconds", True, "time that the calls took together"),
    TableColumn("usecs/call", True, "time that a call took on average, in microseconds"),
    *(TableColumn("calls", True), TableColumn("errors", True)),
    *(TableColumn(name, True, "duration of calls, at most 3.2 % too low") for name in ("p50", "p90", "p99")),
    TableColumn("max", True, "the longest call"),
)


def _events_table(result: Result) -> str:
    """Return strace -c's table, with percentiles; a total at its end."""
    total_ns = sum(_numbers(result, "total_ns"))
    lines = []
    # Without durations all are alike.
    rows = result.rows if total_ns else sorted(result.rows, key=lambda row: -_number(_values(result, row)["count"]))
    for row in rows:
        values = _values(result, row)
        count, errors, time_ns = (_number(values[name]) for name in ("count", "errors", "total_ns"))
        spread = (_shown_time(values[name]) for name in ("p50_ns", "p90_ns", "p99_ns", "max_ns"))
        name, kind = ("other", "other") if row.keys is None else (str(row.keys[0]), "")
        lines.append(TableRow([name, *_counts(count, errors, time_ns, total_ns), *spread], kind))
    count, errors = sum(_numbers(result, "count")), sum(_numbers(result, "errors"))
    lines.append(TableRow(["total", *_counts(count, errors, total_ns, total_ns), "", "", "", ""], "total"))
    return table(
        f"Every event, by the {'time that its calls took' if total_ns else 'number of its calls'}",
        _EVENT_COLUMNS,
        lines,
    )


def _counts(count: int, errors: int, time_ns: int, total_ns: int) -> Iterator[str]:
    yield f"{100 * time_ns / total_ns:.2f}" if total_ns else "0.00"
    yield f"{time_ns / 1e9:.6f}"
    yield show_count(time_ns // count // 1000 if count else 0)
    yield show_count(count)
    yield show_count(errors) if errors else ""


def _plain_table(result: Result, what: str) -> str:
    """Return a table of a result's keys and measures as they are, without windows."""
    if not result.rows:
        return paragraph("None.")
    capped = f"; {show_count(result.capped)} came with keys beyond the first {result.rollup.max_keys:,}, all in other"
    caption = f"{len([row for row in result.rows if row.keys is not None])} {what}" + (capped if result.capped else "")
    return table(caption, list(_columns(result)), _lines(result, result.rows))


def _columns(result: Result) -> Iterator[TableColumn]:
    rollup = result.rollup
    if rollup.window_ns is not None:
        yield TableColumn("window")
    for rank, key in enumerate(rollup.by):
        kept = [row.keys[rank] for row in result.rows if row.keys is not None]
        yield TableColumn(
            _HEADS.get(key.name, key.name), all(isinstance(value, int | None) for value in kept) and rank > 0
        )
    for measure in rollup.measures:
        yield TableColumn(_HEADS.get(measure.name, head_of(measure)), measure.function != "histogram")


def _lines(result: Result, rows: Iterable[Row]) -> Iterator[TableRow]:
    rollup = result.rollup
    shows = [_shower(measure) for measure in rollup.measures]
    for row in rows:
        window = [] if row.window_ns is None else [show_utc(row.window_ns[0])]
        keys = show_keys(row.keys, len(rollup.by))
        values = [show(value) for show, value in zip(shows, row.values, strict=True)]
        yield TableRow([*window, *keys, *values], "other" if row.keys is None else "")


def _shower(measure: Measure) -> Callable[[MeasureValue], str]:
    is_counted = measure.function in ("count", "errors")
    match measure.expression:
        case Name("duration_ns") if measure.function == "histogram":
            return lambda value: _shown_histogram(value, show_time)
        case _ if measure.function == "histogram":
            return lambda value: _shown_histogram(value, show_count)
        case Name("duration_ns") if not is_counted:
            return _shown_time
        case Name("bytes") if not is_counted:
            return _shown_bytes
    return _shown_count


def _shown_time(value: MeasureValue) -> str:
    return show_time(value) if isinstance(value, int) else ""


def _shown_bytes(value: MeasureValue) -> str:
    return show_bytes(value) if isinstance(value, int) else ""


def _shown_count(value: MeasureValue) -> str:
    return show_count(value) if isinstance(value, int) else ""


def _shown_histogram(value: MeasureValue, show: Callable[[int], str]) -> str:
    """Return a histogram as blocks, one a power of two, from the smallest there is on."""
    if not isinstance(value, Mapping) or not value:
        return ""
    low, high, most = min(value), max(value), max(value.values())
    # What there is shows, however little it is compared with the most.
    steps = (-(-value.get(power, 0) * (len(_BLOCKS) - 1) // most) for power in range(low, high + 1))
    return f"{''.join(_BLOCKS[step] for step in steps)} from {show(1 << (low - 1) if low > 0 else low)}"


def _numbers(result: Result, name: str) -> Iterator[int]:
    """Yield a measure of every row; 0 where there is none."""
    place = [measure.name for measure in result.rollup.measures].index(name)
    return (_number(row.values[place]) for row in result.rows)


def _values(result: Result, row: Row) -> Mapping[str, MeasureValue]:
    return {measure.name: value for measure, value in zip(result.rollup.measures, row.values, strict=True)}


def _number(value: MeasureValue) -> int:
    return value if isinstance(value, int) else 0


def _loss(subjects: Sequence[Subject]) -> Iterator[str]:
    """Yield what became of every record, of one recording after another."""
    for subject in subjects:
        ledger = subject.ledger
        if ledger is None:
            reason = "its writer was killed, or its end is damaged" if subject.damage else "it is a part of one"
            yield paragraph(
                f"{subject.name} holds no account: {reason}. {show_count(subject.events)} events were read."
            )
            continue
        yield paragraph(f"{subject.name}: {balance(ledger.total)}", f"verdict {_mood(ledger)}")
        if subject.events != ledger.total.delivered:
            text = f"{show_count(subject.events)} of {show_count(ledger.total.delivered)} delivered events were read."
            yield paragraph(text, "bad")
        events = _ledger_table(f"By event, {subject.host}", "event", ledger.by_event.items())
        yield details("Every event's account", events, is_open=ledger.has_loss)
        cpus = ((str(cpu), figures) for cpu, figures in sorted(ledger.by_cpu.items()))
        yield _ledger_table(f"By CPU, {subject.host}", "CPU", cpus)
    if not subjects:
        yield paragraph("No recordings.")


def balance(total: "Figures") -> str:
    """Return whether what was emitted is what became of it, as a sum."""
    parts = ", ".join(f"{show_count(getattr(total, name))} {name}" for name in ("lost", "dropped", "undecodable"))
    accounted = total.emitted - total.unaccounted
    verdict = "the sum adds up"
    if total.unaccounted:
        verdict = f"the sum is {show_count(accounted)}: {show_count(abs(total.unaccounted))} "
        verdict += "are unaccounted for" if total.unaccounted > 0 else "came from nowhere"
    return f"{show_count(total.emitted)} emitted = {show_count(total.delivered)} delivered, {parts}: {verdict}."


def _mood(ledger: "Ledger") -> str:
    return "bad" if ledger.has_loss else "good"


def _ledger_table(caption: str, what: str, items: Iterable[tuple[str, "Figures"]]) -> str:
    listed = sorted(items, key=lambda item: -item[1].emitted) if what == "event" else list(items)
    if not listed:
        return ""
    shown = [name for name in _FIGURES if name in _FIGURES[:6] or any(getattr(each, name) for _, each in listed)]
    wrong = {place + 1 for place, name in enumerate(shown) if name not in _GOOD}
    lines = []
    for name, figures in listed[:ROWS_MAX]:
        numbers = [getattr(figures, each) for each in shown]
        told = frozenset(place for place in wrong if numbers[place - 1])
        lines.append(TableRow([name, *map(show_count, numbers)], wrong=told))
    return table(caption, [TableColumn(what), *(TableColumn(name, True) for name in shown)], lines)


def _subjects_table(subjects: Sequence[Subject]) -> str:
    names = ("file", "traced", "host", "kernel", "machine", "hook", "level")
    lines = [
        TableRow(
            [
                *(each.name, each.command or "everything", each.host, each.kernel, each.machine, each.hook, each.level),
                show_count(each.events),
            ]
        )
        for each in subjects[:ROWS_MAX]
    ]
    return table("Where the events are from", [*map(TableColumn, names), TableColumn("events", True)], lines)


def _result_parts(result: Result, rank: int) -> Iterator[str]:
    rollup = result.rollup
    notes = [*result.notices]
    if result.late:
        notes.append(f"{show_count(result.late)} events came too late for their windows.")
    if result.capped:
        notes.append(f"{show_count(result.capped)} events came with a key beyond the cap; they are in other.")
    if len(result.rows) > ROWS_MAX:
        notes.append(f"The first {ROWS_MAX} of {show_count(len(result.rows))} rows.")
    parts = [*map(paragraph, notes), *_result_chart(result, rank)]
    if result.rows:
        caption = f"{rollup.name} by {', '.join(key.name for key in rollup.by) or 'nothing'}"
        parts.append(table(caption, list(_columns(result)), _lines(result, result.rows[:ROWS_MAX])))
    yield section(rollup.name, *parts)


def _result_chart(result: Result, rank: int) -> Iterator[str]:
    """Yield a figure of the largest groups by the first number, where there are groups and no windows."""
    rollup = result.rollup
    if rollup.window_ns is not None or not rollup.by:
        return
    places = [place for place, measure in enumerate(rollup.measures) if measure.function != "histogram"]
    order = [place for place in places if rollup.measures[place].name == rollup.order_by]
    place = next(iter([*order, *places]), None)
    rows = [row for row in result.rows if row.keys is not None][:_BARS]
    if place is None or len(rows) < 2:
        return
    labels = [" ".join(show_keys(row.keys, len(rollup.by))) for row in rows]
    values = [_number(row.values[place]) for row in rows]
    measure = rollup.measures[place]
    is_time = _shower(measure) is _shown_time
    yield chart(bars(f"bars{rank}", _HEADS.get(measure.name, head_of(measure)), labels, values, is_time=is_time))


def flame_page(counts: Mapping[str, int]) -> str:
    """Return one self-contained page with the flame graph of folded stacks."""
    from traceleft.aggregator.pages.report import render_charts

    subtitle = f"{sum(counts.values()):,} events, {len(counts):,} different stacks; a click on a frame shows it alone."
    return render_charts([flame_chart(counts)], title="Where calls were made from", subtitle=subtitle)
