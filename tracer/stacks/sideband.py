"""The kernel's notes of what processes map, fork and exec, by perf: no program, one small ring a CPU."""

import contextlib
import errno
import mmap
import os
import struct
from collections.abc import Iterator
from typing import Final

from traceleft.tracer.kernel.counters import MACHINE, open_counter
from traceleft.tracer.stacks.mappings import Mapping, Spaces, show_path

RING_PAGES: Final = 32
TYPE_SOFTWARE, COUNT_DUMMY, SAMPLE_TIME = 1, 9, 4
# Bits of struct perf_event_attr: mmap, comm, task, sample_id_all, mmap2, comm_exec, use_clockid.
BITS: Final = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 18 | 1 << 23 | 1 << 24 | 1 << 25
CLOCK_MONOTONIC: Final = 1
# Up to clockid: its third version, of 4.1.
_ATTR: Final = struct.Struct("=IIQQQQQII8x8x8x8x4xi")
_HEADER: Final = struct.Struct("=IHH")
_POINTER: Final = struct.Struct("=Q")
_PIDS: Final = struct.Struct("=II")
_MMAP2: Final = struct.Struct("=IIQQQIIQ16x")
LOST, COMM, FORK, MMAP2 = 2, 3, 7, 10
IS_EXEC: Final = 1 << 13
HEAD_AT, TAIL_AT = 1024, 1032


class Sideband:
    """Keeps ``spaces`` true, as often as it is asked to read. A context manager; needs CAP_PERFMON, or root.

    Where perf does not serve, ``spaces`` go by /proc alone.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._rings = _open_rings(self._stack)
        self.spaces = Spaces(is_told=bool(self._rings))

    def __enter__(self) -> "Sideband":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the rings; what was read stays."""
        self._rings = []
        self._stack.close()

    def read(self) -> None:
        """Take what has been noted until now."""
        notes = [note for ring in self._rings for note in ring.take()]
        for _, kind, misc, data in sorted(notes, key=lambda note: note[0]):
            apply_note(self.spaces, kind, misc, data)


def apply_note(spaces: Spaces, kind: int, misc: int, data: bytes) -> None:
    """Let one record of perf, less its header, change what is known; others than these tell nothing."""
    at_ns = _time_of(data)
    if kind == LOST:
        spaces.clear()
    elif kind == COMM and misc & IS_EXEC:
        spaces.begin(_PIDS.unpack_from(data)[0], at_ns)
    elif kind == FORK:
        pid, parent = _PIDS.unpack_from(data)
        if pid != parent:
            spaces.fork(pid, parent, at_ns)
    elif kind == MMAP2:
        pid, _, start, size, offset, major, minor, inode = _MMAP2.unpack_from(data)
        path = data[_MMAP2.size : -_POINTER.size].split(b"\0", 1)[0]
        device = os.makedev(major, minor)
        spaces.add(pid, Mapping(start, start + size, offset, show_path(path), inode, at_ns, device))


def _time_of(data: bytes) -> int:
    time_ns: int = _POINTER.unpack_from(data, len(data) - _POINTER.size)[0]
    return time_ns


class _Ring:
    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._size = RING_PAGES * mmap.PAGESIZE

    def take(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield time, type, misc and the rest of each record, and make room."""
        (head,) = _POINTER.unpack_from(self._memory, HEAD_AT)
        (tail,) = _POINTER.unpack_from(self._memory, TAIL_AT)
        while tail < head:
            kind, misc, size = _HEADER.unpack(self._bytes(tail, _HEADER.size))
            if size < _HEADER.size + _POINTER.size:
                break
            data = self._bytes(tail + _HEADER.size, size - _HEADER.size)
            yield _time_of(data), kind, misc, data
            tail += size
        _POINTER.pack_into(self._memory, TAIL_AT, head)

    def _bytes(self, place: int, size: int) -> bytes:
        at = place % self._size
        first = self._memory[mmap.PAGESIZE + at : mmap.PAGESIZE + min(at + size, self._size)]
        return first + self._memory[mmap.PAGESIZE : mmap.PAGESIZE + size - len(first)]


def _open_rings(stack: contextlib.ExitStack) -> list[_Ring]:
    """Open a ring a CPU; none where that cannot be."""
    if os.uname().machine != MACHINE:
        return []
    try:
        rings = [_open_ring(stack, cpu) for cpu in range(os.sysconf("SC_NPROCESSORS_CONF"))]
    except (OSError, ValueError):
        stack.close()
        return []
    return [ring for ring in rings if ring is not None]


def _open_ring(stack: contextlib.ExitStack, cpu: int) -> _Ring | None:
    """Open the counter that counts nothing, for its notes; None for a CPU that is not online."""
    attr = _ATTR.pack(TYPE_SOFTWARE, _ATTR.size, COUNT_DUMMY, 0, SAMPLE_TIME, 0, BITS, 0, 0, CLOCK_MONOTONIC)
    try:
        fd = open_counter(stack, attr, cpu)
    except OSError as exc:
        if exc.errno == errno.ENODEV:
            return None
        raise
    return _Ring(stack.enter_context(mmap.mmap(fd, (1 + RING_PAGES) * mmap.PAGESIZE)))
