"""Check a schema document and make specifications of it.

The document comes from a battery or a recording, that is, from elsewhere: every type, range, index and size is
checked before anything is decoded by it, and what does not fit raises ``BatteryError``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from traceleft.linux import MAX_ERROR
from traceleft.record_layout import SLOT_BYTES, slots_offset
from traceleft.tracer.schema.bounded import (
    MAX_ENTRIES,
    bad,
    get,
    get_flag,
    get_integer,
    get_text,
    read_choice,
    read_identifier,
    read_integer,
    read_list,
    read_mapping,
    read_name,
    read_text,
)
from traceleft.tracer.schema.spec import (
    POINTER_KINDS,
    SCALAR_KINDS,
    ArgSpec,
    EventSpec,
    Schema,
    SlotSpec,
    StructSpec,
    Tables,
    ValueSpec,
)
from traceleft.tracer.schema.types import StructLoader, load_cases, load_set, load_value, narrow

SCHEMA: Final = 1
MAX_EVENTS: Final = 8192
MAX_ARGS: Final = 128
MAX_ERRORS: Final = 16
MAX_FIXED_BYTES: Final = 8192

_ORDERS: Final[Mapping[str, Literal["little", "big"]]] = {"little": "little", "big": "big"}
_KINDS: Final[Mapping[str, Literal["syscall", "tracepoint"]]] = {"syscall": "syscall", "tracepoint": "tracepoint"}
_ENTRIES: Final[Mapping[str, Literal["none", "number", "save", "emit"]]] = {
    "none": "none",
    "number": "number",
    "save": "save",
    "emit": "emit",
}
_MOMENTS: Final[Mapping[str, Literal["entry", "exit"]]] = {"entry": "entry", "exit": "exit"}
_DIRECTIONS: Final[Mapping[str, Literal["in", "out", "inout"]]] = {"in": "in", "out": "out", "inout": "inout"}


def load_schema(document: object) -> Schema:
    """Check a decoded schema.json and return its events and tables.

    Raise ``BatteryError`` that names the place when anything in it does not hold together.
    """
    top = read_mapping(document, "schema")
    version = get(top, "schema", "schema")
    if version != SCHEMA or type(version) is not int:
        raise bad("schema", f"schema {version!r} is not {SCHEMA}: generate and build the battery again")
    tables = _load_tables(top)
    raw_events = read_mapping(get(top, "events", "schema"), "events", limit=MAX_EVENTS)
    events = {name: _load_event(name, raw, tables) for name, raw in sorted(raw_events.items())}
    _check_ids(events)
    return Schema(get_text(top, "machine", "schema"), get_text(top, "release", "schema"), events, tables)


def _load_tables(top: Mapping[str, Any]) -> Tables:
    raw = read_mapping(get(top, "tables", "schema"), "tables")
    order = read_choice(get(top, "byte_order", "schema"), "byte_order", _ORDERS)
    sets = {name: load_set(name, item) for name, item in read_mapping(raw.get("sets", {}), "sets").items()}
    structs = StructLoader(read_mapping(raw.get("structs", {}), "structs"), sets).load()
    return Tables(sets, structs, _load_errno(raw.get("errno", {})), order)


def _load_errno(raw: object) -> dict[int, str]:
    names = {}
    for number, name in read_mapping(raw, "errno").items():
        if not number.isascii() or not number.isdigit() or len(number) > 4:
            raise bad(f"errno.{number}", "is not an error number")
        names[int(number)] = read_name(name, f"errno.{number}")
    return names


def _load_event(name: str, raw: object, tables: Tables) -> EventSpec:
    place = f"events.{name}"
    item = read_mapping(raw, place)
    fixed_size, args_count, slots, digest = _load_layout(get(item, "layout", place), f"{place}.layout")
    raw_args = read_list(get(item, "args", place), f"{place}.args", limit=MAX_ARGS)
    args = tuple(_load_arg(arg, f"{place}.args[{i}]", args_count, len(slots), tables) for i, arg in enumerate(raw_args))
    if len({arg.name for arg in args}) != len(args) or len({arg.index for arg in args}) != len(args):
        raise bad(place, "has two arguments of one name or one index")
    number = item.get("number")
    return EventSpec(
        name=read_name(name, place),
        id=get_integer(item, "id", place, 0, 0xFFFF),
        kind=read_choice(get(item, "kind", place), f"{place}.kind", _KINDS),
        number=None if number is None else read_integer(number, f"{place}.number", 0, 0xFFFF),
        aliases=_names(item.get("aliases", []), f"{place}.aliases"),
        classes=_class_names(item.get("classes", []), f"{place}.classes"),
        format=read_text(item.get("format", ""), f"{place}.format"),
        borrowed=get_flag(item, "borrowed", place, default=False),
        entry=read_choice(item.get("entry", "none"), f"{place}.entry", _ENTRIES),
        ret=_load_ret(item.get("ret", "int"), f"{place}.ret", args_count, tables),
        fixed_size=fixed_size,
        args_count=args_count,
        slots=slots,
        digest=digest,
        args=args,
    )


def _names(raw: object, place: str) -> tuple[str, ...]:
    return tuple(read_name(item, place) for item in read_list(raw, place, limit=MAX_ENTRIES))


def _class_names(raw: object, place: str) -> tuple[str, ...]:
    """Read names of classes; that of `%%stat` is `%stat`."""
    names = [read_text(item, place) for item in read_list(raw, place, limit=MAX_ENTRIES)]
    return tuple("%" * name.startswith("%") + read_name(name.removeprefix("%"), place) for name in names)


def _load_ret(raw: object, place: str, args_count: int, tables: Tables) -> ValueSpec:
    item = read_mapping({"kind": raw} if isinstance(raw, str) else raw, place)
    value = load_value(item, place, SCALAR_KINDS, tables.sets, _no_struct)
    if "cases" not in item:
        return value
    return replace(value, cases=load_cases(item, place, args_count, tables.sets, _no_struct, of_buffer=False))


def _no_struct(name: str) -> StructSpec:
    raise bad("ret", f"is not a struct {name}")


def _load_layout(raw: object, place: str) -> tuple[int, int, tuple[SlotSpec, ...], str]:
    item = read_mapping(raw, place)
    fixed_size = get_integer(item, "fixed_size", place, slots_offset(1), MAX_FIXED_BYTES)
    args_count = get_integer(item, "args", place, 1, MAX_ARGS)
    start = slots_offset(args_count)
    slots = tuple(
        _load_slot(slot, f"{place}.slots[{i}]", start, fixed_size)
        for i, slot in enumerate(read_list(get(item, "slots", place), place, limit=2 * MAX_ARGS))
    )
    if start > fixed_size or len({slot.offset for slot in slots}) != len(slots):
        raise bad(place, "has arguments or slots that do not fit")
    return fixed_size, args_count, slots, read_text(item.get("digest", ""), f"{place}.digest")


def _load_slot(raw: object, place: str, start: int, fixed_size: int) -> SlotSpec:
    item = read_mapping(raw, place)
    offset = get_integer(item, "offset", place, start, fixed_size - SLOT_BYTES)
    if (offset - start) % SLOT_BYTES:
        raise bad(place, "is not aligned")
    return SlotSpec(
        read_name(get(item, "name", place), place), offset, read_choice(item.get("at", "exit"), place, _MOMENTS)
    )


def _load_arg(raw: object, place: str, args_count: int, slots_count: int, tables: Tables) -> ArgSpec:
    item = read_mapping(raw, place)

    def struct(name: str) -> StructSpec:
        if name not in tables.structs:
            raise bad(place, f"names the struct {name}, which is not there")
        return tables.structs[name]

    value = load_value(item, place, SCALAR_KINDS | POINTER_KINDS, tables.sets, struct)
    if "cases" in item:
        if value.kind not in SCALAR_KINDS | {"buffer", "struct"} or item.get("direction") == "inout":
            raise bad(place, "cannot have cases")
        of_buffer = value.kind == "buffer"
        cases = load_cases(item, place, args_count, tables.sets, struct, of_buffer=of_buffer)
        value = replace(value, cases=cases)
    value = narrow(value, tables.sets)
    direction = read_choice(item.get("direction", "in"), f"{place}.direction", _DIRECTIONS)
    slot = slot_out = None
    if value.kind in POINTER_KINDS:
        slot = get_integer(item, "slot", place, 0, slots_count - 1)
        if direction == "inout":
            slot_out = get_integer(item, "slot_out", place, 0, slots_count - 1)
    return ArgSpec(
        name=read_identifier(get(item, "name", place), place),
        type=read_text(item.get("type", ""), f"{place}.type"),
        index=get_integer(item, "index", place, 0, args_count - 1),
        value=value,
        direction=direction,
        slot=slot,
        slot_out=slot_out,
        length_arg=_load_length_arg(item.get("length"), f"{place}.length", args_count),
        on_zero=get_flag(item, "on_zero", place, default=True),
        errors=_load_errors(item.get("on_error"), f"{place}.on_error"),
    )


def _load_errors(raw: object, place: str) -> frozenset[int]:
    """Return the errors that do not keep a call from writing an argument; all, or none, need no list."""
    if raw is None or isinstance(raw, bool):
        return frozenset()
    return frozenset(read_integer(each, place, 1, MAX_ERROR) for each in read_list(raw, place, limit=MAX_ERRORS))


def _load_length_arg(raw: object, place: str, args_count: int) -> int | None:
    """Return the argument that tells a length; the capture has used the other forms already."""
    if raw is None:
        return None
    item = read_mapping(raw, place)
    return None if "arg" not in item else get_integer(item, "arg", place, 0, args_count - 1)


def _check_ids(events: Mapping[str, EventSpec]) -> None:
    owners: dict[int, str] = {}
    for name, event in events.items():
        if owners.setdefault(event.id, name) != name:
            raise bad(f"events.{name}", f"has the id of {owners[event.id]}")
