"""Turn records into events.

A decoder is a set of closures made from an event's specification; no code is made from text. Whatever the bytes,
``decode`` returns an event that shows without error, or raises ``UndecodableError``.
"""

import struct
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from traceleft.record_layout import COUNTED, HEADER, SLOT_BYTES, STACK_IDS, STACKS, slots_offset
from traceleft.tracer.decode.arguments import ENVIRONMENT, compile_arg, compile_check
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.fixed_part import FLAGS_FIELD, HEADER_FIELDS, Fields, FixedPart, ReadArg
from traceleft.tracer.decode.values import compile_scalar
from traceleft.tracer.schema.spec import ArgSpec, EventSpec, Schema, Tables

if TYPE_CHECKING:
    from traceleft.tracer.decode.stack import Stack, StackSource

_LENGTH, _EVENT, _TIMESTAMP, _TGID = (HEADER[name].rank for name in ("length", "event", "timestamp", "tgid"))


class UndecodableError(ValueError):
    """A record or a batch does not fit its event. It comes from another battery, or is damaged."""


class Decoder:
    """Decodes the records of one event.

    ``layout`` is set where the native module's checks are all that ``decode`` asks; ``fields`` unpacks what passed.
    ``dtype`` is numpy's for the fixed parts, once a batch has asked for it; ``stacks`` leads to the stacks of records
    that carry their ids, and may be set at any time.
    """

    __slots__ = ("_checks", "_ids", "_slots", "dtype", "fields", "layout", "raw", "readers", "spec", "stacks", "tables")

    def __init__(self, spec: EventSpec, tables: Tables) -> None:
        fixed = FixedPart(spec, tables)
        self.spec = spec
        self.tables = tables
        order = "<" if tables.byte_order == "little" else ">"
        self.raw = struct.Struct(f"{order}{spec.args_count}Q")
        self._ids = struct.Struct(f"{order}{STACK_IDS.codes}")
        self.stacks: StackSource | None = None
        self.readers = tuple((arg.name, HEADER_FIELDS + arg.index, _reader(arg, fixed, tables)) for arg in spec.args)
        self.fields: Callable[[bytes], Fields] = fixed.struct.unpack_from
        self._slots = fixed.slots
        self._checks = _compile_checks(spec, fixed, tables)
        self.layout = None if self._checks else native_layout(spec, tables)
        self.dtype: Any = None

    def decode(self, record: bytes | memoryview, *, offset_ns: int = 0) -> Event:
        """Return the event of a record, which is copied; ``offset_ns`` leads from its clock to the epoch's.

        Raise ``UndecodableError`` when the record is cut, another event's, or points outside itself.
        """
        fields, data = self.unpack(record)
        return Event(self, data, offset_ns, fields)

    def unpack(self, record: bytes | memoryview) -> tuple[Fields, bytes]:
        """Return a record's fields (header, arguments, slots) and its bytes, checked as ``decode`` does."""
        data = record if type(record) is bytes else bytes(record)
        size, spec = len(data), self.spec
        if size < spec.fixed_size:
            raise UndecodableError(f"{spec.name}: {size} bytes are fewer than a record's {spec.fixed_size}")
        fields = self.fields(data)
        length = fields[_LENGTH]
        if not spec.fixed_size <= length <= size or fields[_EVENT] != spec.id or fields[_TIMESTAMP] >> 63:
            raise UndecodableError(f"{spec.name}: the header does not fit")
        if fields[FLAGS_FIELD] & STACKS and length - spec.fixed_size < self._ids.size:
            raise UndecodableError(f"{spec.name}: its stacks are missing")
        for place in self._slots:
            offset, captured = fields[place], fields[place + 1]
            if captured and (offset < spec.fixed_size or offset + captured > length):
                raise UndecodableError(f"{spec.name}: a slot points outside the record")
        if self._checks:
            self._check_parts(fields, data)
        return fields, data

    def find_stack(self, fields: Fields, data: bytes | memoryview) -> "Stack | None":
        """Return a record's stack; None where it carries none, or nothing tells what its ids mean."""
        if self.stacks is None or not fields[FLAGS_FIELD] & STACKS:
            return None
        kernel, user = self._ids.unpack_from(data, self.spec.fixed_size)
        return self.stacks.find(fields[_TGID], kernel, user, fields[_TIMESTAMP])

    def reader(self, name: str) -> ReadArg:
        """Return what reads one argument from what ``unpack`` gave; ``KeyError`` if there is no such argument."""
        found = {arg: read for arg, _, read in self.readers}[name]
        if found is None:
            raise KeyError(name)
        return found

    def _check_parts(self, fields: Fields, data: bytes) -> None:
        is_counted = fields[FLAGS_FIELD] & COUNTED
        for name, place, check in self._checks:
            if is_counted and name == ENVIRONMENT:
                continue
            offset, captured, status = fields[place : place + 3]
            if not offset or (status < 0 and not captured):
                continue
            try:
                check(data[offset : offset + captured])
            except ValueError as exc:
                raise UndecodableError(f"{self.spec.name}: {exc}") from exc


def native_layout(spec: EventSpec, tables: Tables) -> tuple[int, int, int] | None:
    """Return what the native module needs to check records of an event (see ``Records.cut``).

    None where their slots do not lie side by side, or numbers are not this machine's.
    """
    start = slots_offset(spec.args_count)
    places = sorted(slot.offset for slot in spec.slots)
    if tables.byte_order != sys.byteorder or places != [start + SLOT_BYTES * rank for rank in range(len(places))]:
        return None
    return spec.fixed_size, spec.args_count, len(places)


def _reader(arg: ArgSpec, fixed: FixedPart, tables: Tables) -> ReadArg | None:
    """Return what reads an argument; None where the field itself is the value."""
    if arg.slot is None and arg.value.cases is None and compile_scalar(arg.value, tables) is None:
        return None
    return compile_arg(arg, fixed, tables)


def _compile_checks(
    spec: EventSpec, fixed: FixedPart, tables: Tables
) -> tuple[tuple[str, int, Callable[[bytes], object]], ...]:
    checks = []
    for arg in spec.args:
        check = compile_check(arg, tables)
        if check is None:
            continue
        checks += [(arg.name, fixed.slot(slot), check) for slot in (arg.slot, arg.slot_out) if slot is not None]
    return tuple(checks)


def make_decoders(schema: Schema) -> Mapping[int, Decoder]:
    """Return a schema's decoders by event id."""
    return {spec.id: Decoder(spec, schema.tables) for spec in schema.events.values()}
