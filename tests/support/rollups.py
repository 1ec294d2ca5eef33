"""Events to roll up, and what a rollup of them is, worked out event by event: slow, and as plain as it can be."""

import json
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from tests.support.records import OPENAT, SETS, STRUCTS, Capture, Record, document, event_document
from traceleft.aggregator.rollups.columns import BY_NAME, BYTE_CALLS
from traceleft.aggregator.rollups.expression_tree import (
    Arg,
    Both,
    Call,
    Compare,
    Constant,
    Expression,
    IsNone,
    Name,
    Not,
)
from traceleft.aggregator.rollups.histogram import bucket_of, bucket_range, log2_bucket
from traceleft.aggregator.rollups.parts import KeyValue, Measure
from traceleft.aggregator.rollups.rollup import Rollup, Row
from traceleft.aggregator.rollups.rollup_check import check_rollup
from traceleft.errors import FormatError
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.schema.load import load_schema

FD = {"name": "fd", "kind": "fd", "width": 4}
COUNT = {"name": "count", "kind": "int", "width": 8}
SCHEMA = load_schema(
    document(
        {
            "openat": event_document(OPENAT, ret="fd", id=257, classes=["file", "desc"]),
            "read": event_document([FD, {"name": "buf", "kind": "pointer"}, COUNT], id=0, number=0, classes=["desc"]),
            "connect": event_document(
                [FD, {"name": "addr", "kind": "sockaddr", "length": {"arg": 2}, "direction": "in", "slot": True}],
                id=42,
                number=42,
                classes=["net"],
            ),
            "sched:sched_wakeup": event_document(
                [{"name": "comm", "kind": "bytes", "count": 16, "show": "text", "direction": "in", "slot": True}],
                id=1100,
                kind="tracepoint",
                number=None,
            ),
        },
        sets=SETS,
        structs=STRUCTS,
    )
)
SPECS = SCHEMA.events
DECODERS = {name: Decoder(spec, SCHEMA.tables) for name, spec in SPECS.items()}
PATHS = (
    b"/etc/passwd",
    b"/etc/ssl/certs/a.pem",
    b"x",
    b"",
    b"//usr///lib/x",
    b"/etc",
    b"12",
    b"\xff\\",
    "ä/ß".encode(),
)
CGROUPS = {25: "/system.slice/a.service", 26: f"/kubepods/pod1/{'ab' * 32}", 27: None}


def address(name: str, port: int) -> bytes:
    """Return an IPv4 socket address, or with port 0 a path's."""
    if not port:
        return struct.pack("<H", 1) + name.encode() + b"\0"
    return struct.pack("<H", 2) + struct.pack(">H", port) + bytes(map(int, name.split("."))) + bytes(8)


CAPTURES: dict[str, st.SearchStrategy[dict[int, Capture]]] = {
    "openat": st.sampled_from([{}, *({0: Capture(path)} for path in PATHS)]),
    "read": st.just({}),
    "connect": st.sampled_from(
        [{}, *({0: Capture(address(*each))} for each in (("10.0.0.1", 80), ("10.0.0.2", 443), ("/run/x", 0)))]
    ),
    "sched:sched_wakeup": st.sampled_from([{}, {0: Capture(b"cat\0".ljust(16, b"\0"))}]),
}
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)


def records_of(event: str, *, spread_ns: int = 40) -> st.SearchStrategy[tuple[str, Record]]:
    """Return a strategy of records of an event, with times close to each other, and values small, large and odd."""
    return st.builds(
        lambda **parts: (event, Record(**parts)),
        args=st.lists(
            st.integers(0, 3) | st.sampled_from([(1 << 64) - 100, 1 << 63, (1 << 64) - 1]),
            min_size=min(4, SPECS[event].args_count),
            max_size=min(4, SPECS[event].args_count),
        ),
        captures=CAPTURES[event],
        ret=st.sampled_from([0, 3, -2, -13, -512, -4095, -4096, (1 << 63) - 1, -(1 << 63)])
        | st.integers(0, 5000)
        | NUMBERS,
        flags=st.sampled_from([0, 8, 8, 8, 1, 16, 9]),
        ts=st.integers(0, spread_ns),
        duration_ns=st.integers(0, 5) | st.integers(0, 1 << 40) | st.sampled_from([(1 << 63) - 1, 1 << 63, (1 << 62)]),
        ids=st.sampled_from([(1, 1, 0, 0), (1, 2, 0, 0), (9, 9, 1000, (1 << 32) - 1)]),
        cgroup_id=st.sampled_from([25, 26, 27]),
        comm=st.sampled_from([b"cat", b"sh", b"\xff\xfe", b"abcdefghijklmno", b""]),
    )


EVENTS = st.sampled_from(sorted(SPECS)).flatmap(records_of)
EVENT_LISTS = st.sampled_from([0, 1, 10, 30]).flatmap(lambda size: st.lists(EVENTS, min_size=size, max_size=size + 5))


