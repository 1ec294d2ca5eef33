"""The kernel's maps that the programs share, as docs/reference/schema.md, section 3, has them."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from traceleft.errors import UnsupportedError
from traceleft.tracer import _native
from traceleft.tracer.account.ledger import KernelCounts
from traceleft.tracer.schema import unknown
from traceleft.tracer.schema.spec import EventSpec

NAMES: Final = (
    "config",
    "tasks",
    "events",
    "counters",
    "cpu_state",
    "counts",
    "chosen",
    "progs_enter",
    "progs_exit",
    "progs_near",
    "progs_tp_enter",
    "progs_tp_exit",
    "saved",
    "saved_exec",
    "scratch",
    "cgroups",
    "stacks",
)
# Beside them at level 4.11.
OWNER_NAMES: Final = ("saved_owners", "saved_exec_owners")
# Those of level 4.4.
STACK_NAMES: Final = ("config", "tasks", "events", "counters", "cpu_state", "counts", "saved", "saved_exec")
# In `chosen`, added to an event's id + 1: its handler has something to do at entry.
CHOSEN_ENTRY: Final = 1 << 16
# What it returns are bytes that it moved.
CHOSEN_BYTES: Final = 1 << 17
# From this bit on its handler's place in progs_near, + 1.
CHOSEN_NEAR_SHIFT: Final = 24
TASKS_MAX: Final = 32768
SAVED_BYTES: Final = 1024
SAVED_EXEC_BYTES: Final = 32768
STACK_SAVED_BYTES: Final = 376
# As SAVED_ENTRIES, SAVED_PLACES and the others of templates/include/saved.h.j2, where a map has owners.
SAVED_ENTRIES: Final = {"saved": 4096, "saved_exec": 256}
SAVED_PLACES: Final = 4
SAVED_STEP: Final = 61
WAIT_EXEC: Final = 1
IN_CALL: Final = 2
ALONE: Final = 8
NO_EVENT: Final = -1

_U32: Final = struct.Struct("=I")
_TASK: Final = struct.Struct("=IIiIQ6Q")
_COUNTER: Final = struct.Struct("=QQQ")
# What follows is a call's registers and its caller, which programs hand on to each other.
_CPU_STATE: Final = struct.Struct("=IIQQ")
_COUNT: Final = struct.Struct("=QQQQQ")


@dataclass(frozen=True, slots=True)
class Task:
    """A thread that is traced, as the kernel keeps it in `tasks`; event and args mean something in a call only."""

    tgid: int
    flags: int = 0
    event: int = NO_EVENT
    entry_ns: int = 0
    args: tuple[int, ...] = (0,) * 6

    def pack(self) -> bytes:
        """Return the map's value."""
        return _TASK.pack(self.tgid, self.flags, self.event, 0, self.entry_ns, *self.args)


@dataclass(frozen=True, slots=True)
class Count:
    """What the kernel counted of one event: numbers of calls and errors, and times in nanoseconds."""

    calls: int
    errors: int
    total_ns: int
    min_ns: int
    max_ns: int


