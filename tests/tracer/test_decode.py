"""From a record's bytes to an event."""

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import POINTERS, TABLES, N, pointer_schema, records, scalar_schema
from tests.support.records import OPENED, Capture, Record, encode, iovec, openat, part, schema_of
from traceleft.tracer.decode.decoder import Decoder, UndecodableError, make_decoders
from traceleft.tracer.decode.event import Event
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.text import Line, TextOptions
from traceleft.tracer.schema.spec import Schema

ADDRESS = 0x7FFE0010


def decode(schema: Schema, record: Record) -> Event:
    """Return the event of a record of the only event of a schema."""
    (spec,) = schema.events.values()
    return Decoder(spec, schema.tables).decode(encode(spec, record))


def pointed(kind: str, data: bytes, status: int | None = None, **keys: Any) -> Event:
    """Return an event whose argument ``x`` led to some bytes."""
    return decode(pointer_schema(kind), Record((ADDRESS, 1024), {0: Capture(data, status)}, **keys))


def opened() -> Event:
    spec, tables = openat()
    return Decoder(spec, tables).decode(encode(spec, OPENED), offset_ns=1_790_000_000_000_000_000)


def test_event_is_the_object_of_the_design() -> None:
    assert list(opened().to_dict().items()) == [
        ("ts", 1790000000123456789),
        ("event", "openat"),
        ("pid", 5518),
        ("tid", 5518),
        ("comm", "cat"),
        ("uid", 0),
        ("gid", 0),
        ("cpu", 1),
        ("seq", 812),
        ("cgroup_id", 25),
        ("args", {"dfd": "AT_FDCWD", "filename": "/etc/passwd", "flags": "O_RDONLY|O_CLOEXEC", "mode": 0}),
        ("ret", 3),
        ("error", None),
        ("duration_ns", None),
    ]


def test_arguments_are_attributes_and_a_mapping() -> None:
    args = opened().args

    assert args.filename == args["filename"] == "/etc/passwd"
    assert list(args) == ["dfd", "filename", "flags", "mode"]
    with pytest.raises(AttributeError, match="no argument 'fd'; there are dfd"):
        _ = args.fd


def test_raw_arguments_are_unsigned() -> None:
    assert opened().raw == (2**64 - 100, ADDRESS, 0o2000000, 0, 0, 0)


def test_event_outlives_the_buffer_it_came_from() -> None:
    spec, tables = openat()
    buffer = bytearray(encode(spec, OPENED))
    event = Decoder(spec, tables).decode(memoryview(buffer))
    buffer[:] = bytes(len(buffer))

    assert event.args.filename == "/etc/passwd"


@pytest.mark.parametrize(
    ("ret", "flags", "shown"),
    [
        (-2, 0, (-2, "ENOENT")),
        (-512, 0, (-512, "ERESTARTSYS")),
        (-4096, 0, (-4096, None)),
        (-600, 0, (-600, "errno 600")),
        (0, 1, (None, None)),
        (-2, 16, (None, None)),
    ],
)
def test_result_and_error(ret: int, flags: int, shown: tuple[int | None, str | None]) -> None:
    event = decode(schema_of(N), Record((1,), ret=ret, flags=flags))

    assert (event.ret, event.error) == shown


def test_duration_is_told_only_where_it_was_taken() -> None:
    schema = schema_of(N)

    assert decode(schema, Record((1,), duration_ns=77)).duration_ns is None
    assert decode(schema, Record((1,), duration_ns=77, flags=8)).duration_ns == 77


def test_scalars_have_their_c_type_s_width_and_sign() -> None:
    ones = 2**64 - 1

    event = decode(scalar_schema(), Record((ones,) * 8 + (0o2000001, ones, ones, ones, ord("S"), ones, 1, 3, 9, ones)))

    assert event.to_dict()["args"] == {
        "i": -1,
        "wide": ones,
        "hex": "0xffffffff",
        "from": "0xffffffffffffffff",
        "fd": -1,
        "pid": -1,
        "dir": -1,
        "__mode": 0xFFFF,
        "str": "O_WRONLY|O_CLOEXEC",
        "dev": ones,
        "p": -1,
        "uid": -1,
        "c": "S",
        "wide_pid": -1,
        "wide_set": "O_WRONLY",
        "named": 3,
        "status": {"signaled": "SIGKILL", "core_dumped": False},
        "by_i": 2**32 - 1,
    }


