"""The event of calls that no event is for, as a decoder, a batch and a recording have it."""

import json
from pathlib import Path

from tests.support.records import Record, encode
from traceleft.aggregator.streaming.batch_columns import BatchColumns
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.output.lines import compile_program
from traceleft.tracer.output.text import Line, TextOptions
from traceleft.tracer.schema import core as core_events
from traceleft.tracer.schema import unknown
from traceleft.tracer.schema.select import cut_document, load_events, read_catalogue, read_numbers
from traceleft.tracer.schema.spec import Schema

READ = {
    "id": 0, "kind": "syscall", "number": 0, "layout": {"fixed_size": 128, "args": 6, "slots": []}, "args": [],
}  # fmt: skip


def document() -> bytes:
    head = {"schema": 1, "machine": "x86_64", "release": "6.1", "byte_order": "little"}
    return json.dumps({**head, "events": {"read": READ}, "tables": {}}).encode()


def schema() -> Schema:
    return load_events(document(), ["read", unknown.NAME])


def record(number: int, *registers: int) -> bytes:
    raw = (*registers, *[0] * (6 - len(registers)), number)
    return encode(schema().events[unknown.NAME], Record(raw, ret=-38))


def test_it_can_be_chosen_but_is_not_in_the_document() -> None:
    catalogue = read_catalogue(document())

    assert sorted(catalogue.names) == ["read"]
    assert sorted(core_events.add_to(catalogue).names) == ["process_exit", "read", "signal", unknown.NAME]
    assert sorted(schema().events) == ["read", unknown.NAME]
    assert sorted(load_events(document(), ["read"]).events) == ["read"]
    # A recording keeps it in its own document, and needs no battery.
    assert sorted(load_events(json.dumps(cut_document(document(), ["unknown"])).encode(), ["unknown"]).events) == [
        unknown.NAME
    ]


def test_numbers_without_an_event_are_all_but_those_of_events() -> None:
    known = read_numbers(document())

    assert known == {0}
    assert unknown.unknown_numbers(known) == [*range(1, unknown.NUMBER)]


def test_it_is_shown_by_number_and_registers() -> None:
    decoder = Decoder(schema().events[unknown.NAME], schema().tables)
    events = [decoder.decode(record(number, 1, 0)) for number in (999, 0x40000001)]

    assert [event.event for event in events] == ["syscall_999", "syscall_0x40000001"]
    assert events[0].to_dict()["event"] == "syscall_999"
    line = Line(TextOptions(time="none")).show(events[0])
    assert line.endswith("] syscall_999(0x1, 0, 0, 0, 0, 0) = -1 ENOSYS (Function not implemented)")


def test_its_lines_are_left_to_python() -> None:
    spec = schema().events[unknown.NAME]
    assert compile_program([spec], schema().tables) == compile_program([], schema().tables)


def test_columns_have_a_name_for_each_number(tmp_path: Path) -> None:
    spec = schema().events[unknown.NAME]
    records = [record(number) for number in (999, 335, 999)]
    ends = b"".join((0).to_bytes(8, "little") for _ in range(len(records) + 1))
    batch = Batch(Decoder(spec, schema().tables), b"".join(records), b"", ends)
    found = BatchColumns(batch, schema().tables).texts("event")

    assert [found.values[code] for code in found.codes] == ["syscall_999", "syscall_335", "syscall_999"]
