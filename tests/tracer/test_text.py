"""One event, one line of text: strace's, with names."""

import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.events import TABLES, N, pointer_schema, scalar_schema
from tests.support.records import OPENED, Capture, Record, encode, iovec, openat, part, schema_of
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.signals import SIGNALS
from traceleft.tracer.output.text import Line, TextOptions, TimeForm
from traceleft.tracer.schema.spec import Schema

ADDRESS = 0x7FFE0010
NOW_NS = 1_790_000_000_123_456_789


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let local time be UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def decode(schema: Schema, record: Record) -> Event:
    (spec,) = schema.events.values()
    return Decoder(spec, schema.tables).decode(encode(spec, record), offset_ns=NOW_NS - 1_000)


def opened() -> Event:
    spec, tables = openat()
    return Decoder(spec, tables).decode(encode(spec, OPENED), offset_ns=NOW_NS - OPENED.ts)


def call(schema: Schema, record: Record, **options: Any) -> str:
    """Return an event's line without time and process."""
    line = Line(TextOptions(time="none", **options)).show(decode(schema, record))
    return line.partition("] ")[2]


def shown(kind: str, data: bytes, status: int | None = None) -> str:
    """Return what a pointer argument is shown as."""
    text = call(pointer_schema(kind), Record((ADDRESS, 1024), {0: Capture(data, status)}))
    return text.removeprefix("probe(x: ").removesuffix(", n: 1024) = 0")


def test_line_is_the_issue_s() -> None:
    assert Line().show(opened()) == (
        "14:13:20.123456 cat[5518] "
        'openat(dfd: AT_FDCWD, filename: "/etc/passwd", flags: O_RDONLY|O_CLOEXEC, mode: 0) = 3'
    )


def test_thread_that_does_not_lead_its_process_is_named_beside_it() -> None:
    spec, tables = openat()
    record = replace(OPENED, ids=(5518, 5519, 0, 0))
    event = Decoder(spec, tables).decode(encode(spec, record), offset_ns=0)

    assert Line(TextOptions(time="none")).show(event).startswith("cat[5518/5519] openat(")


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("default", "14:13:20.123456 cat["),
        ("t", "14:13:20 cat["),
        ("tt", "14:13:20.123456 cat["),
        ("ttt", "1790000000.123456 cat["),
        ("r", "     0.000000 cat["),
        ("none", "cat["),
    ],
)
def test_time_has_the_form_that_was_asked_for(form: TimeForm, start: str) -> None:
    assert Line(TextOptions(time=form)).show(opened()).startswith(start)


def test_relative_time_is_that_since_the_line_before() -> None:
    line = Line(TextOptions(time="r"))
    line.show(decode(schema_of(N), Record(ts=1_000)))

    assert line.show(decode(schema_of(N), Record(ts=2_000_500_999))).startswith("     2.000499 ")


@pytest.mark.parametrize(
    ("keys", "result"),
    [
        ({"ret": 0}, ") = 0"),
        ({"ret": -2}, ") = -1 ENOENT (No such file or directory)"),
        ({"ret": -512}, ") = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"),
        ({"ret": -513}, ") = ? ERESTARTNOINTR (To be restarted)"),
        ({"ret": -514}, ") = ? ERESTARTNOHAND (To be restarted if no handler)"),
        ({"ret": -516}, ") = ? ERESTART_RESTARTBLOCK (Interrupted by signal)"),
        ({"ret": 0, "flags": 1}, ") = ?"),
        ({"ret": 0, "flags": 17}, " <unfinished ...>"),
        ({"ret": -5000}, ") = -5000"),
    ],
)
def test_result_is_strace_s(keys: dict[str, Any], result: str) -> None:
    assert call(schema_of(N), Record((1,), **keys)) == f"probe(n: 1{result}"


@pytest.mark.parametrize(
    ("kind", "ret", "text"),
    [
        ("pointer", 0x7F12, "0x7f12"),
        ("mode", 0o22, "0022"),
        ("hex", 16, "0x10"),
        ("fd", 3, "3"),
        ("pointer", -12, "-1"),
    ],
)
def test_result_has_its_kind(kind: str, ret: int, text: str) -> None:
    assert call(schema_of(N, ret=kind), Record((1,), ret=ret)).split(" = ")[1].split()[0] == text


