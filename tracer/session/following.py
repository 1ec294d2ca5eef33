"""The threads that a trace follows: found at its start, watched, and asked for unfinished calls at its end."""

import os
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from traceleft.errors import UnsupportedError
from traceleft.record_layout import (
    HEADER,
    HEADER_BYTES,
    NO_RETURN,
    SLOT,
    SLOT_BYTES,
    STATUS_NOT_READ,
    UNFINISHED,
    UNSETTLED,
    slots_offset,
)
from traceleft.tracer import _native
from traceleft.tracer.schema import unknown
from traceleft.tracer.schema.spec import EventSpec
from traceleft.tracer.session.maps import ALONE, IN_CALL, Maps, Task

PROC: Final = Path("/proc")
ROUNDS_MAX: Final = 1000
GRACE_S: Final = 0.5
# /proc/TID/syscall of a thread that is blocked in a call: number, six arguments, stack pointer, instruction pointer.
CALL_WORDS: Final = 9
# x86_64's `syscall`; what 32-bit numbers come by (`int 0x80`, `sysenter`) is another.
SYSCALL_INSTRUCTION: Final = b"\x0f\x05"

_HEADER: Final = struct.Struct(f"={HEADER.codes}")
_SLOT: Final = struct.Struct(f"={SLOT.codes}")
_BEGINNING: Final = HEADER.picker("length", "event", "flags")


@dataclass(frozen=True, slots=True)
class Thread:
    """What /proc says of a thread."""

    tgid: int
    uid: int
    gid: int
    comm: str
    state: str

    @property
    def is_alive(self) -> bool:
        """Whether it can still make a call: not a zombie, not dead."""
        return self.state not in ("Z", "X", "x")


def read_thread(tid: int) -> Thread | None:
    """Return what /proc says of a thread, None if there is none."""
    try:
        lines = (PROC / str(tid) / "status").read_text(errors="surrogateescape").splitlines()
        values = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        return Thread(
            int(values["Tgid"]),
            int(values["Uid"].split()[1]),
            int(values["Gid"].split()[1]),
            values["Name"],
            values["State"][:1],
        )
    except (OSError, KeyError, ValueError, IndexError):
        return None


def find_targets(pids: Iterable[int], *, own_pid: int) -> tuple[int, ...]:
    """Return what is traced for these numbers: processes, or threads that do not lead theirs.

    UnsupportedError if a number names no thread, or one of our own.
    """
    found = []
    for pid in pids:
        thread = read_thread(pid)
        if thread is None:
            raise UnsupportedError(f"process {pid}", "there is no such process; see: ps -e")
        if thread.tgid == own_pid:
            raise UnsupportedError(f"process {pid}", "is traceleft itself, which it does not trace")
        found.append(pid)
    return tuple(dict.fromkeys(found))


def is_process(number: int) -> bool:
    """Tell whether a number is a process's, and not a thread's that does not lead one."""
    thread = read_thread(number)
    return thread is None or thread.tgid == number


def seed_tasks(maps: Maps, targets: Collection[int], *, follow: bool) -> None:
    """Trace all threads of processes, and threads alone. What keeps `tasks` current has to be attached already.

    A thread may be made while we look: its maker is traced by then, or the next look finds it.
    """
    for process in targets:
        thread = read_thread(process)
        if thread is not None and thread.tgid != process:
            if thread.tgid in targets:
                continue
            maps.put_task(process, Task(0) if follow else Task(thread.tgid, ALONE))
            continue
        seen: set[int] = set()
        for _ in range(ROUNDS_MAX):
            fresh = _list_threads(process) - seen
            if not fresh:
                break
            for tid in fresh:
                maps.put_task(tid, Task(0 if follow else process))
            seen |= fresh


class Watch:
    """Tells whether what is followed has ended.

    A thread leaves `tasks` when it exits. One that is there and not in /proc may have gone before it was put there, or
    be in the middle of an exec from a thread that does not lead, where its number changes: it is given some time.
    """

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._gone: dict[int, float] = {}

    def is_over(self) -> bool:
        """Tell whether no followed thread is left."""
        now = time.monotonic()
        tids = self._maps.tids()
        self._gone = {tid: since for tid, since in self._gone.items() if tid in tids}
        for tid in tids:
            if self._is_followed(tid):
                self._gone.pop(tid, None)
                return False
            if now - self._gone.setdefault(tid, now) > GRACE_S:
                self._maps.drop_task(tid)
        return not self._maps.tids(1)

    def _is_followed(self, tid: int) -> bool:
        task, thread = self._maps.get_task(tid), read_thread(tid)
        return task is not None and thread is not None and thread.is_alive and task.tgid in (0, thread.tgid)


