"""The file that each event is about, as an absolute path where that is known: the column ``path``.

It is the first path among an event's arguments, resolved by the directory that goes with it, or by the working
directory. An event without such an argument has the file that its first file descriptor leads to. ``fdnames`` knows
both.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from traceleft.record_layout import NO_RETURN, UNFINISHED
from traceleft.tracer.decode.batch import Batch, column_name
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.records import iter_events
from traceleft.tracer.decode.values import AT_FDCWD
from traceleft.tracer.output.fdnames import CWD, FORKING, LEARNING, FdNames, make_absolute
from traceleft.tracer.schema.spec import ArgSpec, EventSpec, Tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceleft.tracer import _native

# Their first path is what a link will hold, which nothing is looked up by.
CONTENTS: Final = frozenset({"symlink", "symlinkat"})
# These are most of what is learned, and their columns tell all of it.
SIMPLE_OPENING: Final = frozenset({"open", "openat"})


class _Row(NamedTuple):
    """What is asked of one event: its place among all records, its process, and how it tells its file.

    ``is_path``: the path is one to resolve. ``closed``: the descriptor that it closes. ``opened``: the one that it
    opens, for the file that it is about, and whether that ``closes`` on exec.
    """

    place: int
    pid: int
    fd: int | None
    path: str | None
    is_path: bool
    closed: int | None
    opened: int | None
    closes: bool


@dataclass(frozen=True, slots=True)
class _Way:
    """How an event tells its file: by the path, by the descriptor, or by both."""

    decoder: Decoder
    path: ArgSpec | None
    fd: ArgSpec | None

    @property
    def is_simple(self) -> bool:
        """Whether columns tell all that is to be learned."""
        return self.decoder.spec.name == "close" or self.decoder.spec.name in SIMPLE_OPENING


class EventPaths:
    """Finds the file of each event of ``specs``, and learns from the events in their order."""

    def __init__(self, specs: Iterable[EventSpec], tables: Tables, names: FdNames) -> None:
        self._names = names
        self._ways = {spec.id: _find_way(spec, tables) for spec in specs}
        learning = (way for way in self._ways.values() if way.decoder.spec.name in LEARNING)
        self._learners = [way.decoder for way in learning if not way.is_simple]
        # What /proc said since the process last changed one of its descriptors.
        self._asked: dict[int, dict[int, str | None]] = {}

    def resolve(self, records: "_native.Records") -> list[str | None]:
        """Return a path, or None, for each of these records, which come next after those of the call before."""
        found: list[str | None] = [None] * len(records)
        rows = [row for event, _ in records.tally() if event in self._ways for row in self._rows(records, event)]
        learned = dict(iter_events(records, len(records), self._learners, 0, []))
        self._asked.clear()
        for row in sorted(rows):
            found[row.place] = path = self._resolve(row)
            if row.closed is not None:
                self._names.forget(row.pid, row.closed)
            elif row.opened is not None:
                self._names.put(row.pid, row.opened, path if row.is_path else None, closes=row.closes)
            elif row.place in learned:
                self._names.learn(learned[row.place])
            else:
                continue
            self._asked.pop(row.pid, None)
        return found

    def _rows(self, records: "_native.Records", event: int) -> Iterable[_Row]:
        import numpy

        way = self._ways[event]
        spec = way.decoder.spec
        if way.path is None and way.fd is None and spec.name not in LEARNING:
            return ()
        fixed, heap, ends, rows = records.columns(event, spec.fixed_size)
        batch = Batch(way.decoder, fixed, heap, ends)
        if spec.name in FORKING:
            self._names.foresee(batch)
        array, places = batch.to_numpy(), numpy.frombuffer(rows, "u4").tolist()
        fds = _descriptors(array, way.fd)
        paths, are_paths = _paths(batch, way.path)
        closed, opened, close = _changes(way, array, fds)
        pids = array["pid"].tolist()
        return map(_Row, places, pids, fds, paths, are_paths, closed, opened, close)

    def _resolve(self, row: _Row) -> str | None:
        fd, path = row.fd, row.path
        if path and not row.is_path:
            return path
        if path:
            is_at = fd is not None and fd != AT_FDCWD
            directory = None if path.startswith("/") else self._find(row.pid, fd if is_at else CWD)
            return make_absolute(directory, path) or path
        found = self._find(row.pid, CWD if fd == AT_FDCWD else fd)
        return found if found is not None and found.startswith("/") else None

    def _find(self, pid: int, fd: int | None) -> str | None:
        if fd is None or (fd < 0 and fd != CWD):
            return None
        asked = self._asked.setdefault(pid, {})
        if fd not in asked:
            asked[fd] = self._names.find(pid, fd)
        return asked[fd]


def _descriptors(array: "NDArray[Any]", arg: ArgSpec | None) -> list[int | None]:
    """Return an argument of every event as a descriptor: the register's low half, with its sign; None for -1."""
    import numpy

    if arg is None:
        return [None] * len(array)
    fds: list[int] = array[column_name(arg.name)].astype(numpy.uint32).astype(numpy.int32).tolist()
    return [None if fd == CWD else fd for fd in fds]


def _paths(batch: Batch, arg: ArgSpec | None) -> tuple[list[str | None], list[bool]]:
    """Return an argument of every event, and whether it is a path that was read whole and is looked up."""
    if arg is None:
        return [None] * len(batch), [False] * len(batch)
    array = batch.to_numpy()
    status = array[f"{arg.name}.status"]
    is_whole = (status >= 0) & (status <= array[f"{arg.name}.length"]) & (batch.spec.name not in CONTENTS)
    are_paths: list[bool] = is_whole.tolist()
    paths: list[str | None] = batch.column(arg.name)  # type: ignore[assignment]
    return paths, are_paths


def _changes(
    way: _Way, array: "NDArray[Any]", fds: list[int | None]
) -> tuple[list[int | None], list[int | None], list[bool]]:
    """Return what events close, what they open, and whether that closes on exec, of those whose columns tell it."""
    nothing: list[int | None] = [None] * len(array)
    never = [False] * len(array)
    if not way.is_simple:
        return nothing, nothing, never
    rets = array["ret"].tolist()
    has_returned = (array["record_flags"] & (NO_RETURN | UNFINISHED) == 0).tolist()
    succeeded = [done and ret >= 0 for ret, done in zip(rets, has_returned, strict=True)]
    if way.decoder.spec.name == "close":
        return [fd if done else None for fd, done in zip(fds, succeeded, strict=True)], nothing, never
    opened = [ret if done else None for ret, done in zip(rets, succeeded, strict=True)]
    flags = column_name("flags")
    has_flags = flags in (array.dtype.names or ())
    return nothing, opened, (array[flags] & os.O_CLOEXEC != 0).tolist() if has_flags else never


def _find_way(spec: EventSpec, tables: Tables) -> _Way:
    """Return the first path with the directory before it, else the first descriptor."""
    args = sorted(spec.args, key=lambda arg: arg.index)
    path = next((arg for arg in args if arg.value.kind == "path"), None)
    if path is None:
        fd = next((arg for arg in args if arg.value.kind in ("fd", "dirfd")), None)
    else:
        fd = next((arg for arg in args if arg.index == path.index - 1 and arg.value.kind in ("fd", "dirfd")), None)
    return _Way(Decoder(spec, tables), path, fd)