def test_duration_follows_the_result() -> None:
    assert call(schema_of(N), Record((1,), flags=8, duration_ns=123_999), durations=True).endswith("= 0 <0.000123>")
    assert call(schema_of(N), Record((1,)), durations=True).endswith("= 0 <unavailable>")


def test_scalars_show_by_kind() -> None:
    ones = 2**64 - 1
    values = (ones, 7, 16, 0, 3, 5, 2**64 - 100, 0o644, 1, 0xFE00, 77, 2**32 - 1, ord("S"), ones, ones << 32, 15, 9, 0)

    assert call(scalar_schema(), Record(values)) == (
        "probe(i: -1, wide: 7, hex: 0x10, from: NULL, fd: 3, pid: 5, dir: AT_FDCWD, __mode: 0644, str: O_WRONLY, "
        "dev: makedev(0xfe, 0), p: 77, uid: -1, c: 'S', wide_pid: -1, wide_set: O_RDONLY, named: SIGTERM, "
        "status: {WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}, by_i: NULL)"
    )


@pytest.mark.parametrize(
    ("kind", "data", "status", "text"),
    [
        ("text", b'a\n\t\x1b[2J\x00\xff"q\\', None, r'"a\n\t\x1b[2J\x00\xff\"q\\"'),
        ("text", "grün\u202e\x85".encode(), None, r'"grün\xe2\x80\xae\xc2\x85"'),
        ("text", b"a" * 3, 99, '"aaa"...'),
        ("path", b"", -14, "0x7ffe0010"),
        ("struct", struct.pack("<qq", 1, 0), None, "{tv_sec: 1, tv_nsec: 0}"),
        ("array", struct.pack("<ii", 1, 2), 2, "[1, 2]"),
        ("array", struct.pack("<ii", 1, 2), 9, "[1, 2, ...]"),
        ("array", b"", 0, "[]"),
        ("array of structs", struct.pack("<qq", 1, 0), 1, "[{tv_sec: 1, tv_nsec: 0}]"),
        ("value", struct.pack("<i", 9), None, "[9]"),
        ("strings", part(b"ls") + part(b'a"b'), 2, r'["ls", "a\"b"]'),
        ("strings", part(b"ls"), 70, '["ls", ...]'),
        ("strings", b"", 0, "[]"),
        ("strings", part(b"ls", 9) + part(b"-l"), 0x7FFFFFFF, '["ls"..., "-l", ...]'),
        ("iovec", iovec(b"hi", length=9, status=9), 1, '[{base: 0x1000, len: 9, data: "hi"...}]'),
        (
            "msghdr",
            struct.pack("<QIIQQQQII", 0, 0, 0, 2, 2, 0, 0, 0, 0) + part(b"") + part(b"") + iovec(b"a", status=5),
            56,
            '{name: NULL, iov: [{base: 0x1000, len: 1, data: "a"...}, ...], control: [], flags: 0}',
        ),
        ("strings", part(b"ls") + part(b"", -14), 2, '["ls", ???]'),
        ("strings", part(b"ls") + part((0x7FFE0010).to_bytes(8, "little"), -14), 2, '["ls", 0x7ffe0010]'),
        ("iovec", iovec(b"", length=9, status=-14), 1, "[{base: 0x1000, len: 9, data: 0x1000}]"),
        (
            "msghdr",
            struct.pack("<QIIQQQQII", 0x3000, 16, 0, 0, 0, 0x4000, 9, 0, 0) + part(b"", -14) + part(b"", -14),
            56,
            "{name: 0x3000, iov: [], control: 0x4000, flags: 0}",
        ),
        ("iovec", iovec(b"hi\n"), 1, r'[{base: 0x1000, len: 3, data: "hi\n"}]'),
        ("sockaddr", b"\2\0\0\x50\x7f\0\0\1", None, '{family: AF_INET, addr: "127.0.0.1", port: 80}'),
        ("sockaddr", b"\1\0/a\x1b\0", None, r'{family: AF_UNIX, path: "/a\x1b"}'),
        ("sigset", (1 << 1 | 1 << 14 | 1 << 32).to_bytes(8, "little"), None, "[INT TERM RT_1]"),
        ("sigset", (2**64 - 1 - (1 << 8)).to_bytes(8, "little"), None, "~[KILL]"),
        ("sigset", bytes(8), None, "[]"),
        ("comm", b"a\x1b\0", None, r'"a\x1b"'),
        ("ipv4", b"\x7f\0\0\1", None, "127.0.0.1"),
    ],
)
def test_pointers_show_what_they_led_to(kind: str, data: bytes, status: int | None, text: str) -> None:
    assert shown(kind, data, status) == text