def event_of(name: str, record: Record) -> Event:
    """Return a record's event."""
    from tests.support.records import encode

    return DECODERS[name].decode(encode(SPECS[name], record))


def column(event: Event, name: str, host: str) -> KeyValue:
    """Return an event's value of a column, as ``columns.COLUMNS`` describes it."""
    args = {arg.name: arg.value.kind for arg in event.spec.args}
    match name:
        case "host":
            return host
        case "duration_ns" if event.duration_ns is not None and event.duration_ns >= 1 << 63:
            return None
        case "path":
            return next((event.args[arg] for arg, kind in args.items() if kind == "path"), None)  # type: ignore[return-value]
        case "fd":
            return next((event.args[arg] for arg, kind in args.items() if kind == "fd"), None)  # type: ignore[return-value]
        case "address" | "port":
            shown: Any = next((event.args[arg] for arg, kind in args.items() if kind == "sockaddr"), None)
            keys = ("addr", "path") if name == "address" else ("port",)
            return next((shown[key] for key in keys if key in shown), None) if isinstance(shown, dict) else None
        case "bytes":
            return event.ret if event.event in BYTE_CALLS and event.ret is not None and event.ret >= 0 else None
        case "cgroup":
            return CGROUPS[event.cgroup_id]
        case "container":
            ids: list[str] = re.findall("[0-9a-f]{64}", CGROUPS[event.cgroup_id] or "")
            return ids[-1] if ids else None
    found: Any = getattr(event, name)
    assert found is None or isinstance(found, int | str)
    return found


def evaluate(expression: Expression | None, event: Event, host: str) -> Any:
    """Return what an expression gives for one event."""
    match expression:
        case Name(name):
            return column(event, name, host)
        case Arg(name, type):
            value = event.args.get(name)
            text = (
                value
                if value is None or isinstance(value, str)
                else str(value)
                if isinstance(value, int)
                else json.dumps(value, separators=(",", ":"))
            )
            if type == "text" or text is None:
                return text
            number = int(text) if re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) else None
            return number if number is not None and -(1 << 63) <= number < 1 << 63 else None
        case Constant(value):
            return value
        case Call("prefix", subject, int(count)):
            text = evaluate(subject, event, host)
            return None if text is None else first_components(text, count)
        case Call(function, subject, str(affix)):
            text = evaluate(subject, event, host)
            return text is not None and (affix in text if function == "contains" else getattr(text, function)(affix))
        case Compare(operator, left, right):
            return compare(operator, evaluate(left, event, host), evaluate(right, event, host))
        case IsNone(operand):
            return evaluate(operand, event, host) is None
        case Not(operand):
            return not evaluate(operand, event, host)
        case Both("and", operands):
            return all(evaluate(each, event, host) for each in operands)
        case Both("or", operands):
            return any(evaluate(each, event, host) for each in operands)
    raise AssertionError(expression)


def first_components(text: str, count: int) -> str:
    """Return the first components of a path, character by character."""
    seen = 0
    for at, character in enumerate(text):
        begins = character != "/" and (at == 0 or text[at - 1] == "/")
        seen += begins
        if character == "/" and seen >= count:
            return text[:at]
    end = len(text) if text.strip("/") == "" or not text.endswith("/") else len(text.rstrip("/"))
    return text[:end]


def compare(operator: str, left: Any, right: Any) -> bool:
    """Return whether a comparison holds; None is equal to nothing."""
    if left is None or right is None:
        return operator in ("!=", "not in")
    comparisons: dict[str, Callable[[], bool]] = {
        "==": lambda: left == right,
        "!=": lambda: left != right,
        "<": lambda: left < right,
        "<=": lambda: left <= right,
        ">": lambda: left > right,
        ">=": lambda: left >= right,
        "in": lambda: left in right,
        "not in": lambda: left not in right,
    }
    return comparisons[operator]()


