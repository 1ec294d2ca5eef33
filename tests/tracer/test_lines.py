"""Lines of JSON made in bulk are those that are made one by one; the native code under sanitizers."""

import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.events import BOTH, IN, POINTERS, SCALARS, TABLES, N, pointer_schema, records, scalar_schema
from tests.support.paths import TESTS
from tests.support.records import OPENED, STRUCTS, Capture, Record, encode, openat, part, schema_of
from traceleft import DetailOptions
from traceleft.tracer import _native
from traceleft.tracer.account.handout import Handout
from traceleft.tracer.decode.decoder import Decoder, UndecodableError
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.lines import LineWriter, compile_program
from traceleft.tracer.schema.spec import EventSpec, Schema, Tables

EPOCH = 1_790_000_000_000_000_000
OFTEN = [scalar for scalar in SCALARS if scalar["kind"] != "wait_status"]
COMMON = ("path", "text", "buffer", "struct", "struct both", "array", "array of structs", "value", "value both")
ARRAYS = {
    "limits": {
        "size": 48,
        "members": [
            {"name": "first", "offset": 0, "kind": "struct", "struct": "timespec"},
            {"name": "all", "offset": 0, "kind": "array", "count": 2, "size": 16}
            | {"element": {"kind": "struct", "struct": "timespec"}},
            {"name": "name", "offset": 32, "kind": "text", "count": 7},
            {"name": "set", "offset": 40, "kind": "sigset"},
        ],
    },
    "union": {
        "size": 8,
        "members": [
            {"name": "kind", "offset": 0, "width": 4, "kind": "int"},
            {"name": "a", "offset": 4, "width": 4, "kind": "int", "when": {"member": "kind", "in": [1]}},
            {"name": "a", "offset": 4, "width": 4, "kind": "hex"},
        ],
    },
}


class Kept:
    """Keeps what is written; breaks after so many bytes."""

    def __init__(self, *, room: int = 1 << 40) -> None:
        self.data = b""
        self.taken = 0
        self._room = room

    def write(self, data: bytes) -> None:
        self.taken = min(len(data), self._room - len(self.data))
        self.data += data[: self.taken]
        if self.taken < len(data):
            raise BrokenPipeError


def lay(encoded: Sequence[bytes]) -> bytes:
    return b"".join(record + bytes(-len(record) % 8) for record in encoded)


def line_by_line(decoder: Decoder, encoded: Sequence[bytes], *, raw: bool, offset_ns: int) -> tuple[bytes, int]:
    """Return the lines as Python makes them, and how many records are refused."""
    lines, refused = b"", 0
    for record in encoded:
        try:
            lines += to_json_line(decoder.decode(record, offset_ns=offset_ns), raw=raw)
        except UndecodableError:
            refused += 1
    return lines, refused


def check(spec: EventSpec, tables: Tables, encoded: Sequence[bytes], *, raw: bool = False, offset_ns: int = 0) -> bytes:
    """Fail unless both ways give the same bytes; return them."""
    decoder, kept = Decoder(spec, tables), Kept()
    handout = Handout(_native.Records(lay(encoded)))
    LineWriter([spec], tables, lambda event: decoder, kept, raw=raw).write(handout, len(encoded), offset_ns=offset_ns)

    lines, refused = line_by_line(decoder, encoded, raw=raw, offset_ns=offset_ns)
    assert kept.data == lines
    assert (len(handout.refused), handout.done) == (refused, len(encoded))
    return lines


def native_lines(schema: Schema, encoded: Sequence[bytes]) -> int:
    """Return how many of the records are rendered without Python, up to the first that is not."""
    lines = _native.Lines(compile_program(schema.events.values(), schema.tables))
    return lines.render(_native.Records(lay(encoded)), 0, len(encoded), 0, 1 << 20)[1]