def test_null_pointer_is_null() -> None:
    assert call(pointer_schema("path"), Record()) == "probe(x: NULL, n: 0) = 0"


def test_argument_that_goes_both_ways_shows_the_second_where_it_was_read_and_differs() -> None:
    schema = pointer_schema("value both")
    before = Capture(struct.pack("<i", 16))

    both = call(schema, Record((ADDRESS,), {0: before, 1: Capture(struct.pack("<i", 12))}))
    same = call(schema, Record((ADDRESS,), {0: before, 1: before}))
    failed = call(schema, Record((ADDRESS,), {0: before, 1: Capture(status=-1000)}, ret=-2))

    assert both.startswith("probe(x: [16 => 12], n:")
    assert same.startswith("probe(x: [16], n:")
    assert failed.startswith("probe(x: [16], n:")


def test_raw_shows_the_registers() -> None:
    assert call(schema_of(N), Record((2**64 - 1,)), raw=True) == "probe(n: 0xffffffffffffffff) = 0"


def test_fds_show_their_names_escaped() -> None:
    line = Line(TextOptions(time="none")).show(
        decode(schema_of({"name": "fd", "kind": "fd", "width": 4}, ret="fd"), Record((3,), ret=4)),
        {"fd": "/tmp/a>\n", "ret": "/b"},
    )

    assert line.endswith(r"probe(fd: 3</tmp/a\x3e\n>) = 4</b>")


def test_name_of_a_thread_cannot_move_the_cursor() -> None:
    line = Line(TextOptions(time="none")).show(decode(schema_of(N), Record(comm=b"\x1b[2J\n")))

    assert line.startswith(r"\x1b[2J\n[5518/5519] probe(")


def test_colour_is_only_there_when_asked_for() -> None:
    assert "\033" not in Line().show(opened())
    assert "\033[36mopenat\033[0m(" in Line(TextOptions(colour=True)).show(opened())


def test_full_set_of_signals_is_the_complement_of_none() -> None:
    assert len(SIGNALS) == 64
    assert shown("sigset", b"\xff" * 8) == "~[]"


def test_tracepoint_has_no_result() -> None:
    schema = schema_of(N, kind="tracepoint", tables=TABLES)

    assert call(schema, Record((1,), flags=5)) == "probe(n: 1)"


@pytest.mark.parametrize(
    ("ret", "keys", "text"),
    [
        (0o2000001, {"kind": "set", "set": "open_flags"}, "0x80001 (O_WRONLY|O_CLOEXEC)"),
        (0, {"kind": "set", "set": "open_flags"}, "0 (O_RDONLY)"),
        (15, {"kind": "set", "set": "sig"}, "15 (SIGTERM)"),
        (0, {"kind": "set", "set": "sig"}, "0"),
        (0o644, {"kind": "int", "cases": {"arg": 0, "kinds": {"1": {"kind": "mode"}}}}, "0644"),
        (0o644, {"kind": "int", "cases": {"arg": 0, "kinds": {"2": {"kind": "mode"}}}}, "420"),
    ],
    ids=["flags", "no flag", "constant", "no constant", "case", "no case"],
)
def test_result_has_its_names_beside_it(ret: int, keys: dict[str, Any], text: str) -> None:
    schema = schema_of(N, tables=TABLES, ret=keys)

    assert call(schema, Record((1,), ret=ret)) == f"probe(n: 1) = {text}"


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (0o100644, "S_IFREG|0644"),
        (0o041777, "S_IFDIR|S_ISVTX|0777"),
        (0o106755, "S_IFREG|S_ISUID|S_ISGID|0755"),
        (0o120000, "S_IFLNK|000"),
        (0o4755, "04755"),
        (0, "0"),
    ],
)
def test_mode_names_the_type_of_a_file(mode: int, text: str) -> None:
    argument = {"name": "mode", "kind": "mode", "width": 2}

    assert call(schema_of(argument), Record((mode,))) == f"probe(mode: {text}) = 0"


def test_mask_of_cpus_shows_their_numbers() -> None:
    assert shown("mask", b"\3\1") == "[0 1 8]"
    assert shown("mask", b"\0", 128) == "[]"
    assert shown("mask", b"\1", 128) == "[0, ...]"
