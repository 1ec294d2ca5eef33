"""The stacks of a recording: what is written of each as it is first met, and what is read back."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import msgspec

from traceleft.terminal import printable
from traceleft.tracer.decode.stack import Frame, Frames, Stack
from traceleft.tracer.schema.name_limits import (
    CHARACTER_BYTES,
    FRAMES_MAX,
    FULL_BYTES,
    NAME_MAX,
    cut,
    portions,
    size_of_text,
)

if TYPE_CHECKING:
    from traceleft.tracer import _native

# Of all stacks together: a recording comes from elsewhere.
FRAMES_KEPT_MAX: Final = 1 << 21
# A thread of the kernel has no stack in user space; other numbers below zero stand for what was lost.
NO_STACK: Final = -14

_Number = Annotated[int, msgspec.Meta(ge=0)]
_Text = Annotated[str, msgspec.Meta(max_length=NAME_MAX)]
_Row = tuple[_Number, _Text | None, _Number, _Text | None]
_Rows = Annotated[list[_Row], msgspec.Meta(max_length=FRAMES_MAX)]


class StackNames(msgspec.Struct, frozen=True):
    """Stacks by their ids: of the kernel, and of processes from a time on. A frame: address, name, offset, module."""

    kernel: list[tuple[int, _Rows]] = []
    user: list[tuple[int, int, _Number, _Rows]] = []


class NamedRecords(Protocol):
    """What names the stacks of records that have come: those of a running trace."""

    def ids(self, records: "_native.Records") -> Iterator[tuple[int, int, int, int]]:
        """Yield process, ids and time of the records that carry stacks."""
        ...

    def find(self, pid: int, kernel: int, user: int, at_ns: int) -> Stack:
        """Return the stack of a record."""
        ...


class StackNotes:
    """What a recording gets of its records' stacks, each once a file."""

    def __init__(self, source: "NamedRecords") -> None:
        self._source = source
        self._kernel: set[int] = set()
        self._user: dict[tuple[int, int], Frames] = {}

    def begin(self) -> None:
        """Tell all anew, in another file."""
        self._kernel.clear()
        self._user.clear()

    def tell(self, records: "_native.Records") -> StackNames | None:
        """Return what was not written yet of the stacks of records; None if that is nothing."""
        names = StackNames([], [])
        for pid, kernel, user, at_ns in self._source.ids(records):
            stack = self._source.find(pid, kernel, user, at_ns)
            if stack.kernel and kernel not in self._kernel:
                self._kernel.add(kernel)
                names.kernel.append((kernel, _rows(stack.kernel)))
            if stack.user and self._user.get((pid, user)) != stack.user:
                self._user[pid, user] = stack.user
                names.user.append((pid, user, at_ns, _rows(stack.user)))
        return names if names.kernel or names.user else None


class RecordedStacks:
    """The stacks that a recording tells of, by the ids of its records."""

    def __init__(self) -> None:
        self._kernel: dict[int, Frames] = {}
        self._user: dict[tuple[int, int], list[tuple[int, Frames]]] = {}
        self._kept = 0

    def learn(self, names: StackNames) -> None:
        """Take what a block holds; it may repeat what came before."""
        for number, rows in names.kernel:
            if self._has_room(rows):
                self._kernel[number] = _frames(rows)
        for pid, number, since_ns, rows in names.user:
            if self._has_room(rows):
                told = self._user.setdefault((pid, number), [])
                if (since_ns, frames := _frames(rows)) not in told:
                    told.insert(bisect_right(told, since_ns, key=lambda each: each[0]), (since_ns, frames))

    def _has_room(self, rows: _Rows) -> bool:
        """Count a stack's frames, and tell whether it may be kept."""
        self._kept += 1 + len(rows)
        return self._kept <= FRAMES_KEPT_MAX

    def join(self, other: "RecordedStacks") -> None:
        """Take what another file tells."""
        self._kernel |= other._kernel
        for key, told in other._user.items():
            mine = self._user.setdefault(key, [])
            mine[:] = sorted({each[0]: each for each in (*mine, *told)}.values(), key=lambda each: each[0])

    def take(self, records: "_native.Records") -> None:
        """Take records as they come: all is known already."""

    def find(self, pid: int, kernel: int, user: int, at_ns: int) -> Stack:
        """Return the stack of a record."""
        return Stack(
            () if kernel == NO_STACK else self._kernel.get(kernel),
            () if user == NO_STACK else self._find_user(pid, user, at_ns),
        )

    def _find_user(self, pid: int, number: int, at_ns: int) -> Frames | None:
        told = self._user.get((pid, number))
        if not told:
            return None
        # What is older than all that was written came late.
        return told[max(bisect_right(told, at_ns, key=lambda each: each[0]) - 1, 0)][1]


def split(names: StackNames) -> Iterator[StackNames]:
    """Yield what stacks are called in parts, each small enough for a block."""
    for kernel in portions(names.kernel, lambda told: _size_of(told[-1])):
        yield StackNames(kernel, [])
    for user in portions(names.user, lambda told: _size_of(told[-1])):
        yield StackNames([], user)


def _size_of(rows: _Rows) -> int:
    """Return how many bytes a stack takes at most in a block."""
    return sum(64 + size_of_text(name) + size_of_text(module) for _, name, _, module in rows) + 64


def _rows(frames: Frames) -> list[_Row]:
    """Return frames as a recording has them: no more than its reader takes, their names cut."""
    frames = frames[:FRAMES_MAX]
    limit = min(NAME_MAX, FULL_BYTES // (2 * CHARACTER_BYTES * max(len(frames), 1)))
    return [
        (each.address, each.name and cut(each.name, limit), each.offset, each.module and cut(each.module, limit))
        for each in frames
    ]


def _frames(rows: Iterable[_Row]) -> Frames:
    return tuple(
        Frame(address, name and printable(name), offset, module and printable(module))
        for address, name, offset, module in rows
    )
