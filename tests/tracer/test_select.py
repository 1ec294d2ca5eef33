"""What a trace reads of a schema document: names to choose from, and the events that were chosen."""

import json
from typing import Any

import pytest

from tests.support.records import OPENAT, SETS, STRUCTS, document, event_document
from traceleft.errors import BatteryError
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.select import load_events, read_catalogue

STAT = {"name": "statbuf", "kind": "struct", "struct": "outer", "slot": True, "direction": "out"}
NESTED = {
    "inner": {"size": 8, "members": [{"name": "mode", "offset": 0, "kind": "set", "set": "open_flags", "width": 4}]},
    "outer": {"size": 8, "members": [{"name": "inner", "offset": 0, "kind": "struct", "struct": "inner"}]},
}


def make_document(**broken: Any) -> bytes:
    """Return a document of three events; one holds a struct that holds another."""
    events = {
        "openat": event_document(OPENAT, aliases=["open_at"], classes=["file", "%stat"]),
        "newstat": event_document([STAT], id=4, number=4, classes=["file"]),
        "getppid": event_document([], id=110, number=110),
    }
    return json.dumps(document(events | broken, sets=SETS, structs={**STRUCTS, **NESTED})).encode()


@pytest.mark.parametrize("names", [["openat"], ["newstat"], ["getppid"], ["openat", "newstat", "getppid"]])
def test_chosen_events_are_those_of_the_whole_schema(names: list[str]) -> None:
    whole = load_schema(json.loads(make_document()))

    part = load_events(make_document(), names)

    assert part.events == {name: whole.events[name] for name in names}
    assert (part.machine, part.release, part.tables.errno) == (whole.machine, whole.release, whole.tables.errno)
    assert part.tables.sets.items() <= whole.tables.sets.items()
    assert part.tables.structs.items() <= whole.tables.structs.items()


def test_tables_are_those_that_the_events_use() -> None:
    assert load_events(make_document(), ["newstat"]).tables.structs.keys() == {"inner", "outer"}
    assert load_events(make_document(), ["newstat"]).tables.sets.keys() == {"open_flags"}
    assert load_events(make_document(), ["getppid"]).tables.sets == {}


def test_events_that_are_not_there_are_left_out() -> None:
    assert load_events(make_document(), ["nosuch", "getppid"]).events.keys() == {"getppid"}


def test_catalogue_has_names_aliases_and_classes() -> None:
    catalogue = read_catalogue(make_document())

    assert catalogue.names == {"openat", "newstat", "getppid"}
    assert catalogue.aliases["openat"] == ("open_at",)
    assert catalogue.classes == {"file": {"openat", "newstat"}, "%stat": {"openat"}}


def test_catalogue_can_be_of_some_events() -> None:
    catalogue = read_catalogue(make_document(), among=["getppid", "newstat"])

    assert catalogue.names == {"getppid", "newstat"}
    assert catalogue.classes == {"file": {"newstat"}}


def test_what_is_wrong_with_a_chosen_event_is_refused() -> None:
    data = make_document(openat={**event_document(OPENAT), "id": -1})

    with pytest.raises(BatteryError, match=r"events\.openat"):
        load_events(data, ["openat", "getppid"])
    assert load_events(data, ["getppid"]).events.keys() == {"getppid"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"events": []}',
        b'{"events": {"a": 1}}',
        b"[" * 100_000,
        b'{"events": {"\\n": {}}}',
    ],
    ids=["nothing", "a list", "empty", "null", "no events", "an event is a number", "too deep", "a name is none"],
)
def test_what_is_no_schema_is_refused_in_one_line(data: bytes) -> None:
    for read in (read_catalogue, lambda data: load_events(data, ["a"])):
        with pytest.raises(BatteryError) as refused:
            read(data)
        assert "\n" not in str(refused.value)


def test_structs_in_a_ring_are_refused() -> None:
    ring = {"size": 8, "members": [{"name": "next", "offset": 0, "kind": "struct", "struct": "outer"}]}
    text = json.dumps(document({"newstat": event_document([STAT])}, structs={"outer": ring}))

    with pytest.raises(BatteryError, match="holds itself"):
        load_events(text.encode(), ["newstat"])