SCHEMAS = {
    **{kind: pointer_schema(kind) for kind in POINTERS},
    "scalars": scalar_schema(),
    "common scalars": schema_of(*OFTEN, tables=TABLES, kind="tracepoint", number=None),
    "nested": schema_of(
        {"name": "x", "kind": "struct", "struct": "limits", **BOTH},
        N,
        {"name": "u", "kind": "struct", "struct": "union", **IN},
        tables={"sets": TABLES["sets"], "structs": {**STRUCTS, **ARRAYS}},
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data(), raw=st.booleans(), offset_ns=st.sampled_from([0, -5_000, EPOCH]))
def test_bytes_are_those_of_single_lines(name: str, data: st.DataObject, raw: bool, offset_ns: int) -> None:
    (spec,) = SCHEMAS[name].events.values()
    encoded = [encode(spec, record) for record in data.draw(st.lists(records(spec), min_size=1, max_size=4))]

    check(spec, SCHEMAS[name].tables, encoded, raw=raw, offset_ns=offset_ns)


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=80) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_text_is_escaped_alike(text: bytes) -> None:
    spec, tables = openat()

    check(spec, tables, [encode(spec, Record((3, 1), {0: Capture(text)}, comm=text[:16]))])


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_every_start_of_a_sequence_is_taken_alike(length: int) -> None:
    """Bytes on both sides of every border that UTF-8 has, in every place."""
    spec, tables = openat()
    edges = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF)
    texts = [b""]
    for _ in range(length):
        texts = [text + bytes((edge,)) for text in texts for edge in edges]
    step = max(1, len(texts) // 20_000)

    check(spec, tables, [encode(spec, Record((3, 1), {0: Capture(text)})) for text in texts[::step]])


@pytest.mark.parametrize("name", (*COMMON, "strings", "sigset", "common scalars"))
def test_common_kinds_are_made_without_python(name: str) -> None:
    (spec,) = SCHEMAS[name].events.values()
    tail = part(b"one") + part(b"two", 7) if name == "strings" else bytes(range(32))
    record = encode(spec, Record((0x1000, 32), {slot: Capture(tail, 2) for slot in range(len(spec.slots))}))

    assert native_lines(SCHEMAS[name], [record] * 3) == 3


@pytest.mark.parametrize("unread", [b"", bytes(8), (0x7FFE0010).to_bytes(8, "little"), bytes(7)])
def test_string_that_could_not_be_read_is_shown_alike(unread: bytes) -> None:
    (spec,) = SCHEMAS["strings"].events.values()
    record = encode(spec, Record((0x1000, 32), {0: Capture(part(b"ls") + part(unread, -14), 2)}))

    assert native_lines(SCHEMAS["strings"], [record]) == 1
    assert b'"unreadable":["x"]' in check(spec, SCHEMAS["strings"].tables, [record])


@pytest.mark.parametrize("name", ["sockaddr", "msghdr", "iovec", "buffer by case"])
def test_rare_kinds_are_left_to_python_only_where_there_is_something_to_show(name: str) -> None:
    (spec,) = SCHEMAS[name].events.values()
    nothing = encode(spec, Record((0, 1)))
    something = encode(spec, Record((0x1000, 1), {0: Capture(bytes(16), 16)}))

    assert native_lines(SCHEMAS[name], [nothing, nothing, something]) == 2


def test_what_did_not_arrive_is_not_done() -> None:
    spec, tables = openat()
    encoded = [encode(spec, OPENED)] * 10
    line = len(to_json_line(Decoder(spec, tables).decode(encoded[0])))
    handout = Handout(_native.Records(lay(encoded)))
    writer = LineWriter([spec], tables, lambda event: Decoder(spec, tables), Kept(room=4 * line - 1))

    with pytest.raises(BrokenPipeError):
        writer.write(handout, 10, offset_ns=0)

    assert handout.done == 3


def test_only_as_many_as_are_wanted_are_written() -> None:
    spec, tables = openat()
    kept, handout = Kept(), Handout(_native.Records(lay([encode(spec, OPENED)] * 10)))

    LineWriter([spec], tables, lambda event: Decoder(spec, tables), kept).write(handout, 4, offset_ns=0)

    assert (kept.data.count(b"\n"), handout.done) == (4, 4)


def test_records_of_another_byte_order_are_left_to_python() -> None:
    spec, tables = openat()
    other = Tables(tables.sets, tables.structs, tables.errno, "big" if sys.byteorder == "little" else "little")
    lines = _native.Lines(compile_program([spec], other))

    assert lines.render(_native.Records(encode(spec, OPENED)), 0, 1, 0, 1) == (b"", 0)


@pytest.mark.parametrize("rows", [(-1, 1), (0, 2), (1, 0)], ids=str)
def test_rows_that_are_not_there_are_refused(rows: tuple[int, int]) -> None:
    spec, tables = openat()
    lines = _native.Lines(compile_program([spec], tables))

    with pytest.raises(_native.Error):
        lines.render(_native.Records(encode(spec, OPENED)), *rows, 0, 1)


def test_program_that_does_not_hold_together_is_refused() -> None:
    program = compile_program([openat()[0]], openat()[1])

    for broken in (b"", program[:-1], program + b"\0", b"\xff" * len(program)):
        with pytest.raises(_native.Error, match="open program of lines"):
            _native.Lines(broken)


Render = Callable[[bytes, bytes], bytes | None]


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return what runs a program over records under sanitizers: the lines, or None where the program is refused."""
    binary = tmp_path_factory.mktemp("lines") / "lines"
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    sources = (TESTS / "data/lines.c", TESTS.parent / "tracer/native/lines.c", TESTS.parent / "tracer/native/program.c")
    include = f"-I{TESTS.parent / 'tracer/native'}"
    subprocess.run(["gcc", "-g", "-O1", *sanitizers, include, *sources, "-o", binary], check=True)

    def run(program: bytes, data: bytes) -> bytes | None:
        sizes = struct.pack("=QQ", len(program), len(data))
        done = subprocess.run([binary], input=sizes + program + data, capture_output=True, timeout=120)
        assert done.returncode in (0, 3), done.stderr.decode()
        return None if done.returncode else done.stdout

    return run


ALL = schema_of(
    *({"name": f"x{rank}", **POINTERS[kind]} for rank, kind in enumerate(sorted(POINTERS))),
    *OFTEN,
    tables=TABLES,
    kind="tracepoint",
    number=None,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_any_record_is_read_within_bounds(render: Render, data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from([*SCHEMAS.values(), ALL]))
    (spec,) = schema.events.values()
    record = bytearray(encode(spec, data.draw(records(spec))))
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(record) - 1), st.integers(0, 255)), max_size=6)):
        record[place] = byte

    assert render(compile_program([spec], schema.tables), bytes(record)) is not None


@settings(max_examples=100, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_any_program_is_refused_or_stays_within_bounds(render: Render, data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from([*SCHEMAS.values(), ALL]))
    (spec,) = schema.events.values()
    program = bytearray(compile_program([spec], schema.tables, raw=True))
    rows = len(program) - len(program) % 4
    for place, number in data.draw(
        st.lists(st.tuples(st.integers(0, rows // 4 - 1), st.integers(0, 40) | st.integers(0, 2**32 - 1)), max_size=3)
    ):
        struct.pack_into("=I", program, 4 * place, number)

    shown = render(bytes(program), lay([encode(spec, data.draw(records(spec)))]))

    assert shown is None or shown.count(b"\n") >= 1


@pytest.mark.kernel
def test_lines_of_the_live_kernel_are_those_of_single_events(kernel_battery: Path) -> None:
    """Every kind that a command with children has: the records are kept, and made lines of in both ways."""
    from traceleft.battery import Battery
    from traceleft.tracer import Tracer

    script = "ls -l / | wc -l; cat /etc/hostname; sleep 0.01; python3 -c 'import socket, select'; kill -l"
    with Tracer(
        Battery.open(kernel_battery), command=["sh", "-c", script], follow=True, details=DetailOptions(durations=True)
    ) as tracer:
        seen: list[bytes] = []
        kept = Kept()
        tracer.write_json(kept)
        dispatcher = tracer._dispatcher
        for spec in tracer.specs.values():
            tracer.on_batch(spec.name, lambda batch: seen.extend(to_json_line(event) for event in batch.events()))
        tracer.run()

    assert dispatcher.offset_ns
    assert len(seen) > 500
    assert sorted(kept.data.splitlines(keepends=True)) == sorted(seen)
    assert tracer.ledger.total.delivered == len(seen)
