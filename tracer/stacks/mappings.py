"""What was mapped where, in which process and when: what leads from an address to a file and a place in it.

Processes end long before their stacks are looked at, and go on as other programs: the kernel's own notes of mappings
(``sideband``) are kept by time. Of a process that was there before, /proc tells.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from traceleft.terminal import printable
from traceleft.tracer.decode.stack import Frames

PROC: Final = Path("/proc")
SPACES_MAX: Final = 8192
MAPPINGS_MAX: Final = 65536
_LINE: Final = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)\s*(.*)")
_DELETED: Final = " (deleted)"


@dataclass(frozen=True, slots=True)
class Mapping:
    """Code from ``start`` to ``end``, which lies in a file from ``offset`` on; ``since_ns`` by CLOCK_MONOTONIC.

    ``device`` and ``inode`` tell the file from others; 0: unknown.
    """

    start: int
    end: int
    offset: int
    path: str
    inode: int = 0
    since_ns: int = 0
    device: int = 0


@dataclass(slots=True)
class Space:
    """What one program had mapped, in the order in which it did; ``found`` keeps what was made of its stacks.

    ``files`` are those, by path, device and inode, that were looked at for it.
    """

    since_ns: int = 0
    mappings: list[Mapping] = field(default_factory=list)
    found: dict[tuple[int, ...], Frames] = field(default_factory=dict)
    files: set[tuple[str, int, int]] = field(default_factory=set)

    def add(self, mapping: Mapping) -> None:
        """Note a mapping, which hides what it covers from its time on."""
        if len(self.mappings) < MAPPINGS_MAX:
            self.mappings.append(mapping)
            self.found.clear()

    def find(self, address: int, at_ns: int) -> Mapping | None:
        """Return what an address lay in."""
        return next(
            (each for each in reversed(self.mappings) if each.start <= address < each.end and each.since_ns <= at_ns),
            None,
        )


class Spaces:
    """The address spaces of processes, one after another of each.

    ``is_told``: the kernel's notes come, in order of time; without them /proc is read for each stack.
    """

    def __init__(self, *, is_told: bool) -> None:
        self.is_told = is_told
        self._by_pid: OrderedDict[int, list[Space]] = OrderedDict()

    def begin(self, pid: int, at_ns: int) -> None:
        """A process goes on as another program."""
        self._append(pid, Space(at_ns))

    def fork(self, child: int, parent: int, at_ns: int) -> None:
        """A process begins as another's copy."""
        space = self.find(parent, at_ns)
        self._append(child, Space(at_ns, [*space.mappings]))

    def add(self, pid: int, mapping: Mapping) -> None:
        """A process maps code."""
        self.find(pid, mapping.since_ns).add(mapping)

    def clear(self) -> None:
        """Forget all: notes were lost. What is alive is looked up again."""
        self._by_pid.clear()

    def find(self, pid: int, at_ns: int) -> Space:
        """Return the space that a process had at a time; empty where nothing is known of it."""
        spaces = self._by_pid.get(pid)
        if spaces is None or not self.is_told:
            spaces = self._look_up(pid, spaces)
        return next((space for space in reversed(spaces) if space.since_ns <= at_ns), spaces[0])

    def _look_up(self, pid: int, known: list[Space] | None) -> list[Space]:
        """Ask /proc; of a process that has ended, or maps what it did, what was known stays."""
        found = list(read_maps(pid))
        if known is None or (found and found != known[-1].mappings):
            known = self._by_pid[pid] = [Space(0, found)]
            self._forget()
        return known

    def latest(self, pid: int) -> Space | None:
        """Return the space that a process has now, as far as is known."""
        spaces = self._by_pid.get(pid)
        return spaces[-1] if spaces else None

    def _append(self, pid: int, space: Space) -> None:
        self._by_pid.setdefault(pid, []).append(space)
        self._by_pid.move_to_end(pid)
        self._forget()

    def _forget(self) -> None:
        while len(self._by_pid) > SPACES_MAX:
            self._by_pid.popitem(last=False)


def read_maps(pid: int) -> Iterator[Mapping]:
    """Yield what a process has mapped now; nothing where it has ended."""
    try:
        lines = (PROC / str(pid) / "maps").read_bytes().splitlines()
    except OSError:
        return
    yield from parse_maps(lines)


def parse_maps(lines: Iterable[bytes]) -> Iterator[Mapping]:
    """Yield the code among the lines of /proc/PID/maps."""
    for line in lines:
        found = _LINE.match(line)
        if found is not None:
            start, end, offset, major, minor = (int(each, 16) for each in found.groups()[:5])
            yield Mapping(start, end, offset, show_path(found[7]), int(found[6]), device=os.makedev(major, minor))


def show_path(path: bytes) -> str:
    """Return a mapping's file as text, empty where it has none."""
    text = printable(path.decode(errors="backslashreplace").removesuffix(_DELETED))
    return "" if text.startswith("//anon") else text
