"""What the kernel rolls up: calls in groups by simple keys, added up where they return.

A spec is plain data, which the aggregator makes of a rollup; what comes back are cells by group, with the counts of the
log-linear histogram's buckets (32 a power of two) where durations were asked for so.
"""

import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from traceleft.errors import UnsupportedError
from traceleft.tracer import _native
from traceleft.tracer.decode.values import show_comm
from traceleft.tracer.session.plan import ROLLUP_EXIT, Plan

GROUPS: Final = "rollups"
BUCKETS: Final = "rollup_buckets"
# The groups' room is the kernel's from the start; of the buckets' it takes what is used.
MEMORY_MAX: Final = 64 << 20
BUCKETS_A_GROUP: Final = 32
BUCKETS_MIN: Final = 1 << 16

KEY_BITS: Final[Mapping[str, int]] = {
    "event": 8,
    "error": 16,
    "cpu": 32,
    "pid": 64,
    "tid": 128,
    "uid": 256,
    "gid": 512,
    "cgroup_id": 1024,
    "comm": 2048,
}
_ON, _ONLY, _BUCKETS = 1, 2, 4
_KEY: Final = struct.Struct("=HHHHIIIIQ16s")
_KEY_BUCKET: Final = slice(6, 8)
_CELL: Final = struct.Struct("=8Q")
_U16: Final = struct.Struct("=H")
_U64: Final = struct.Struct("=Q")
# What an element of a hash takes in addition to key and value.
_ELEMENT_BYTES: Final = 64
# Of what came when there was no room for its group.
_OTHER: Final = _KEY.pack(0xFFFF, 0, 0, 0, 0, 0, 0, 0, 0, b"")

GroupKey = tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """What was added up of a group: `errors` of `calls`, `durations` that were taken, in nanoseconds together and the
    shortest and longest (0 where none was), `moves` that moved `bytes`, and counts of durations by bucket."""

    calls: int = 0
    errors: int = 0
    durations: int = 0
    total_ns: int = 0
    min_ns: int = 0
    max_ns: int = 0
    moves: int = 0
    bytes: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict)

    def __add__(self, more: "Cell") -> "Cell":
        return Cell(
            self.calls + more.calls,
            self.errors + more.errors,
            self.durations + more.durations,
            self.total_ns + more.total_ns,
            min((cell.min_ns for cell in (self, more) if cell.durations), default=0),
            max(self.max_ns, more.max_ns),
            self.moves + more.moves,
            self.bytes + more.bytes,
            _add_counts(self.buckets, more.buckets),
        )


RawGroups = Mapping[bytes, Cell]
"""Cells by the kernel's keys."""


@dataclass(frozen=True, slots=True)
class KernelGroups:
    """Cells by group: a group's values are in the order of the spec's keys, `error` by its name or None.

    `other` holds all calls of groups for which there was no room, `unplaced` durations are in no bucket, as there was
    no room for it.
    """

    groups: Mapping[GroupKey, Cell] = field(default_factory=dict)
    other: Cell = Cell()
    unplaced: int = 0


