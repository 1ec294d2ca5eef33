"""Write records as a handler would, from an event's specification and what its arguments led to."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from traceleft.record_layout import HEADER, HEADER_BYTES, SLOT, SLOT_BYTES, slots_offset
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.spec import EventSpec, Schema, Tables

U64 = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Capture:
    """What a slot holds: captured bytes and a status (None: as many as the bytes)."""

    data: bytes = b""
    status: int | None = None


@dataclass(frozen=True)
class Record:
    """A record's header and contents; ``args`` by index, ``captures`` by slot."""

    args: Sequence[int] = ()
    captures: Mapping[int, Capture] = field(default_factory=dict)
    ret: int = 0
    flags: int = 0
    ts: int = 1_000
    seq: int = 812
    cpu: int = 1
    ids: tuple[int, int, int, int] = (5518, 5519, 1000, 100)
    cgroup_id: int = 25
    duration_ns: int = 0
    comm: bytes = b"cat"


def encode(spec: EventSpec, record: Record) -> bytes:
    """Return the record's bytes, as docs/reference/schema.md, section 2, lays them out (little-endian)."""
    args = [*record.args, *[0] * (spec.args_count - len(record.args))]
    fixed = bytearray(spec.fixed_size)
    struct.pack_into(f"<{len(args)}Q", fixed, HEADER_BYTES, *(arg & U64 for arg in args))
    tail = bytearray()
    for slot, capture in record.captures.items():
        status = len(capture.data) if capture.status is None else capture.status
        place = spec.fixed_size + len(tail)
        struct.pack_into(f"<{SLOT.codes}", fixed, spec.slots[slot].offset, place, len(capture.data), status)
        tail += capture.data + bytes(-len(capture.data) % 8)
    length = spec.fixed_size + len(tail)
    head = (length, spec.id, record.flags, record.ts, record.seq, record.cpu, *record.ids)
    rest = (record.cgroup_id, record.ret, record.duration_ns, record.comm)
    struct.pack_into(f"<{HEADER.codes}", fixed, 0, *head, *rest)
    return bytes(fixed + tail)


def batch_of(decoder: Decoder, records: Iterable[Record], *, offset_ns: int = 0) -> Batch:
    """Return records of one event as a batch."""
    spec = decoder.spec
    encoded = [encode(spec, record) for record in records]
    tails = [data[spec.fixed_size :] for data in encoded]
    ends = struct.pack(f"={len(tails) + 1}Q", *accumulate(map(len, tails), initial=0))
    return Batch(
        decoder, b"".join(data[: spec.fixed_size] for data in encoded), b"".join(tails), ends, offset_ns=offset_ns
    )


def part(data: bytes, status: int | None = None) -> bytes:
    """Return one part of a tail with its head, padded."""
    return struct.pack("<Ii", len(data), len(data) if status is None else status) + data + bytes(-len(data) % 8)


def iovec(data: bytes, *, base: int = 0x1000, length: int | None = None, status: int | None = None) -> bytes:
    """Return one element of an iovec with its head, padded."""
    head = struct.pack(
        "<QQIi", base, len(data) if length is None else length, len(data), len(data) if status is None else status
    )
    return head + data + bytes(-len(data) % 8)


def event_document(args: Sequence[Mapping[str, Any]], *, name: str = "probe", **keys: Any) -> dict[str, Any]:
    """Return an EVENT of the schema with these ARGs; slots, indices and the layout are worked out here."""
    slots: list[dict[str, Any]] = []
    listed = []
    count = 6 if keys.get("kind", "syscall") == "syscall" else max(len(args), 1)
    for index, arg in enumerate(args):
        item = {"index": index, "type": "", "width": 8, "signed": False, **arg}
        for key in ("slot", "slot_out"):
            if item.get(key) is True:
                item[key] = len(slots)
                suffix = "_out" if key == "slot_out" else ""
                offset = slots_offset(count) + SLOT_BYTES * len(slots)
                slots.append({"name": item["name"] + suffix, "offset": offset, "at": "exit"})
        listed.append(item)
    layout = {
        "fixed_size": slots_offset(count) + SLOT_BYTES * len(slots),
        "args": count,
        "slots": slots,
        "digest": "sha256:0",
    }
    base = {"id": 257, "kind": "syscall", "number": 257, "aliases": [], "classes": [], "format": "sha256:0"}
    return {**base, "borrowed": False, "entry": "none", "layout": layout, "args": listed, **keys}


def document(events: Mapping[str, Mapping[str, Any]], **tables: Any) -> dict[str, Any]:
    """Return a schema document with these events and tables."""
    shared = {"sets": {}, "structs": {}, "errno": {"2": "ENOENT", "512": "ERESTARTSYS"}, **tables}
    head = {"schema": 1, "machine": "x86_64", "byte_order": "little", "release": "6.18.44"}
    return {**head, "events": dict(events), "tables": shared}


def schema_of(*args: Mapping[str, Any], tables: Mapping[str, Any] | None = None, **keys: Any) -> Schema:
    """Return a checked schema with one event, ``probe``, that takes these ARGs."""
    return load_schema(document({"probe": event_document(args, **keys)}, **(tables or {})))


def spec_of(*args: Mapping[str, Any], tables: Mapping[str, Any] | None = None, **keys: Any) -> tuple[EventSpec, Tables]:
    """Return that event's specification and its tables."""
    schema = schema_of(*args, tables=tables, **keys)
    return schema.events["probe"], schema.tables


SETS: dict[str, Any] = {
    "open_flags": {
        "mask": 3,
        "values": [[0, "O_RDONLY"], [1, "O_WRONLY"], [2, "O_RDWR"]],
        "bits": [[64, "O_CREAT"], [512, "O_TRUNC"], [524288, "O_CLOEXEC"]],
        "width": 4,
    },
    "sig": {"mask": 0xFFFFFFFF, "values": [[2, "SIGINT"], [15, "SIGTERM"]], "bits": [], "width": 4},
    "prot": {"mask": 0, "values": [], "bits": [[1, "PROT_READ"], [2, "PROT_WRITE"]], "width": 8},
}
STRUCTS: dict[str, Any] = {
    "timespec": {
        "size": 16,
        "members": [
            {"name": "tv_sec", "offset": 0, "width": 8, "signed": True, "kind": "int"},
            {"name": "tv_nsec", "offset": 8, "width": 8, "signed": True, "kind": "int"},
        ],
    },
}
OPENAT: tuple[dict[str, Any], ...] = (
    {"name": "dfd", "type": "int", "width": 4, "signed": True, "kind": "dirfd"},
    {"name": "filename", "type": "const char *", "kind": "path", "direction": "in", "slot": True},
    {"name": "flags", "type": "int", "width": 4, "signed": True, "kind": "set", "set": "open_flags"},
    {"name": "mode", "type": "umode_t", "width": 2, "kind": "mode"},
)


def openat() -> tuple[EventSpec, Tables]:
    """Return openat's specification under its own name."""
    schema = load_schema(document({"openat": event_document(OPENAT, ret="fd")}, sets=SETS, structs=STRUCTS))
    return schema.events["openat"], schema.tables


OPENED = Record(
    args=(-100, 0x7FFE0010, 0o2000000, 0),
    captures={0: Capture(b"/etc/passwd")},
    ret=3,
    ts=123456789,
    ids=(5518, 5518, 0, 0),
)
