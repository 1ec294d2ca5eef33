"""Values whose kind another argument tells."""

import struct
from typing import Any

import pytest

from tests.support.events import BUFFER_CASES, CASES, IN, S32, TABLES
from tests.support.records import Capture, Record, encode, schema_of
from traceleft.errors import BatteryError
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.value import Value
from traceleft.tracer.output.text import Line, TextOptions

ADDRESS = 0x7FFE0010
NUMBER = {"name": "i", "kind": "int", "width": 4, "signed": True}
WIDE = {"name": "j", "kind": "int", "width": 8}
BY = {"name": "by", "kind": "hex", "width": 8, "cases": CASES}
OPTION = {"name": "x", "kind": "buffer", "length": {"arg": 1}, "cases": BUFFER_CASES, **IN}


def decode(record: Record, *args: dict[str, Any]) -> Event:
    schema = schema_of(*args, tables=TABLES)
    spec = schema.events["probe"]
    return Decoder(spec, schema.tables).decode(encode(spec, record))


def text(event: Event) -> str:
    return Line(TextOptions(time="none")).show(event).partition("] ")[2]


def register(i: int, j: int, value: int) -> Value:
    return decode(Record((i, j, value)), NUMBER, WIDE, BY).args.by


@pytest.mark.parametrize(
    ("i", "j", "value", "shown"),
    [
        (1, 0, 0o2000001, "O_WRONLY|O_CLOEXEC"),
        (1, 0, 1 << 32 | 64, "O_RDONLY|O_CREAT"),
        (1 << 32 | 1, 0, 64, "O_RDONLY|O_CREAT"),
        (2, 0, 0xFFFFFFFF, -1),
        (-1, 0, 15, "SIGTERM"),
        (-1, 0, 99, 99),
        (-1, 7, 0, None),
        (3, 0, 2**64 - 1, "0xffffffffffffffff"),
    ],
    ids=["set", "set's width", "low half decides", "fd", "named", "unnamed", "case within", "no case"],
)
def test_scalar_is_shown_as_its_case_says(i: int, j: int, value: int, shown: Value) -> None:
    assert register(i, j, value) == shown


def option(level: int, name: int, data: bytes, status: int | None = None) -> Event:
    n, m = {"name": "level", **S32}, {"name": "name", **S32}
    return decode(Record((ADDRESS, level, name), {0: Capture(data, status)}), OPTION, n, m)


@pytest.mark.parametrize(
    ("level", "name", "data", "shown", "line"),
    [
        (1, 2, struct.pack("<i", -5), -5, "[-5]"),
        (1, 2, b"ab", "ab", '"ab"'),
        (1, 2, b"12345", "12345", '"12345"'),
        (1, 13, struct.pack("<qq", 1, 2), {"tv_sec": 1, "tv_nsec": 2}, "{tv_sec: 1, tv_nsec: 2}"),
        (1, 13, b"short", "short", '"short"'),
        (2, 0, b"bbr\0\0", "bbr", '"bbr"'),
        (3, 0, bytes(4), "\0" * 4, r'"\x00\x00\x00\x00"'),
    ],
    ids=["value", "too few", "too many", "struct", "part of a struct", "text", "no case"],
)
def test_bytes_are_shown_as_their_case_says(level: int, name: int, data: bytes, shown: Value, line: str) -> None:
    event = option(level, name, data)

    assert event.args.x == shown
    assert text(event).startswith(f"probe(x: {line}, level:")


def test_bytes_that_were_cut_are_shown_as_bytes() -> None:
    event = option(1, 2, b"abcd", 100)

    assert event.args.x == "abcd"
    assert 'x: "abcd"...' in text(event)


def test_text_of_a_case_is_that_of_its_kind() -> None:
    mode = {**BY, "cases": {"arg": 0, "kinds": {"1": {"kind": "mode"}}}}

    assert "by: 0644" in text(decode(Record((1, 0, 0o644)), NUMBER, WIDE, mode))
    assert "by: 0x1a4" in text(decode(Record((2, 0, 0o644)), NUMBER, WIDE, mode))


@pytest.mark.parametrize(
    "cases",
    [
        [],
        {"arg": 6, "kinds": {}},
        {"arg": 0},
        {"arg": 0, "kinds": {"x": {"kind": "int"}}},
        {"arg": 0, "kinds": {"-1": {"kind": "int"}}},
        {"arg": 0, "kinds": {"4294967296": {"kind": "int"}}},
        {"arg": 0, "kinds": {"1": {"kind": "path"}}},
        {"arg": 0, "kinds": {"1": {"kind": "set", "set": "nowhere"}}},
        {"arg": 0, "kinds": {str(n): {"kind": "int"} for n in range(257)}},
        {"arg": 0, "kinds": {"1": {"kind": "int", "cases": {"arg": 0, "kinds": {"1": {**BY, "name": "z"}}}}}},
    ],
    ids=["list", "argument", "no kinds", "word", "negative", "too large", "pointer", "set", "many", "deep"],
)
def test_cases_that_do_not_hold_together_are_refused(cases: object) -> None:
    with pytest.raises(BatteryError):
        schema_of(NUMBER, WIDE, {**BY, "cases": cases}, tables=TABLES)


@pytest.mark.parametrize("kinds", [{"1": {"kind": "int"}}, {"1": {"kind": "buffer"}}, {"1": {"kind": "value"}}])
def test_cases_of_a_buffer_are_what_bytes_may_be(kinds: object) -> None:
    with pytest.raises(BatteryError):
        schema_of({**OPTION, "cases": {"arg": 0, "kinds": kinds}}, NUMBER, tables=TABLES)


def test_other_pointers_have_no_cases() -> None:
    with pytest.raises(BatteryError, match="cannot have cases"):
        schema_of({**OPTION, "kind": "path"}, NUMBER, tables=TABLES)
