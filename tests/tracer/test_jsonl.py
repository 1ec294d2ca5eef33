"""One event, one line of JSON."""

import base64
import json

from tests.support.events import pointer_schema
from tests.support.records import OPENED, Capture, Record, encode, openat
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.output.jsonl import to_json_line


def opened() -> Event:
    spec, tables = openat()
    return Decoder(spec, tables).decode(encode(spec, OPENED), offset_ns=1_790_000_000_000_000_000)


def text_event(capture: Capture) -> Event:
    schema = pointer_schema("text")
    (spec,) = schema.events.values()
    return Decoder(spec, schema.tables).decode(encode(spec, Record((0x1000, 1), {0: capture}, comm=b"a\x1bb")))


def test_line_is_the_design_s_to_the_letter() -> None:
    assert to_json_line(opened()) == (
        b'{"ts":1790000000123456789,"event":"openat","pid":5518,"tid":5518,"comm":"cat","uid":0,"gid":0,"cpu":1,'
        b'"seq":812,"cgroup_id":25,"args":{"dfd":"AT_FDCWD","filename":"/etc/passwd","flags":"O_RDONLY|O_CLOEXEC",'
        b'"mode":0},"ret":3,"error":null,"duration_ns":null}\n'
    )


def test_raw_adds_six_unsigned_integers() -> None:
    assert json.loads(to_json_line(opened(), raw=True))["raw"] == [2**64 - 100, 0x7FFE0010, 0o2000000, 0, 0, 0]


def test_names_of_fds_are_added_only_where_there_are_some() -> None:
    assert json.loads(to_json_line(opened(), paths={"ret": "/etc/passwd"}))["paths"] == {"ret": "/etc/passwd"}
    assert "paths" not in json.loads(to_json_line(opened(), paths={}))


def test_truncated_and_unreadable_stand_only_where_they_say_something() -> None:
    cut = json.loads(to_json_line(text_event(Capture(b"ab", 5000))))
    lost = json.loads(to_json_line(text_event(Capture(b"", -14))))

    assert (cut["truncated"], "unreadable" in cut) == ({"x": 5000}, False)
    assert (lost["unreadable"], lost["args"]["x"], "truncated" in lost) == (["x"], "0x1000", False)


def test_whatever_the_bytes_a_line_is_one_line_of_valid_json() -> None:
    line = to_json_line(text_event(Capture(b'\n\0"\\\xff\x1b')))

    assert line.count(b"\n") == 1
    assert json.loads(line)["args"]["x"] == '\n\0"\\\ufffd\x1b'
    assert json.loads(line)["bytes"] == {"x": base64.b64encode(b'\n\0"\\\xff\x1b').decode()}
    assert json.loads(line)["comm"] == "a\x1bb"


def test_numbers_keep_all_their_digits() -> None:
    schema = pointer_schema("text")
    (spec,) = schema.events.values()
    record = encode(spec, Record((2**64 - 1,), ret=-(2**63), duration_ns=2**64 - 1, flags=8))
    line = json.loads(to_json_line(Decoder(spec, schema.tables).decode(record), raw=True))

    assert (line["ret"], line["duration_ns"], line["raw"][0]) == (-(2**63), 2**64 - 1, 2**64 - 1)
