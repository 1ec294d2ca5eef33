"""The rooms of records that are built on the stack."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.paths import TESTS
from traceleft.generator.run import describe
from traceleft.generator.stack_model import ROOMS, STACK_RECORD_BYTES, WORD, share_rooms
from traceleft.tracer.session.maps import STACK_SAVED_BYTES

FORMATS = sorted((TESTS / "data/formats").glob("*.json.xz"))


@pytest.fixture(scope="module", params=FORMATS, ids=lambda path: path.name.removesuffix(".json.xz"))
def events(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Return a kernel's events, a struct's size with its name, as share_rooms() is given them."""
    document = describe(request.param).document
    structs = document["tables"]["structs"]
    assert len(document["events"]) > 250
    return {
        name: {
            **event,
            "args": [
                {**arg, "size": structs[arg["struct"]]["size"]} if arg["kind"] == "struct" else arg
                for arg in event["args"]
            ],
        }
        for name, event in document["events"].items()
    }


def test_tracer_reads_as_many_bytes_as_are_saved() -> None:
    assert STACK_SAVED_BYTES == STACK_RECORD_BYTES


def test_records_fit_the_stack(events: Mapping[str, Any]) -> None:
    for name, event in events.items():
        sizes = [room.bytes for room in share_rooms(event)]
        assert all(size > 0 and size % WORD == 0 for size in sizes), name
        assert event["layout"]["fixed_size"] + sum(sizes) <= STACK_RECORD_BYTES, name


def test_paths_have_their_least(events: Mapping[str, Any]) -> None:
    least, most = ROOMS["path"]
    paths = 0
    for name, event in events.items():
        sizes = {room.member: room.bytes for room in share_rooms(event)}
        for argument in event["args"]:
            if argument["kind"] == "path":
                paths += 1
                member = event["layout"]["slots"][argument["slot"]]["name"]
                assert least <= sizes[member] <= most, f"{name}: {member}"
    assert paths > 50