@pytest.mark.parametrize(
    ("kind", "data", "status", "shown"),
    [
        ("path", b"/etc", None, "/etc"),
        ("text", b"", None, ""),
        ("buffer", b"a\0\xff", None, "a\0\udcff"),
        ("struct", struct.pack("<qq", 1, 2), None, {"tv_sec": 1, "tv_nsec": 2}),
        ("array", struct.pack("<ii", -1, 7), 2, [-1, 7]),
        ("array of structs", struct.pack("<qq", 1, 2), 1, [{"tv_sec": 1, "tv_nsec": 2}]),
        ("value", struct.pack("<i", -9), None, -9),
        ("sockaddr", b"\2\0\0\x50\x7f\0\0\1", None, {"family": "AF_INET", "addr": "127.0.0.1", "port": 80}),
        ("strings", part(b"ls") + part(b"-l"), 2, ["ls", "-l"]),
        ("iovec", iovec(b"hi"), 1, [{"base": "0x1000", "len": 2, "data": "hi"}]),
        ("sigset", b"\2\0\0\0\0\0\0\0", None, ["SIGINT"]),
        ("ipv4", b"\x7f\0\0\1", None, "127.0.0.1"),
        ("ipv6", bytes(15) + b"\1", None, "::1"),
        ("comm", b"sh\0garbage", None, "sh"),
        ("hex bytes", b"\1\xff", None, "01ff"),
        ("list of bytes", b"\1\0\2\0", None, [1, 2]),
    ],
)
def test_pointers_show_what_they_led_to(kind: str, data: bytes, status: int | None, shown: object) -> None:
    event = pointed(kind, data, status)

    assert event.args.x == shown
    assert (event.truncated, event.unreadable) == ({}, [])


def test_fdset_ends_at_nfds() -> None:
    schema = pointer_schema("fdset")
    captures = {0: Capture(b"\x09" + bytes(7)), 1: Capture(b"\x01" + bytes(7))}

    assert decode(schema, Record((ADDRESS, 3), captures)).args.x == {"in": [0], "out": [0]}


def test_argument_that_goes_both_ways_shows_both() -> None:
    captures = {0: Capture(struct.pack("<i", 16)), 1: Capture(struct.pack("<i", 12))}

    assert decode(pointer_schema("value both"), Record((ADDRESS,), captures)).args.x == {"in": 16, "out": 12}


def test_message_names_its_flags_where_the_schema_has_a_set() -> None:
    schema = schema_of({"name": "x", **POINTERS["msghdr"], "set": "prot"}, tables=TABLES)
    head = struct.pack("<QIIQQQQII", 0, 0, 0, 0, 0, 0, 0, 2, 0)

    event = decode(schema, Record((ADDRESS,), {0: Capture(head + part(b"") + part(b""))}))

    assert event.args.x == {"name": None, "iov": [], "control": [], "flags": "PROT_WRITE"}


@pytest.mark.parametrize("kind", POINTERS)
def test_null_pointer_is_null(kind: str) -> None:
    event = decode(pointer_schema(kind), Record())

    assert event.args.x is None
    assert (event.truncated, event.unreadable) == ({}, [])


@pytest.mark.parametrize("kind", [kind for kind in POINTERS if "both" not in kind and kind != "fdset"])
def test_what_was_not_read_shows_its_address(kind: str) -> None:
    event = decode(pointer_schema(kind), Record((ADDRESS,), {0: Capture(status=-1000)}, ret=-2))

    assert event.args.x == hex(ADDRESS)
    assert event.unreadable == []


@pytest.mark.parametrize("kind", [kind for kind in POINTERS if "both" not in kind and kind != "fdset"])
def test_what_could_not_be_read_is_listed(kind: str) -> None:
    event = decode(pointer_schema(kind), Record((ADDRESS,), {0: Capture(status=-14)}))

    assert event.args.x == hex(ADDRESS)
    assert event.unreadable == ["x"]
    assert event.to_dict()["unreadable"] == ["x"]


def test_strings_that_could_be_read_stay_beside_one_that_could_not() -> None:
    data = part(b"name") + part(b"", status=-14)

    event = pointed("strings", data, -14)

    assert event.args["x"] == ["name", None]
    assert event.unreadable == ["x"]


@pytest.mark.parametrize(
    ("kind", "data", "status", "length"),
    [
        ("text", b"a" * 32, 5000, 5000),
        ("path", b"a" * 32, 0x7FFFFFFF, None),
        ("array", struct.pack("<i", 1), 9, 9),
        ("strings", part(b"ls"), 70, 70),
        ("strings", part(b"ls", 0x7FFFFFFF), 1, None),
        ("iovec", iovec(b"hi", length=99, status=99), 1, None),
    ],
)
def test_what_was_cut_is_listed_with_its_true_length(kind: str, data: bytes, status: int, length: int | None) -> None:
    event = pointed(kind, data, status)

    assert event.truncated == {"x": length}
    assert event.to_dict()["truncated"] == {"x": length}


