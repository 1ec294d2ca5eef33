"""What a trace needs of a schema document: the names to choose from, and then the chosen events with their tables.

A document describes hundreds of events, and most traces want a few. What is not chosen is passed over: neither made
into objects nor checked.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from traceleft.battery.manifest import one_line
from traceleft.errors import BatteryError
from traceleft.expression import Catalogue, select
from traceleft.tracer.schema import core as core_events
from traceleft.tracer.schema.bounded import read_name
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.spec import EventSpec, Schema, make_catalogue

# Structs may hold each other; the schema's loader refuses deeper ones, and those in a ring.
ROUNDS_MAX: Final = 8

T = TypeVar("T")


class _Names(Struct):
    aliases: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


class _Catalogue(Struct):
    events: dict[str, _Names]


class _Number(Struct):
    number: int | None = None


class _Numbers(Struct):
    events: dict[str, _Number]


class _Tables(Struct):
    sets: dict[str, Raw] = {}
    structs: dict[str, Raw] = {}
    errno: Raw = Raw(b"{}")


class _Parts(Struct):
    schema: object
    machine: object
    release: object
    byte_order: object
    events: dict[str, Raw]
    tables: _Tables


def read_catalogue(data: bytes, *, among: Collection[str] | None = None) -> Catalogue:
    """Return what expressions can choose from a schema document, or `among` some of its events.

    Raise BatteryError if it is not a schema.
    """
    events = _decode(data, _Catalogue).events
    classes: dict[str, set[str]] = {}
    names = [read_name(name, f"events.{name}") for name in events if among is None or name in among]
    for name in names:
        for each in events[name].classes:
            classes.setdefault(each, set()).add(name)
    return Catalogue(
        frozenset(names),
        {name: events[name].aliases for name in names},
        {name: frozenset(members) for name, members in classes.items()},
    )


def read_numbers(data: bytes) -> frozenset[int]:
    """Return the numbers that a schema document has events for."""
    numbers = _decode(data, _Numbers).events.values()
    return frozenset(each.number for each in numbers if each.number is not None)


def load_events(data: bytes, names: Collection[str]) -> Schema:
    """Check these events of a schema document, and the tables that they use, and return them.

    Raise BatteryError that names the place when anything in them does not hold together.
    """
    return load_schema(cut_document(data, names))


def cut_document(data: bytes, names: Collection[str] | None = None) -> dict[str, object]:
    """Return a schema document with these of its events (all, if none are named) and the tables that they use.

    Raise BatteryError if it is not such a document; what is in it is still to be checked.
    """
    parts = _decode(data, _Parts)
    chosen = parts.events if names is None else [name for name in names if name in parts.events]
    events = {name: _decode(parts.events[name], object) for name in chosen}
    events |= _core_events(() if names is None else names, parts)
    sets, structs = _cut_tables(parts.tables, events)
    tables = {"sets": sets, "structs": structs, "errno": _decode(parts.tables.errno, object)}
    top = {key: getattr(parts, key) for key in ("schema", "machine", "release", "byte_order")}
    return {**top, "events": events, "tables": tables}


def _core_events(names: Collection[str], parts: _Parts) -> dict[str, object]:
    """Return the core's events among these; older batteries may lack the tables for some."""
    wanted = {name: core_events.DOCUMENTS[name] for name in names if name in core_events.NAMES - parts.events.keys()}
    return {name: event for name, event in wanted.items() if _structs_of(event) <= parts.tables.structs.keys()}


def _structs_of(document: object) -> set[str]:
    return {name for key, name in _references(document) if key == "struct"}


def _cut_tables(tables: _Tables, events: object) -> tuple[dict[str, object], dict[str, object]]:
    """Return the sets and structs that events name, and those that these structs name."""
    structs: dict[str, object] = {}
    sets: set[str] = set()
    latest: object = events
    for _ in range(ROUNDS_MAX):
        named = list(_references(latest)) if latest else []
        sets.update(name for key, name in named if key == "set")
        wanted = {name for key, name in named if key == "struct"} - structs.keys()
        latest = {name: _decode(tables.structs[name], object) for name in sorted(wanted) if name in tables.structs}
        structs |= latest
    return {name: _decode(tables.sets[name], object) for name in sorted(sets) if name in tables.sets}, structs


def _references(document: Any) -> Iterator[tuple[str, str]]:
    """Yield the keys `set` and `struct` with their names, wherever they stand."""
    waiting = [document]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
            yield from ((key, each[key]) for key in ("set", "struct") if isinstance(each.get(key), str))


def _decode(data: bytes | Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BatteryError(f"schema: {one_line(exc)}") from exc


def select_specs(specs: Mapping[str, EventSpec], expressions: Sequence[str]) -> list[EventSpec]:
    """Return the events that expressions choose, of these."""
    syscalls = [name for name, spec in specs.items() if spec.kind == "syscall"]
    return [specs[name] for name in select(expressions, make_catalogue(specs), default=syscalls)]