def figure(measure: Measure, events: Sequence[Event], host: str) -> Any:
    """Return a measure of some events."""
    if measure.function == "count":
        return len(events)
    if measure.function == "errors":
        return sum(event.error is not None for event in events)
    values = sorted(value for event in events if (value := evaluate(measure.expression, event, host)) is not None)
    if measure.function == "histogram":
        return dict(sorted(Counter(log2_bucket(bucket_of(value)) for value in values).items()))
    if not values:
        return None
    rank = max(1, -(-len(values) * measure.thousandths // 100_000))
    figures: dict[str, Callable[[], int]] = {
        "sum": lambda: sum(values),
        "min": lambda: values[0],
        "max": lambda: values[-1],
        "avg": lambda: sum(values) // len(values),
        "percentile": lambda: bucket_range(bucket_of(values[rank - 1]))[0],
        "exact": lambda: values[rank - 1],
    }
    return figures[measure.function]()


def naive_rows(rollup: Rollup, events: Iterable[Event], *, names: Iterable[str], host: str = "") -> list[Row]:
    """Return a rollup's rows of events, in the order in which they come, every one of them kept."""
    kept: dict[int | None, dict[Any, list[Event]]] = {}
    panes: dict[int | None, set[Any]] = {}
    names = set(names)
    for event in events:
        if event.event not in names or (rollup.where is not None and not evaluate(rollup.where, event, host)):
            continue
        keys: Any = tuple(evaluate(key.expression, event, host) for key in rollup.by)
        step = rollup.slide_ns or rollup.window_ns
        known = panes.setdefault(event.ts // step if step else None, set())
        if keys not in known and len(known) >= rollup.max_keys:
            keys = None
        else:
            known.add(keys)
        for window in windows_of(rollup, event.ts):
            kept.setdefault(window, {}).setdefault(keys, []).append(event)
    ordered = sorted(kept.items(), key=lambda each: each[0] or 0)
    return [row for window, groups in ordered for row in _rows_of(rollup, window, groups, host)]


def windows_of(rollup: Rollup, ts: int) -> list[int | None]:
    """Return when the windows begin that an event is in."""
    if rollup.window_ns is None:
        return [None]
    step = rollup.slide_ns or rollup.window_ns
    starts = range(-(rollup.window_ns // step) * step, ts + 1, step)
    return [start for start in starts if start <= ts < start + rollup.window_ns]


def _rows_of(rollup: Rollup, window: int | None, groups: dict[Any, list[Event]], host: str) -> list[Row]:
    order = next(measure for measure in rollup.measures if measure.name == rollup.order_by)

    def rank(keys: Any) -> Any:
        value = figure(order, groups[keys], host)
        ranked = [(key is None, isinstance(key, str), key or ("" if isinstance(key, str) else 0)) for key in keys]
        return value is None, -(value or 0), ranked

    named = sorted((keys for keys in groups if keys is not None), key=rank)
    kept = named if rollup.top is None else named[: rollup.top]
    rest = [event for keys, listed in groups.items() if keys not in kept for event in listed]
    bounds = None if window is None or rollup.window_ns is None else (window, window + rollup.window_ns)
    listed = [(keys, groups[keys]) for keys in kept] + ([(None, rest)] if rest else [])
    return [Row(bounds, keys, tuple(figure(m, each, host) for m in rollup.measures)) for keys, each in listed]


KEYS = (
    *sorted(name for name, each in BY_NAME.items() if each.type != "map" and name not in ("stack", "ts", "seq")),
    *("prefix(path, 1)", "prefix(path, 2)", "prefix(prefix(path, 3), 2) as twice", "args.flags", "int(args.count)"),
    *("args.fd", "int(args.dfd)", "args.addr", "args.comm as waker", "int(args.filename)", "args.mode"),
)
MEASURES = (
    *("errors", "bytes as moved", "sum(ret)", "min(ret)", "max(ret)", "avg(ret)", "p50(ret)", "p99(duration)"),
    *("p100(duration)", "p0(bytes)", "histogram(duration)", "histogram(ret)", "sum(duration)", "max(int(args.count))"),
    *("avg(duration)", "min(uid)", "sum(int(args.count))", "p90(port)"),
)
CONDITIONS = (
    *('error == "ENOENT"', "error is not None", "ret >= 0", "ret != 3", "not ret == 3", "3 < ret"),
    *('path.startswith("/etc")', '"ss" in path', '"ss" not in path', 'path.endswith("x") or pid == 9'),
    *('comm in ("cat", "sh")', 'error not in ("ENOENT", "EACCES")', "port in (80, 443)", "duration is None"),
    *('event == "openat" and prefix(path, 1) == "/etc"', "pid == tid", "comm < path", "comm != args.comm"),
    *("int(args.count) > 2", 'args.flags == "O_WRONLY"', "0 <= ret < 100", "fd is None", "ret not in (3, -2)"),
)
EXPRESSIONS = (["%file"], ["openat,read"], ["!connect"], ["/sched:/"])


@st.composite
def rollups(draw: st.DrawFn, *, has_window: bool | None = None, is_capped: bool | None = None) -> Rollup:
    """Return a strategy of rollups over ``SPECS``."""
    texts: dict[str, Any] = {
        "by": draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True)),
        "measures": ["count", *draw(st.lists(st.sampled_from(MEASURES), max_size=4, unique=True))],
        "where": draw(st.none() | st.sampled_from(CONDITIONS)),
        "events": draw(st.none() | st.sampled_from(EXPRESSIONS)),
        "top": draw(st.sampled_from([None, 1, 2, 5])),
        "max_keys": draw(st.sampled_from([1, 3])) if is_capped or (is_capped is None and draw(st.booleans())) else None,
    }
    if has_window or (has_window is None and draw(st.booleans())):
        texts |= draw(st.sampled_from([{"window": "10ns"}, {"window": "9ns", "slide": "3ns"}, {"window": "1ns"}]))
    if not texts["by"]:
        texts["top"] = None
    rollup = Rollup.parse("drawn", **{key: value for key, value in texts.items() if value is not None})
    try:
        check_rollup(rollup, SPECS)
    except FormatError:
        reject()
    return rollup
