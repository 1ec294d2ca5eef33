"""``-y``: what a process's file descriptors lead to.

Names are learned from the events themselves, in their order, which is exact for as long as the calls that close
descriptors are among them (``CLOSING``). What was not learned is asked of ``/proc/PID/fd``; that shows how it
is now, a little after the call. A name is a text as ``texts.to_text`` makes it.

A child begins with its parent's descriptors. Its first event may come before the fork returns in its parent: the forks
of the same batch (``foresee``) say who its parent is, then /proc. A child that is gone from there was waited for, so
that its fork has returned before: that is among the records to come (``look_ahead_by``). An exec keeps what does not
close on it.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from posixpath import join, normpath
from typing import TYPE_CHECKING, Final, TypeAlias

from traceleft.linux import EXECS
from traceleft.record_layout import NO_RETURN, UNFINISHED
from traceleft.tracer.decode.cases import choose_case
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.texts import to_text
from traceleft.tracer.decode.value import Value
from traceleft.tracer.output.socket_names import describe_fd

if TYPE_CHECKING:
    from traceleft.tracer import _native
    from traceleft.tracer.decode.batch import Batch
    from traceleft.tracer.schema.spec import EventSpec, Tables

# A process's directory has this place among its descriptors.
CWD: Final = -1
MOVING: Final = frozenset({"chdir", "fchdir"})
MAX_PROCESSES: Final = 4096
MAX_FDS: Final = 4096
# How often records to come are looked at for one process.
LOOKS_MAX: Final = 5

OPENING: Final = {"open": "", "creat": "", "openat": "dfd", "openat2": "dfd"}
SOCKETS: Final = frozenset({"socket", "accept", "accept4"})
# Calls that return two descriptors: the argument that holds them, and their name if /proc does not give one.
PAIRS: Final = {"pipe": ("fildes", "pipe"), "pipe2": ("fildes", "pipe"), "socketpair": ("usockvec", "socket")}
NAMING: Final = frozenset({"bind", "connect", "listen"})
DUPLICATING: Final = frozenset({"dup", "dup2", "dup3"})
FORKING: Final = frozenset({"fork", "vfork", "clone", "clone3"})
CLOSING: Final = frozenset({"close", "close_range", "dup2", "dup3", *EXECS})
RETURNING: Final = frozenset({*OPENING, *SOCKETS, *DUPLICATING})
# Their descriptors close on exec, whatever the flags.
ALWAYS_CLOSING: Final = frozenset({"bpf", "io_uring_setup", "pidfd_open", "pidfd_getfd", "seccomp"})
# Calls that tell paths, or that change what a learned descriptor leads to.
LEARNING: Final = frozenset(
    {*OPENING, *DUPLICATING, *FORKING, *CLOSING, *MOVING, *SOCKETS, *PAIRS, "exit_group", "fcntl", "ioctl"}
)


@dataclass(frozen=True, slots=True)
class Fd:
    """What a descriptor leads to, and whether it closes on exec; None where that is not known."""

    name: str
    closes: bool | None = None


Fds: TypeAlias = OrderedDict[int, Fd]


def read_link(path: str) -> bytes:
    """Return where a link of /proc leads."""
    return os.readlink(os.fsencode(path))


def make_absolute(directory: str | None, path: str) -> str | None:
    """Return a path that begins at the root, without `.` and `..`; None where its directory is not known."""
    if not path.startswith("/") and (directory is None or not directory.startswith("/")):
        return None
    return "/" + normpath(join(directory or "/", path)).lstrip("/")


def read_parent(pid: int) -> int | None:
    """Return the parent of a process; None if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