@dataclass(frozen=True, slots=True)
class KernelRollup:
    """What is to be rolled up: `keys` of `KEY_BITS`, none for one group of all.

    `durations` are taken where asked for, and counted by bucket where `buckets` are; what the `byte_events` return are
    bytes that they moved. At most `max_keys` groups have cells of their own. `only`: no call becomes an event.
    """

    keys: tuple[str, ...] = ()
    durations: bool = False
    buckets: bool = False
    byte_events: frozenset[str] = frozenset()
    max_keys: int = 10_000
    only: bool = True

    def __post_init__(self) -> None:
        for key in self.keys:
            if key not in KEY_BITS:
                raise UnsupportedError(f"a key {key} in the kernel", f"choose of {', '.join(KEY_BITS)}")
        if self.max_keys < 1:
            raise UnsupportedError(f"room for {self.max_keys} keys", "choose at least 1")

    @property
    def flags(self) -> int:
        """`config.rollup`."""
        keys = sum(KEY_BITS[key] for key in set(self.keys))
        return _ON | (_ONLY if self.only else 0) | (_BUCKETS if self.buckets else 0) | keys

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of the maps in the core object."""
        return GROUPS, BUCKETS

    def why_not(self, plan: Plan, cpus: int) -> str | None:
        """Return why a plan's calls cannot be rolled up in the kernel; None where they can."""
        others = [part.spec.name for part in plan.parts if part.spec.kind != "syscall"]
        if others:
            return f"{others[0]} is not a syscall"
        if plan.hook != "raw_tracepoint":
            return f"the hook is {plan.hook}, and only raw tracepoints roll up"
        if ROLLUP_EXIT not in plan.core_programs:
            return "the battery is older than rollups in the kernel; build it again"
        needed = self._room(len(plan.parts)) * (_CELL.size * cpus + _KEY.size + _ELEMENT_BYTES)
        if needed > MEMORY_MAX:
            return f"{self.max_keys} keys on {cpus} CPUs would take {needed >> 20} MB of the kernel's memory"
        return None

    def sizes(self, events: int) -> dict[str, int]:
        """Return the sizes of the maps for a trace of so many events."""
        groups = self._room(events)
        return {GROUPS: groups, BUCKETS: max(groups * BUCKETS_A_GROUP, BUCKETS_MIN)}

    def prepare(self, fds: Mapping[str, int], cpus: int) -> None:
        """Make the cell of what has no room, before the first call."""
        _native.map_update(fds[GROUPS], _OTHER, bytes(_CELL.size * cpus))

    def read(self, fds: Mapping[str, int], cpus: int, *, events: int) -> RawGroups:
        """Return what the maps hold now. While calls come in, figures may differ by those that are under way."""
        sizes = self.sizes(events)
        buckets = _read_buckets(fds[BUCKETS], sizes[BUCKETS]) if self.buckets else {}
        cells = {}
        for key in _native.map_keys(fds[GROUPS], _KEY.size, sizes[GROUPS]):
            value = _native.map_lookup(fds[GROUPS], key, _CELL.size * cpus) or b""
            begun = Cell(buckets=buckets.get(key, {}))
            cells[key] = sum((Cell(*row) for row in _CELL.iter_unpack(value) if row[0]), begun)
        return cells

    def show(self, raw: RawGroups, *, event: Callable[[int], str], error: Callable[[int], str]) -> KernelGroups:
        """Return the cells with values for keys; `event` and `error` give the names of ids and of error numbers."""
        groups: dict[GroupKey, Cell] = {}
        for key, cell in raw.items():
            if key != _OTHER:
                values = _unpack_key(key, event if "event" in self.keys else str, error)
                shown = tuple(values[name] for name in self.keys)
                groups[shown] = groups[shown] + cell if shown in groups else cell
        unplaced = sum(cell.durations - sum(cell.buckets.values()) for cell in raw.values()) if self.buckets else 0
        return KernelGroups(groups, raw.get(_OTHER, Cell()), max(unplaced, 0))

    def _room(self, events: int) -> int:
        """How many groups there can be, and the one of what has no room."""
        has_few = set(self.keys) <= {"event"}
        return 1 + (min(self.max_keys, events) if has_few else self.max_keys)


def _add_counts(some: Mapping[int, int], others: Mapping[int, int]) -> Mapping[int, int]:
    # Most often there are none.
    return dict(Counter(some) + Counter(others)) if some and others else some or others


def _read_buckets(fd: int, limit: int) -> dict[bytes, dict[int, int]]:
    buckets: dict[bytes, dict[int, int]] = {}
    for key in _native.map_keys(fd, _KEY.size, limit):
        count = _native.map_lookup(fd, key, _U64.size)
        if count is not None:
            group = key[: _KEY_BUCKET.start] + bytes(_U16.size) + key[_KEY_BUCKET.stop :]
            buckets.setdefault(group, {})[_U16.unpack(key[_KEY_BUCKET])[0]] = _U64.unpack(count)[0]
    return buckets


def _unpack_key(key: bytes, event: Callable[[int], str], error: Callable[[int], str]) -> dict[str, str | int | None]:
    number, failure, cpu, _, tgid, tid, uid, gid, cgroup_id, comm = _KEY.unpack(key)
    return {
        "event": event(number),
        "error": error(failure) if failure else None,
        "cpu": cpu,
        "pid": tgid,
        "tid": tid,
        "uid": uid,
        "gid": gid,
        "cgroup_id": cgroup_id,
        "comm": show_comm(comm),
    }