def make_unfinished(maps: Maps, specs: Mapping[int, EventSpec], *, with_earlier: bool) -> Iterator[bytes]:
    """Make a record of each call of these events that is still going on.

    `with_earlier` adds those that were entered before the trace began: only /proc tells them.
    """
    numbers = {spec.number: spec.id for spec in specs.values() if spec.number is not None}
    for tid in sorted(maps.tids()):
        task = maps.get_task(tid)
        if with_earlier and task is not None and not task.flags:
            task = _find_earlier_call(tid, task, numbers)
        if task is None or not task.flags & IN_CALL or task.event not in specs:
            continue
        if specs[task.event].name == unknown.NAME:
            # Its number is known by its return alone.
            continue
        thread = read_thread(tid)
        if thread is not None and task.tgid in (0, thread.tgid):
            yield _make_record(specs[task.event], tid, task, thread, list(maps.saved(tid)))


def _find_earlier_call(tid: int, task: Task, numbers: Mapping[int, int]) -> Task | None:
    """Return the thread with the call that it is blocked in: a 64-bit one of these numbers, else None."""
    try:
        words = (PROC / str(tid) / "syscall").read_text().split()
        values = [int(word, 0) for word in words]
        with (PROC / str(tid) / "mem").open("rb", buffering=0) as memory:
            instruction = os.pread(memory.fileno(), len(SYSCALL_INSTRUCTION), values[-1] - len(SYSCALL_INSTRUCTION))
    except (OSError, ValueError, IndexError, OverflowError):
        return None
    if len(values) != CALL_WORDS or values[0] not in numbers or instruction != SYSCALL_INSTRUCTION:
        return None
    return replace(task, flags=IN_CALL, event=numbers[values[0]], args=tuple(values[1:7]))


def _make_record(spec: EventSpec, tid: int, task: Task, thread: Thread, saved: Iterable[bytes]) -> bytes:
    """Lay a record out; what was saved of this very call at its entry is kept, the rest counts as not read."""
    body = next((found for value in saved if (found := _saved_body(spec, value))), None) or _empty_body(spec, task)
    header = _HEADER.pack(
        HEADER_BYTES + len(body),
        spec.id,
        UNFINISHED | NO_RETURN,
        time.monotonic_ns(),
        0,
        0,
        thread.tgid,
        tid,
        thread.uid,
        thread.gid,
        0,
        0,
        0,
        thread.comm.encode(errors="surrogateescape")[: HEADER["comm"].size - 1],
    )
    record = header + body
    return record + bytes(-len(record) % 8)


def _saved_body(spec: EventSpec, value: bytes) -> bytes | None:
    length, event, flags = _BEGINNING.unpack_from(value)
    if flags & UNSETTLED and event == spec.id:
        settled = _native.settle(value, slots_offset(spec.args_count), len(spec.slots))
        if settled is None:
            return None
        value = settled
    return value[HEADER_BYTES:length] if event == spec.id and spec.fixed_size <= length <= len(value) else None


def _empty_body(spec: EventSpec, task: Task) -> bytes:
    args = (task.args + (0,) * spec.args_count)[: spec.args_count]
    body = bytearray(struct.pack(f"={spec.args_count}Q", *args))
    body += bytes(spec.fixed_size - HEADER_BYTES - len(body))
    pointers = {slot: arg.index for arg in spec.args for slot in (arg.slot, arg.slot_out) if slot is not None}
    for slot, index in pointers.items():
        if args[index]:
            at = slots_offset(spec.args_count) - HEADER_BYTES + SLOT_BYTES * slot
            _SLOT.pack_into(body, at, 0, 0, STATUS_NOT_READ)
    return bytes(body)


def _list_threads(process: int) -> set[int]:
    try:
        return {int(entry.name) for entry in (PROC / str(process) / "task").iterdir()}
    except OSError:
        return set()