class FdNames:
    """Knows the names of file descriptors, per process; bounded, forgetting what was used longest ago.

    ``events`` are the names of the events that are traced, ``available`` of those that could be: unless all of
    ``CLOSING`` that could be is, a learned name may be out of date, so /proc is asked first. ``directory`` is where
    what is traced begins, if that is known.
    """

    def __init__(
        self,
        events: Collection[str],
        available: Collection[str],
        *,
        read_link: Callable[[str], bytes] = read_link,
        read_parent: Callable[[int], int | None] = read_parent,
        describe: Callable[[int, int, bytes], str] = describe_fd,
        directory: str | None = None,
    ) -> None:
        self._directory = directory
        self._follows_cwd = MOVING & set(available) <= set(events)
        self._is_exact = CLOSING & set(available) <= set(events)
        self._read_link = read_link
        self._read_parent = read_parent
        self._describe = describe
        self._processes: OrderedDict[int, Fds] = OrderedDict()
        self._parents: OrderedDict[int, int] = OrderedDict()
        self._look_ahead: Callable[[], bool] = lambda: False

    def look_ahead_by(
        self, specs: "Iterable[EventSpec]", tables: "Tables", take: "Callable[[], _native.Records | None]"
    ) -> None:
        """Let records to come tell who forks whom; ``take`` returns some of them, None where there are no more."""
        from traceleft.tracer.decode.batch import batches_of
        from traceleft.tracer.decode.decoder import Decoder

        decoders = [Decoder(spec, tables) for spec in specs if spec.name in FORKING]

        def look() -> bool:
            records = take() if decoders else None
            for batch in () if records is None else batches_of(records, decoders):
                self.foresee(batch)
            return records is not None

        self._look_ahead = look

    def foresee(self, batch: "Batch") -> None:
        """Note who forks whom, of a batch of forks whose events are still to be named."""
        rows = batch.to_numpy()
        for child, parent, flags in zip(*(rows[name].tolist() for name in ("ret", "pid", "record_flags")), strict=True):
            if child > 0 and not flags & (NO_RETURN | UNFINISHED):
                self._parents[child] = parent
                if len(self._parents) > MAX_PROCESSES:
                    self._parents.popitem(last=False)

    def name(self, event: Event) -> dict[str, str]:
        """Return the names of an event's descriptors by argument (``ret`` for the returned one), and learn from it."""
        values = event.decoded()
        fds = {
            arg.name: fd
            for arg in event.spec.args
            if arg.value.kind in ("fd", "dirfd") and (fd := self._fd(values.get(arg.name))) is not None
        }
        names = {name: path for name, fd in fds.items() if (path := self._find(event.pid, fd)) is not None}
        self._learn(event, values)
        ret = event.ret
        returned = choose_case(event.spec.ret, event.raw).kind
        if ret is not None and ret >= 0 and (returned == "fd" or event.event in RETURNING):
            path = self._find(event.pid, ret)
            if path is not None:
                names["ret"] = path
        return names

    def find(self, pid: int, fd: int) -> str | None:
        """Return what a descriptor of a process leads to now, or its directory (``CWD``); None where nothing tells."""
        return self._find(pid, fd)

    def learn(self, event: Event) -> None:
        """Learn from an event."""
        self._learn(event, event.decoded())

    def put(self, pid: int, fd: int, path: str | None, *, closes: bool) -> None:
        """Learn what a descriptor leads to from now on; a path that does not begin at the root is not known."""
        if path is None or not path.startswith("/"):
            self.forget(pid, fd)
        else:
            self._put(pid, fd, Fd(path, closes))

    def forget(self, pid: int, fd: int) -> None:
        """Learn that a descriptor is closed."""
        self._table(pid).pop(fd, None)

    @staticmethod
    def _fd(value: Value) -> int | None:
        """Return a descriptor's number, -1 for the current directory, None if it is not a descriptor."""
        if value == "AT_FDCWD":
            return -1
        return value if isinstance(value, int) and value >= 0 else None

    def _find(self, pid: int, fd: int) -> str | None:
        found = self._table(pid).get(fd)
        learned = None if found is None else found.name
        is_exact = self._follows_cwd if fd == CWD else self._is_exact
        if learned is not None and is_exact:
            return learned
        asked = self._ask(pid, fd)
        if asked is not None and is_exact:
            self._put(pid, fd, Fd(asked, closes=False if fd == CWD else None))
        return asked if asked is not None else learned

    def _ask(self, pid: int, fd: int) -> str | None:
        """Ask /proc what a descriptor stands for, or a process's directory."""
        try:
            link = self._read_link(f"/proc/{pid}/cwd" if fd < 0 else f"/proc/{pid}/fd/{fd}")
        except OSError:
            return None
        return to_text(link) if fd < 0 else self._describe(pid, fd, link)

    def _put(self, pid: int, fd: int, found: Fd) -> None:
        fds = self._table(pid)
        fds[fd] = found
        fds.move_to_end(fd)
        if len(fds) > MAX_FDS:
            fds.popitem(last=False)

    def _table(self, pid: int) -> Fds:
        """Return a process's descriptors; at first they are its parent's."""
        fds = self._processes.get(pid)
        if fds is None:
            parent = self._find_parent(pid)
            inherited = self._processes.get(parent) if parent else None
            if inherited is None and self._directory is not None:
                inherited = OrderedDict({CWD: Fd(self._directory, closes=False)})
            fds = self._processes[pid] = OrderedDict(inherited or {})
        self._processes.move_to_end(pid)
        if len(self._processes) > MAX_PROCESSES:
            self._processes.popitem(last=False)
        return fds

    def _find_parent(self, pid: int) -> int | None:
        parent = self._parents.pop(pid, None) or self._read_parent(pid)
        for _ in range(LOOKS_MAX):
            if parent is not None or not self._look_ahead():
                break
            parent = self._parents.pop(pid, None)
        return parent

    def _learn(self, event: Event, values: Mapping[str, Value]) -> None:
        name, pid, ret = event.event, event.pid, event.ret
        if name == "exit_group":
            self._processes.pop(pid, None)
        if name in NAMING:
            # Of a connection that is still being made the call has failed.
            self._name_again(pid, values.get("fd"))
        if ret is None or ret < 0:
            return
        closes = name in ALWAYS_CLOSING or any("CLOEXEC" in str(value) for value in values.values())
        if name in OPENING:
            self._learn_open(event, values, ret, closes=closes)
        elif name in SOCKETS:
            self._put(pid, ret, Fd(self._ask_for(pid, ret, "socket"), closes))
        elif name in DUPLICATING or (name == "fcntl" and str(values.get("cmd")).startswith("F_DUPFD")):
            self._learn_duplicate(event, values, ret, closes=closes)
        elif name == "fcntl" and values.get("cmd") == "F_SETFD":
            self._learn_flags(pid, values.get("fd"), closes=closes)
        elif name == "ioctl" and values.get("cmd") in ("FIOCLEX", "FIONCLEX"):
            self._learn_flags(pid, values.get("fd"), closes=values.get("cmd") == "FIOCLEX")
        elif name in PAIRS:
            self._learn_pair(event, values, closes=closes)
        elif name in MOVING:
            self._learn_directory(pid, values)
        elif name in EXECS:
            self._close_on_exec(pid)
        elif name == "close":
            self._forget(pid, values.get("fd"), values.get("fd"))
        elif name == "close_range" and values.get("flags") in (0, "0"):
            self._forget(pid, values.get("fd"), values.get("max_fd"))
        elif name in FORKING and ret > 0:
            self._learn_fork(pid, ret)
        elif choose_case(event.spec.ret, event.raw).kind == "fd":
            self._learn_other(pid, ret, closes=closes)

    def _learn_fork(self, pid: int, child: int) -> None:
        if child in self._processes:
            self._parents.pop(child, None)
        else:
            self._parents[child] = pid
            self._table(child)

    def _learn_directory(self, pid: int, values: Mapping[str, Value]) -> None:
        path, fd, before = values.get("filename"), values.get("fd"), self._find(pid, CWD)
        if isinstance(fd, int):
            path = self._find(pid, fd)
        directory = make_absolute(before, path) if isinstance(path, str) else None
        if directory is not None:
            self._put(pid, CWD, Fd(directory, closes=False))
        else:
            self._table(pid).pop(CWD, None)

    def _close_on_exec(self, pid: int) -> None:
        """Keep what is known to stay open; the rest is asked for again."""
        fds = self._table(pid)
        for fd in [fd for fd, found in fds.items() if found.closes is not False]:
            del fds[fd]

    def _learn_flags(self, pid: int, fd: Value, *, closes: bool) -> None:
        found = self._table(pid).get(fd) if isinstance(fd, int) else None
        if found is not None and isinstance(fd, int):
            self._put(pid, fd, Fd(found.name, closes))

    def _learn_other(self, pid: int, fd: int, *, closes: bool) -> None:
        """Learn what has no path: its kind, as /proc has it now."""
        asked = self._ask(pid, fd)
        if asked is None:
            self._forget(pid, fd, fd)
        else:
            self._put(pid, fd, Fd(asked, closes))

    def _learn_open(self, event: Event, values: Mapping[str, Value], ret: int, *, closes: bool) -> None:
        name = "pathname" if event.event == "creat" else "filename"
        path = values.get(name)
        if not isinstance(path, str) or name in event.truncated or name in event.unreadable:
            self._forget(event.pid, ret, ret)
            return
        directory = self._find(event.pid, -1 if (fd := self._fd(values.get(OPENING[event.event]))) is None else fd)
        opened = make_absolute(directory, path)
        if opened is not None:
            self._put(event.pid, ret, Fd(opened, closes))
        else:
            self._forget(event.pid, ret, ret)

    def _ask_for(self, pid: int, fd: int, kind: str) -> str:
        """Return the full name (``pipe:[1234]``, ``TCP:[…]``) while it can still be asked, else its kind."""
        asked = self._ask(pid, fd)
        return kind if asked is None or asked.startswith("/") else asked

    def _name_again(self, pid: int, fd: Value) -> None:
        """Ask again for a socket that has another address now, or a peer."""
        known = self._table(pid).get(fd) if isinstance(fd, int) else None
        if known is not None and isinstance(fd, int) and (asked := self._ask(pid, fd)) is not None:
            self._put(pid, fd, Fd(asked, known.closes))

    def _learn_duplicate(self, event: Event, values: Mapping[str, Value], ret: int, *, closes: bool) -> None:
        old = self._fd(next((values[name] for name in ("fildes", "oldfd", "fd") if name in values), None))
        path = None if old is None else self._find(event.pid, old)
        if path is None:
            self._forget(event.pid, ret, ret)
        else:
            self._put(event.pid, ret, Fd(path, closes))

    def _learn_pair(self, event: Event, values: Mapping[str, Value], *, closes: bool) -> None:
        name, kind = PAIRS[event.event]
        fds = values.get(name)
        for fd in fds if isinstance(fds, list) else []:
            if isinstance(fd, int):
                self._put(event.pid, fd, Fd(self._ask_for(event.pid, fd, kind), closes))

    def _forget(self, pid: int, first: Value, last: Value) -> None:
        fds = self._processes.get(pid)
        if not fds or not isinstance(first, int) or not isinstance(last, int):
            return
        if last < 0:
            last += 1 << 32
        for fd in [fd for fd in fds if first <= fd <= last]:
            del fds[fd]
