"""Records as columns."""

import importlib.util
import struct
import subprocess
import sys
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import BOTH, S32, SCALARS, TABLES, pointer_schema, records, scalar_schema
from tests.support.records import OPENED, Capture, Record, encode, openat, schema_of
from tests.support.records import batch_of as records_batch
from traceleft.errors import UnsupportedError
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder, UndecodableError
from traceleft.tracer.decode.value import Value


def batch_of(*listed: Record) -> Batch:
    return records_batch(Decoder(*openat()), listed, offset_ns=7)


TWO = (OPENED, Record((3, 0x1000, 1, 0o644), {0: Capture(b"x")}, ret=-2, ts=9))


def test_columns_have_names_widths_and_signs() -> None:
    array = batch_of(*TWO).to_numpy()

    assert array["dfd"].tolist() == [-100, 3]
    assert array["mode"].tolist() == [0, 0o644]
    assert array["ret"].tolist() == [3, -2]
    assert array["comm"].tolist() == [b"cat", b"cat"]
    assert array["filename.length"].tolist() == [11, 1]
    assert (str(array.dtype["dfd"]), str(array.dtype["mode"])) == ("int32", "uint16")


def test_array_is_a_view_that_cannot_be_written() -> None:
    assert not batch_of(*TWO).to_numpy().flags.writeable


def test_text_is_decoded_for_the_column_that_is_asked_for() -> None:
    batch = batch_of(*TWO)

    assert batch.column("filename") == ["/etc/passwd", "x"]
    assert batch.column("flags") == ["O_RDONLY|O_CLOEXEC", "O_WRONLY"]
    with pytest.raises(KeyError):
        batch.column("nothing")


def test_events_are_those_of_the_records() -> None:
    batch = batch_of(*TWO)

    assert [event.args.filename for event in batch.events()] == ["/etc/passwd", "x"]
    assert [event.ts for event in batch.events()] == batch.timestamps().tolist() == [OPENED.ts + 7, 16]
    assert len(batch) == 2


def test_joined_batches_have_the_records_of_all() -> None:
    decoder = Decoder(*openat())
    parts = [records_batch(decoder, records, offset_ns=7) for records in ([*TWO], [], [OPENED])]

    joined = Batch.joined(parts)

    assert [joined.record(row) for row in range(3)] == [part.record(row) for part in parts for row in range(len(part))]
    assert joined.column("filename") == ["/etc/passwd", "x", "/etc/passwd"]
    assert joined.timestamps().tolist() == [OPENED.ts + 7, 16, OPENED.ts + 7]
    assert (joined.size_bytes, Batch.joined(parts[:1])) == (sum(part.size_bytes for part in parts), parts[0])
    assert (joined.rows, joined.stacks()) == (b"", [None] * 3)


def test_batches_of_several_clocks_are_not_joined() -> None:
    decoder = Decoder(*openat())

    with pytest.raises(ValueError, match="several decoders or clocks"):
        Batch.joined([records_batch(decoder, TWO, offset_ns=offset_ns) for offset_ns in (1, 2)])


def test_batch_of_nothing_has_columns() -> None:
    assert len(batch_of().to_numpy()) == 0


def test_argument_named_as_a_header_s_column_keeps_both() -> None:
    schema = schema_of(
        *SCALARS, {"name": "v", "kind": "value", "element": S32, **BOTH}, tables=TABLES, kind="tracepoint"
    )
    spec = schema.events["probe"]
    data = encode(spec, Record((0, 0, 0, 0, 0, 88)))
    batch = Batch(Decoder(spec, schema.tables), data, b"", struct.pack("=2Q", 0, 0))

    array = batch.to_numpy()

    assert (array["pid"][0], array["arg_pid"][0]) == (5518, 88)
    assert array["v_out.status"][0] == 0


@pytest.mark.parametrize(
    ("fixed", "heap", "ends"),
    [
        (b"x", b"", struct.pack("=1Q", 0)),
        (bytes(136), b"", struct.pack("=1Q", 0)),
        (bytes(136), b"", struct.pack("=2Q", 0, 9)),
        (bytes(272), bytes(9), struct.pack("=3Q", 0, 9, 3)),
    ],
)
def test_parts_that_do_not_go_together_are_refused(fixed: bytes, heap: bytes, ends: bytes) -> None:
    spec, tables = openat()

    with pytest.raises(UndecodableError):
        Batch(Decoder(spec, tables), fixed, heap, ends)


@pytest.mark.parametrize("kind", ["path", "text", "strings", "struct both", "scalars"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_column_is_what_single_events_have_and_none_where_a_record_does_not_fit(kind: str, data: st.DataObject) -> None:
    schema = scalar_schema() if kind == "scalars" else pointer_schema(kind)
    (spec,) = schema.events.values()
    encoded = []
    for record in data.draw(st.lists(records(spec), max_size=5)):
        bent = bytearray(encode(spec, record))
        if place := data.draw(st.none() | st.sampled_from([0, 4, 15, *range(spec.fixed_size - 8, spec.fixed_size)])):
            bent[place] = data.draw(st.integers(0, 255))
        encoded.append(bytes(bent))
    decoder = Decoder(spec, schema.tables)
    tails = [record[spec.fixed_size :] for record in encoded]
    ends = struct.pack(f"={len(tails) + 1}Q", *accumulate(map(len, tails), initial=0))
    batch = Batch(decoder, b"".join(record[: spec.fixed_size] for record in encoded), b"".join(tails), ends)

    for arg in spec.args:
        assert batch.column(arg.name) == [value_of(decoder, record, arg.name) for record in encoded]


def value_of(decoder: Decoder, record: bytes, name: str) -> Value:
    try:
        return decoder.decode(record).args[name]
    except UndecodableError:
        return None


def test_arrow_needs_pyarrow_and_says_so() -> None:
    batch = batch_of(*TWO)
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(UnsupportedError, match="install traceleft"):
            batch.to_arrow()
    else:
        assert batch.to_arrow().column("filename").to_pylist() == ["/etc/passwd", "x"]


def test_text_and_json_do_not_import_numpy() -> None:
    modules = "traceleft.tracer.output.text, traceleft.tracer.output.jsonl, traceleft.tracer.decode.batch"
    code = f"import sys, {modules};"

    subprocess.run([sys.executable, "-c", f"{code} sys.exit('numpy' in sys.modules)"], check=True)
