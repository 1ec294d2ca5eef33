"""Events with every kind of argument, and strategies that make records of them."""

import struct
from typing import Any

from hypothesis import strategies as st

from tests.support.records import SETS, STRUCTS, Capture, Record, iovec, part, schema_of
from traceleft.tracer.schema.spec import EventSpec, Schema

TABLES: dict[str, Any] = {"sets": SETS, "structs": STRUCTS}
S32 = {"kind": "int", "width": 4, "signed": True}
IN = {"direction": "in", "slot": True}
OUT = {"direction": "out", "slot": True}
BOTH = {"direction": "inout", "slot": True, "slot_out": True}
N: dict[str, Any] = {"name": "n", "kind": "int", "width": 4, "signed": True}

CASES: dict[str, Any] = {
    "arg": 0,
    "kinds": {
        "1": {"kind": "set", "set": "open_flags"},
        "2": {"kind": "fd"},
        "5": {"kind": "none"},
        "6": {"kind": "futex_wake_op"},
        "4294967295": {"kind": "int", "set": "sig", "cases": {"arg": 1, "kinds": {"7": {"kind": "pointer"}}}},
    },
}
BUFFER_CASES: dict[str, Any] = {
    "arg": 1,
    "kinds": {
        "1": {
            "kind": "value",
            "element": S32,
            "cases": {"arg": 2, "kinds": {"13": {"kind": "struct", "struct": "timespec"}}},
        },
        "2": {"kind": "text"},
    },
}
SCALARS: list[dict[str, Any]] = [
    {"name": "i", "kind": "int", "width": 4, "signed": True},
    {"name": "wide", "kind": "int", "width": 8},
    {"name": "hex", "kind": "hex", "width": 4},
    {"name": "from", "kind": "pointer"},
    {"name": "fd", "kind": "fd", "width": 4},
    {"name": "pid", "kind": "fd", "width": 8, "signed": True},
    {"name": "dir", "kind": "dirfd", "width": 8},
    {"name": "__mode", "kind": "mode", "width": 2},
    {"name": "str", "kind": "set", "set": "open_flags", "width": 4},
    {"name": "dev", "kind": "dev", "width": 8},
    {"name": "p", "kind": "pid", "width": 4},
    {"name": "uid", "kind": "uid", "width": 4},
    {"name": "c", "kind": "char", "width": 1},
    {"name": "wide_pid", "kind": "pid", "width": 8},
    {"name": "wide_set", "kind": "set", "set": "open_flags", "width": 8},
    {"name": "named", "kind": "int", "set": "sig", "width": 8, "signed": True},
    {"name": "status", "kind": "wait_status", "width": 4},
    {"name": "by_i", "kind": "hex", "width": 8, "cases": CASES},
]
POINTERS: dict[str, dict[str, Any]] = {
    "path": {"kind": "path", **IN},
    "text": {"kind": "text", **IN},
    "buffer": {"kind": "buffer", "length": {"ret": True, "arg": 1}, **OUT},
    "buffer by case": {"kind": "buffer", "length": {"arg": 1}, "cases": BUFFER_CASES, **IN},
    "mask": {"kind": "buffer", "length": {"arg": 1}, "show": "bits", **IN},
    "struct": {"kind": "struct", "struct": "timespec", **IN},
    "struct both": {"kind": "struct", "struct": "timespec", **BOTH},
    "struct by case": {
        "kind": "struct",
        "struct": "timespec",
        "cases": {"arg": 1, "ignore": 0x80000180, "kinds": {"1": {"kind": "none"}, "3": {"kind": "int"}}},
        **IN,
    },
    "struct after errors": {"kind": "struct", "struct": "timespec", "on_error": [4, 516], "on_zero": False, **OUT},
    "array": {"kind": "array", "element": S32, "size": 4, "length": {"arg": 1}, **IN},
    "array of structs": {
        "kind": "array",
        "element": {"kind": "struct", "struct": "timespec"},
        "size": 16,
        "length": {"constant": 2},
        **OUT,
    },
    "value": {"kind": "value", "element": S32, **OUT},
    "wait status": {"kind": "value", "element": {"kind": "wait_status", "width": 4}, "on_zero": False, **OUT},
    "value both": {"kind": "value", "element": S32, **BOTH},
    "sockaddr": {"kind": "sockaddr", "length": {"arg": 1}, **IN},
    "strings": {"kind": "strings", **IN},
    "iovec": {"kind": "iovec", "length": {"arg": 1}, **IN},
    "msghdr": {"kind": "msghdr", **IN},
    "sigset": {"kind": "sigset", "length": {"arg": 1}, **IN},
    "fdset": {"kind": "fdset", "length": {"arg": 1}, **BOTH},
    "ipv4": {"kind": "bytes", "count": 4, "show": "ipv4", **IN},
    "ipv6": {"kind": "bytes", "count": 16, "show": "ipv6", **IN},
    "comm": {"kind": "bytes", "count": 16, "show": "text", **IN},
    "hex bytes": {"kind": "bytes", "count": 8, "show": "hex", **IN},
    "list of bytes": {"kind": "bytes", "count": 8, "element": {"kind": "int", "width": 2}, "size": 2, **IN},
}


def pointer_schema(kind: str) -> Schema:
    """Return the schema of an event that takes one argument of a pointer kind, ``x``, and a number, ``n``."""
    return schema_of({"name": "x", **POINTERS[kind]}, N, tables=TABLES)


def scalar_schema() -> Schema:
    """Return the schema of a tracepoint with a field of every scalar kind."""
    return schema_of(*SCALARS, tables=TABLES, kind="tracepoint", number=None)


TAIL = st.one_of(
    st.binary(max_size=64),
    st.lists(st.binary(max_size=12), max_size=4).map(lambda items: b"".join(map(part, items))),
    st.lists(st.binary(max_size=12), max_size=4).map(lambda items: b"".join(map(iovec, items))),
    st.tuples(st.binary(max_size=20), st.binary(max_size=30), st.binary(max_size=12)).map(
        lambda three: (
            struct.pack("<QIIQQQQII", 1, 16, 0, 2, 1, 0, 0, 0x40, 0) + part(three[0]) + part(three[1]) + iovec(three[2])
        )
    ),
)
STATUS = st.none() | st.sampled_from([0, 3, 4096, 0x7FFFFFFF, -14, -1000])
U64S = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**32 - 1, 2**64 - 1, 2**64 - 100])


def records(spec: EventSpec) -> st.SearchStrategy[Record]:
    """Return a strategy of records that a handler might write for an event, or a broken one."""
    slots = st.fixed_dictionaries(
        {}, optional={slot: st.builds(Capture, TAIL, STATUS) for slot in range(len(spec.slots))}
    )
    return st.builds(
        Record,
        args=st.lists(U64S, min_size=spec.args_count, max_size=spec.args_count),
        captures=slots,
        ret=st.integers(-(2**63), 2**63 - 1) | st.integers(-600, 10),
        flags=st.integers(0, 31),
        ts=st.integers(0, 2**63 - 1),
        duration_ns=st.integers(0, 2**64 - 1),
        comm=st.binary(max_size=16),
    )
