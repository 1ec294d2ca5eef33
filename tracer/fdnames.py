"""``-y``: what a process's file descriptors lead to.

Names are learned from the events themselves, in their order, which is exact for as long as the calls that close
descriptors are among them (``CLOSING``). What was not learned is asked of ``/proc/PID/fd``; that shows how it
is now, a little after the call. A name is a text as ``texts.to_text`` makes it.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from posixpath import join, normpath
from typing import Final

from traceleft.tracer.cases import choose_case
from traceleft.tracer.event import Event
from traceleft.tracer.texts import to_text
from traceleft.tracer.values import Value

MAX_PROCESSES: Final = 4096
MAX_FDS: Final = 4096

OPENING: Final = {"open": "", "creat": "", "openat": "dfd", "openat2": "dfd"}
SOCKETS: Final = frozenset({"socket", "accept", "accept4"})
DUPLICATING: Final = frozenset({"dup", "dup2", "dup3"})
FORKING: Final = frozenset({"fork", "vfork", "clone", "clone3"})
CLOSING: Final = frozenset({"close", "close_range", "dup2", "dup3", "execve", "execveat"})
RETURNING: Final = frozenset({*OPENING, *SOCKETS, *DUPLICATING})


def read_link(path: str) -> bytes:
    """Return where a link of /proc leads."""
    return os.readlink(os.fsencode(path))


class FdNames:
    """Knows the names of file descriptors, per process; bounded, forgetting what was used longest ago.

    ``events`` are the names of the events that are traced, ``available`` of those that could be: unless all of
    ``CLOSING`` that could be is, a learned name may be out of date, so /proc is asked first.
    """

    def __init__(
        self,
        events: Collection[str],
        available: Collection[str],
        *,
        read_link: Callable[[str], bytes] = read_link,
    ) -> None:
        self._is_exact = CLOSING & set(available) <= set(events)
        self._read_link = read_link
        self._processes: OrderedDict[int, OrderedDict[int, str]] = OrderedDict()

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

    @staticmethod
    def _fd(value: Value) -> int | None:
        """Return a descriptor's number, -1 for the current directory, None for what is no descriptor."""
        if value == "AT_FDCWD":
            return -1
        return value if isinstance(value, int) and value >= 0 else None

    def _find(self, pid: int, fd: int) -> str | None:
        fds = self._processes.get(pid)
        learned = fds.get(fd) if fds and fd >= 0 else None
        if learned is not None and self._is_exact:
            return learned
        asked = self._ask(f"/proc/{pid}/cwd" if fd < 0 else f"/proc/{pid}/fd/{fd}")
        if asked is not None and self._is_exact and fd >= 0:
            self._put(pid, fd, asked)
        return asked if asked is not None else learned

    def _ask(self, link: str) -> str | None:
        try:
            return to_text(self._read_link(link))
        except OSError:
            return None

    def _put(self, pid: int, fd: int, path: str) -> None:
        fds = self._table(pid)
        fds[fd] = path
        fds.move_to_end(fd)
        if len(fds) > MAX_FDS:
            fds.popitem(last=False)

    def _table(self, pid: int) -> OrderedDict[int, str]:
        fds = self._processes.setdefault(pid, OrderedDict())
        self._processes.move_to_end(pid)
        if len(self._processes) > MAX_PROCESSES:
            self._processes.popitem(last=False)
        return fds

    def _learn(self, event: Event, values: Mapping[str, Value]) -> None:
        name, pid, ret = event.event, event.pid, event.ret
        if name in ("exit_group", "execve", "execveat") and (ret is None or ret >= 0):
            # Descriptors that close on exec are gone, and which those are is not known.
            self._processes.pop(pid, None)
        if ret is None or ret < 0:
            return
        if name in OPENING:
            self._learn_open(event, values, ret)
        elif name in SOCKETS:
            self._put(pid, ret, self._ask_for(pid, ret, "socket:"))
        elif name in DUPLICATING or (name == "fcntl" and str(values.get("cmd")).startswith("F_DUPFD")):
            self._learn_duplicate(event, values, ret)
        elif name in ("pipe", "pipe2"):
            self._learn_pipe(event, values)
        elif name == "close":
            self._forget(pid, values.get("fd"), values.get("fd"))
        elif name == "close_range" and values.get("flags") in (0, "0"):
            self._forget(pid, values.get("fd"), values.get("max_fd"))
        elif name in FORKING and ret > 0 and pid in self._processes:
            self._table(ret).update(self._processes[pid])

    def _learn_open(self, event: Event, values: Mapping[str, Value], ret: int) -> None:
        path = values.get("filename")
        if not isinstance(path, str) or "filename" in event.truncated or "filename" in event.unreadable:
            self._forget(event.pid, ret, ret)
            return
        directory = self._find(event.pid, -1 if (fd := self._fd(values.get(OPENING[event.event]))) is None else fd)
        if path.startswith("/") or directory is not None:
            self._put(event.pid, ret, normpath(join(directory or "/", path)))
        else:
            self._forget(event.pid, ret, ret)

    def _ask_for(self, pid: int, fd: int, kind: str) -> str:
        """Return the full name (``socket:[1234]``) while it can still be asked, else its kind."""
        asked = self._ask(f"/proc/{pid}/fd/{fd}")
        return asked if asked is not None and asked.startswith(kind) else kind.rstrip(":")

    def _learn_duplicate(self, event: Event, values: Mapping[str, Value], ret: int) -> None:
        old = self._fd(next((values[name] for name in ("fildes", "oldfd", "fd") if name in values), None))
        path = None if old is None else self._find(event.pid, old)
        if path is None:
            self._forget(event.pid, ret, ret)
        else:
            self._put(event.pid, ret, path)

    def _learn_pipe(self, event: Event, values: Mapping[str, Value]) -> None:
        fds = values.get("fildes")
        for fd in fds if isinstance(fds, list) else []:
            if isinstance(fd, int):
                self._put(event.pid, fd, self._ask_for(event.pid, fd, "pipe:"))

    def _forget(self, pid: int, first: Value, last: Value) -> None:
        fds = self._processes.get(pid)
        if not fds or not isinstance(first, int) or not isinstance(last, int):
            return
        if last < 0:
            last += 1 << 32
        for fd in [fd for fd in fds if first <= fd <= last]:
            del fds[fd]
