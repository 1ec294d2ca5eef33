"""A schema document is data from elsewhere: what does not hold together is refused."""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.records import OPENAT, SETS, STRUCTS, document, event_document
from traceleft.errors import BatteryError
from traceleft.tracer.schema.load import load_schema

GOOD = document({"openat": event_document(OPENAT, ret={"kind": "fd"})}, sets=SETS, structs=STRUCTS)


def nested(depth: int) -> dict[str, Any]:
    """Return structs that hold each other, ``depth`` deep."""
    inner = {"s0": {"size": 8, "members": [{"name": "x", "offset": 0, "width": 8, "kind": "int"}]}}
    for level in range(1, depth):
        member = {"name": "x", "offset": 0, "kind": "struct", "struct": f"s{level - 1}"}
        inner[f"s{level}"] = {"size": 8, "members": [member]}
    return inner


def test_good_document_becomes_specifications() -> None:
    schema = load_schema(GOOD)
    spec = schema.events["openat"]

    assert [arg.name for arg in spec.args] == ["dfd", "filename", "flags", "mode"]
    assert (spec.fixed_size, spec.ret.kind, spec.slots[0].offset) == (136, "fd", 128)
    assert schema.tables.errno[2] == "ENOENT"


def test_structs_may_be_four_deep() -> None:
    assert len(load_schema(document({}, structs=nested(4))).tables.structs) == 4


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Return what sets one place of the document, keys and indices separated by spaces."""

    def apply(doc: dict[str, Any]) -> None:
        *before, last = (int(key) if key.isdigit() else key for key in path.split())
        target: Any = doc
        for key in before:
            target = target[key]
        target[last] = value

    return apply


BAD = {
    "schema of the future": change("schema", 2),
    "schema that is true": change("schema", True),
    "no events": change("events", None),
    "slot beyond the fixed part": change("events openat layout slots 0 offset", 136),
    "slot in the arguments": change("events openat layout slots 0 offset", 120),
    "slot not aligned": change("events openat layout slots 0 offset", 129),
    "slot that is not there": change("events openat args 1 slot", 1),
    "fixed part too small": change("events openat layout fixed_size", 100),
    "fixed part enormous": change("events openat layout fixed_size", 2**40),
    "arguments that do not fit": change("events openat layout args", 100),
    "index beyond the arguments": change("events openat args 0 index", 6),
    "index taken": change("events openat args 0 index", 1),
    "unknown kind": change("events openat args 0 kind", "macro"),
    "kind that is not text": change("events openat args 0 kind", ["int"]),
    "unknown set": change("events openat args 2 set", "nowhere"),
    "odd width": change("events openat args 2 width", 3),
    "name with a newline": change("events openat args 0 name", "a\nb"),
    "id too large": change("events openat id", 65536),
    "float for an integer": change("events openat id", 1.0),
    "member outside its struct": change("tables structs timespec members 1 offset", 9),
    "struct of nothing": change("tables structs timespec size", 0),
    "bits of zero": change("tables sets open_flags bits", [[0, "NONE"]]),
    "pair of three": change("tables sets open_flags values", [[0, "A", 1]]),
    "byte order": change("byte_order", "middle"),
    "five deep": change("tables structs", nested(5)),
    "recursive": change(
        "tables structs r", {"size": 8, "members": [{"name": "x", "offset": 0, "kind": "struct", "struct": "r"}]}
    ),
    "more work than bytes": change(
        "tables structs w", {"size": 1, "members": [{"name": "x", "offset": 0, "width": 1, "kind": "int"}] * 100}
    ),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_what_does_not_hold_together_is_refused(spoil: Callable[[dict[str, Any]], None]) -> None:
    doc = copy.deepcopy(GOOD)
    spoil(doc)

    with pytest.raises(BatteryError) as caught:
        load_schema(doc)

    assert "\n" not in str(caught.value)


def test_two_events_of_one_id_are_refused() -> None:
    with pytest.raises(BatteryError, match="has the id of"):
        load_schema(document({"a": event_document([]), "b": event_document([])}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return every place in a document."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


PLACES = [place for place in places(GOOD) if place]


@given(st.sampled_from(PLACES), JSON)
@settings(max_examples=300)
def test_anything_anywhere_is_taken_or_refused(place: tuple[Any, ...], value: object) -> None:
    doc: Any = copy.deepcopy(GOOD)
    target = doc
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value

    with suppress(BatteryError):
        load_schema(doc)


@given(JSON)
def test_any_document_is_taken_or_refused(value: object) -> None:
    with pytest.raises(BatteryError):
        load_schema(value)