def test_value_that_is_not_whole_is_unreadable() -> None:
    event = pointed("value", b"\1\2")

    assert (event.args.x, event.unreadable) == (hex(ADDRESS), ["x"])


def test_string_that_could_not_be_read_makes_its_list_unreadable() -> None:
    event = pointed("strings", part(b"ls") + part(b"", -14), 2)

    assert (event.args.x, event.unreadable) == (["ls", None], ["x"])


def test_string_that_could_not_be_read_is_its_address_where_the_record_tells_it() -> None:
    event = pointed("strings", part(b"ls") + part(ADDRESS.to_bytes(8, "little"), -14), 2)

    assert (event.args.x, event.unreadable) == (["ls", hex(ADDRESS)], ["x"])


def test_parts_of_a_message_that_could_not_be_read_are_their_addresses() -> None:
    message = struct.pack("<QIIQQQQII", 0x1000, 16, 0, 0, 0, 0x2000, 24, 0, 0)

    event = pointed("msghdr", message + part(b"", -14) + part(b"", -14), 56)

    assert event.args.x == {"name": "0x1000", "iov": [], "control": "0x2000", "flags": 0}
    assert event.unreadable == ["x"]


def test_empty_address_shows_the_pointer() -> None:
    assert pointed("sockaddr", b"").args.x == hex(ADDRESS)


def spoil(offset: int, form: str, value: int) -> bytes:
    spec, _ = openat()
    data = bytearray(encode(spec, OPENED))
    struct.pack_into(form, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode(openat()[0], OPENED)[:135],
        spoil(0, "<I", 135),
        spoil(0, "<I", 4096),
        spoil(4, "<H", 258),
        spoil(8, "<Q", 2**63),
        spoil(128, "<H", 65535),
        spoil(128, "<H", 80),
        spoil(130, "<H", 200),
    ],
    ids=["empty", "cut", "short", "long", "other event", "time", "slot outside", "slot in header", "slot too long"],
)
def test_record_that_does_not_fit_is_refused(data: bytes) -> None:
    spec, tables = openat()

    with pytest.raises(UndecodableError):
        Decoder(spec, tables).decode(data)


def test_parts_that_do_not_fit_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(UndecodableError, match="does not fit"):
        pointed("strings", struct.pack("<Ii", 1000, 0))


SCHEMAS = [scalar_schema(), *(pointer_schema(kind) for kind in POINTERS)]


def show_all_ways(schema: Schema, data: bytes) -> None:
    """Decode bytes and show the event in every form."""
    (decoder,) = make_decoders(schema).values()
    event = decoder.decode(data)
    assert b"\n" not in to_json_line(event, raw=True)[:-1]
    for options in (TextOptions(), TextOptions("r", durations=True, colour=True), TextOptions("ttt", raw=True)):
        assert "\n" not in Line(options).show(event)


@given(st.sampled_from(SCHEMAS).flatmap(lambda s: st.tuples(st.just(s), records(next(iter(s.events.values()))))))
@settings(max_examples=400, deadline=None)
def test_any_record_shows_or_is_undecodable(case: tuple[Schema, Record]) -> None:
    schema, record = case
    (spec,) = schema.events.values()

    with suppress(UndecodableError):
        show_all_ways(schema, encode(spec, record))


@given(st.sampled_from(SCHEMAS), st.binary(max_size=400), st.booleans())
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_show_or_are_undecodable(schema: Schema, data: bytes, fix: bool) -> None:
    (spec,) = schema.events.values()
    if fix and len(data) >= 16:
        data = struct.pack("<IHHQ", len(data), spec.id, 0, 1) + data[16:]

    with suppress(UndecodableError):
        show_all_ways(schema, data)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8), st.text(max_size=20), st.integers(-(2**63), 2**63 - 1))
def test_what_was_written_is_read(numbers: list[int], text: str, seconds: int) -> None:
    array = {"name": "a", **POINTERS["array"]}
    schema = schema_of(array, N, {"name": "t", **POINTERS["text"]}, {"name": "s", **POINTERS["struct"]}, tables=TABLES)
    captures = {
        0: Capture(struct.pack(f"<{len(numbers)}i", *numbers), len(numbers)),
        1: Capture(text.encode()),
        2: Capture(struct.pack("<qq", seconds, 1)),
    }

    args = decode(schema, Record((1, len(numbers), 1, 1), captures)).args

    assert args.a == numbers
    assert args.t == text
    assert args.s == {"tv_sec": seconds, "tv_nsec": 1}