@dataclass(frozen=True, slots=True)
class Maps:
    """The fds of the shared maps, which the core object owns.

    ``is_stack``: those of level 4.4, where an array by CPU is one of ours, by key and CPU.
    """

    fds: Mapping[str, int]
    is_stack: bool = False

    def put(self, name: str, key: int, value: int | bytes) -> None:
        """Set the value of a u32 key; an int is a u32."""
        _native.map_update(self.fds[name], _U32.pack(key), value if isinstance(value, bytes) else _U32.pack(value))

    def clear(self, name: str, key: int) -> None:
        """Remove a u32 key, if it is there."""
        _native.map_delete(self.fds[name], _U32.pack(key))

    def put_task(self, tid: int, task: Task) -> None:
        """Trace a thread; UnsupportedError if there are too many."""
        try:
            self.put("tasks", tid, task.pack())
        except _native.Error as exc:
            raise UnsupportedError(f"thread {tid}", f"at most {TASKS_MAX} can be followed; choose fewer") from exc

    def get_task(self, tid: int) -> Task | None:
        """Return what is kept of a thread, None if it is not traced."""
        value = _native.map_lookup(self.fds["tasks"], _U32.pack(tid), _TASK.size)
        if value is None:
            return None
        tgid, flags, event, _, entry_ns, *args = _TASK.unpack(value)
        return Task(tgid, flags, event, entry_ns, tuple(args))

    def drop_task(self, tid: int) -> None:
        """Trace a thread no longer."""
        _native.map_delete(self.fds["tasks"], _U32.pack(tid))

    def tids(self, limit: int = TASKS_MAX) -> list[int]:
        """List the threads in `tasks`, at most `limit`."""
        return [_U32.unpack(key)[0] for key in _native.map_keys(self.fds["tasks"], _U32.size, limit)]

    def saved(self, tid: int) -> Iterator[bytes]:
        """Return the records that were begun at the entry of a thread's call."""
        for name, size in (("saved", SAVED_BYTES), ("saved_exec", SAVED_EXEC_BYTES)):
            size = STACK_SAVED_BYTES if self.is_stack else size
            key = self._saved_key(name, tid)
            value = None if key is None else _native.map_lookup(self.fds[name], _U32.pack(key), size)
            if value is not None:
                yield value

    def _saved_key(self, name: str, tid: int) -> int | None:
        """Return the key of a thread's element: its tid, or the place that it holds where the map has owners."""
        owners = self.fds.get(f"{name}_owners")
        if owners is None:
            return tid
        places = ((tid + turn * SAVED_STEP) % SAVED_ENTRIES[name] for turn in range(SAVED_PLACES))
        held = _U32.pack(tid)
        return next((each for each in places if _native.map_lookup(owners, _U32.pack(each), 4) == held), None)

    def kernel_counts(self, events: Iterable[int], cpus: int) -> KernelCounts:
        """Return the kernel's side of the ledger for these event ids."""
        emitted, lost, missed = {}, {}, {}
        for event in events:
            for cpu, row in enumerate(self._rows("counters", event, _COUNTER, cpus)):
                emitted[event, cpu], lost[event, cpu], missed[event, cpu] = row
        # Batteries differ in the size of this value.
        stride = _native.map_value_size(self.fds["cpu_state"])
        states = list(self._rows("cpu_state", 0, _CPU_STATE, cpus, stride))
        return KernelCounts(
            emitted=emitted,
            lost=lost,
            missed=missed,
            missed_by_cpu={cpu: state[3] for cpu, state in enumerate(states)},
            compat_by_cpu={cpu: state[2] for cpu, state in enumerate(states)},
            sequences={(cpu, kind): state[kind] for cpu, state in enumerate(states) for kind in (0, 1)},
        )

    def count(self, event: int, cpus: int) -> Count | None:
        """Return what was counted of an event on all CPUs, None if it never happened."""
        rows = [row for row in self._rows("counts", event, _COUNT, cpus) if row[0]]
        if not rows:
            return None
        calls, errors, total_ns, min_ns, max_ns = zip(*rows, strict=True)
        return Count(sum(calls), sum(errors), sum(total_ns), min(min_ns), max(max_ns))

    def _rows(
        self, name: str, key: int, row: struct.Struct, cpus: int, stride: int | None = None
    ) -> Iterator[tuple[int, ...]]:
        """Give what each CPU has of a key. ``stride``: how far rows are apart, where a value is more than a row."""
        stride = stride or row.size
        if self.is_stack:
            keys = range(key * cpus, (key + 1) * cpus)
            value = b"".join(_native.map_lookup(self.fds[name], _U32.pack(each), stride) or b"" for each in keys)
        else:
            value = _native.map_lookup(self.fds[name], _U32.pack(key), stride * cpus) or b""
        return (row.unpack_from(value, start) for start in range(0, len(value), stride))


def chosen_flags(spec: EventSpec, *, moves: bool, near: int) -> int:
    """Return what `chosen` holds of an event above its id + 1; `near`: its place among direct jumps, or 0."""
    # A call whose number is -1 returns as rt_sigreturn does: its entry tells.
    asks_entry = spec.entry != "none" or spec.name == unknown.NAME
    return (CHOSEN_ENTRY if asks_entry else 0) | (CHOSEN_BYTES if moves else 0) | near << CHOSEN_NEAR_SHIFT
