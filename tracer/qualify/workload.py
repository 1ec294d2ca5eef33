"""A known workload: calls made by a child, and what a trace of them must show.

The child makes every call by its number, so no C library stands between a call and its name. Nothing is executed but
this interpreter, and nothing is left in the file system.
"""

import ctypes
import json
import mmap
import os
import signal
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, Self

from traceleft.errors import TraceleftError
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.value import Value
from traceleft.tracer.schema.spec import EventSpec

_NAMES: Final = "openat pipe2 write read close lseek socketpair newuname nanosleep chdir getppid execve exit_group"
EVENTS: Final = tuple(_NAMES.split())
ROUNDS: Final = 8
PLACE: Final = "/traceleft/qualify"
AT_FDCWD: Final = -100
REPORT_BYTES_MAX: Final = 60_000
# Kinds whose values are checked: a battery's configuration may have made something else of an argument.
KINDS: Final = frozenset({"path", "text", "buffer", "strings", "fd", "int", "struct"})


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made: its event, what it returned (None: it did not return), values by an argument's index."""

    event: str
    ret: int | None
    args: Mapping[int, Value]

    def is_shown_by(self, event: Event) -> bool:
        """Tell whether an event is this very call's."""
        if event.event != self.event or event.ret != self.ret:
            return False
        shown = event.args
        return all(
            _agrees(self.args[arg.index], shown[arg.name])
            for arg in event.spec.args
            if arg.index in self.args and arg.value.kind in KINDS
        )

    def __str__(self) -> str:
        values = ", ".join(f"{value!r:.60}" for value in self.args.values())
        return f"{self.event}({values}) = {'?' if self.ret is None else self.ret}"


def _agrees(made: Value, shown: Value) -> bool:
    """Compare a value with the one made; of an object the members that were set."""
    if isinstance(made, Mapping):
        return isinstance(shown, Mapping) and all(shown.get(name) == value for name, value in made.items())
    return made == shown


class Workload:
    """A child that makes the calls of ``specs`` that have a number, once it is released.

    Enter it, trace ``pid``, ``release`` it, wait for the trace's end, then ask for ``calls``.
    """

    def __init__(self, specs: Mapping[str, EventSpec]) -> None:
        self._numbers = {
            name: spec.number for name, spec in specs.items() if name in EVENTS and spec.number is not None
        }
        self._go = self._report = -1
        self._is_ended = False
        self.pid = 0

    def __enter__(self) -> Self:
        go_read, self._go = os.pipe()
        self._report, report_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            os.close(self._report)
            _run_child(self._numbers, go_read, report_write)
        os.close(go_read)
        os.close(report_write)
        return self

    def __exit__(self, *exc: object) -> None:
        for fd in (self._go, self._report):
            if fd >= 0:
                os.close(fd)
        self._go = self._report = -1
        if not self._is_ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def release(self) -> None:
        """Let the child begin."""
        os.write(self._go, b"g")

    def calls(self) -> list[Call]:
        """Return the calls that were made, once the child has ended; TraceleftError if it did not come to its end."""
        with os.fdopen(os.dup(self._report), "rb") as file:
            report = file.read(REPORT_BYTES_MAX)
        _, status = os.waitpid(self.pid, 0)
        self._is_ended = True
        if code := os.waitstatus_to_exitcode(status):
            reason = report.decode(errors="replace") or f"status {code}"
            raise TraceleftError(f"the calls that were to be traced could not be made: {reason}")
        return [
            Call(event, ret, {int(index): value for index, value in args.items()})
            for event, ret, args in json.loads(report)
        ]


def match_calls(calls: Iterable[Call], events: Iterable[Event]) -> list[Call]:
    """Return the calls that none of the events shows; an event shows one call only."""
    left: dict[str, list[Event]] = {}
    for event in events:
        left.setdefault(event.event, []).append(event)
    missing = []
    for call in calls:
        candidates = left.get(call.event, [])
        found = next((event for event in candidates if call.is_shown_by(event)), None)
        if found is None:
            missing.append(call)
        else:
            candidates.remove(found)
    return missing


def _run_child(numbers: Mapping[str, int], go: int, report: int) -> NoReturn:
    """Make the calls, report them, end as the last of them; never return."""
    try:
        maker = _Maker(numbers)
        if os.read(go, 1):
            for rank in range(ROUNDS):
                maker.make_round(rank)
            maker.make_grandchild()
            maker.make_failed_exec()
            maker.expect_end()
            os.write(report, json.dumps(maker.made).encode())
            maker.execute_self()
    except Exception as exc:
        # The parent tells of it; what was reported before is incomplete, as the status says.
        os.write(report, str(exc).encode())
    finally:
        os._exit(1)


class _Maker:
    """Makes calls and keeps what it made: ``made`` holds [event, result, values by index]."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self.made: list[tuple[str, int | None, Mapping[int, Value]]] = []
        self._numbers = numbers
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._edge = _Edge()

    def make_round(self, rank: int) -> None:
        """Make each call once, some twice; values differ from round to round."""
        path = f"{PLACE}/{rank}/{'x' * (20 * rank)}"
        self._call("openat", AT_FDCWD, path.encode(), 0, 0, shows={1: path})
        self._call(
            "openat", AT_FDCWD, self._edge.place(f"{PLACE}/edge/{rank}"), 0, 0, shows={1: f"{PLACE}/edge/{rank}"}
        )
        self._call("chdir", b"/", shows={0: "/"})
        self._call("getppid")
        self._call("newuname", ctypes.create_string_buffer(390), shows={0: {"release": os.uname().release}})
        self._call(
            "nanosleep", (ctypes.c_long * 2)(0, 1000 + rank), None, shows={0: {"tv_sec": 0, "tv_nsec": 1000 + rank}}
        )
        self._call("socketpair", 1, 1, 0, (ctypes.c_int * 2)())
        self._pass_through_pipe(f"round {rank}")

    def make_grandchild(self) -> None:
        """Let a process that this one makes call something, which a trace that follows shows."""
        pid = os.fork()
        if pid == 0:
            self._call("openat", AT_FDCWD, f"{PLACE}/grandchild".encode(), 0, 0)
            os._exit(0)
        os.waitpid(pid, 0)
        if "openat" in self._numbers:
            self.made.append(("openat", -2, {1: f"{PLACE}/grandchild"}))

    def make_failed_exec(self) -> None:
        """Call execve with what does not exist."""
        path, argv = f"{PLACE}/missing", ("qualify", "an argument")
        strings = (ctypes.c_char_p * 3)(*(each.encode() for each in argv), None)
        self._call("execve", path.encode(), strings, None, shows={0: path, 1: list(argv)})

    def expect_end(self) -> None:
        """Note what ``execute_self`` is going to do."""
        if "execve" in self._numbers:
            self.made.append(("execve", 0, {0: sys.executable}))
        if "exit_group" in self._numbers:
            self.made.append(("exit_group", None, {0: 0}))

    def execute_self(self) -> NoReturn:
        """Become a Python that does nothing."""
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", ""], dict(os.environ))

    def _pass_through_pipe(self, text: str) -> None:
        data = text.encode()
        ends = (ctypes.c_int * 2)()
        if self._call("pipe2", ends, 0) != 0:
            ends[:] = list(os.pipe())
        read_end, write_end = ends
        if self._call("write", write_end, data, len(data), shows={0: write_end, 1: text}) is None:
            os.write(write_end, data)
        self._call("read", read_end, ctypes.create_string_buffer(64), 64, shows={0: read_end, 1: text})
        self._call("lseek", read_end, 0, 0, shows={0: read_end})
        for fd in (read_end, write_end):
            if self._call("close", fd, shows={0: fd}) is None:
                os.close(fd)
        self._call("close", -1, shows={0: -1})

    def _call(self, event: str, *args: object, shows: Mapping[int, Value] | None = None) -> int | None:
        """Make a call if the battery has its event; return what the kernel did."""
        if event not in self._numbers:
            return None
        words = [ctypes.c_long(each) if isinstance(each, int) else each for each in args]
        ret = int(self._syscall(ctypes.c_long(self._numbers[event]), *words))
        ret = -ctypes.get_errno() if ret == -1 else ret
        if event == "socketpair" and ret == 0:
            for fd in args[3]:  # type: ignore[attr-defined]
                os.close(fd)
        self.made.append((event, ret, shows or {}))
        return ret


class _Edge:
    """A page before one that nobody may read; strings are placed at its very end."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        ctypes.CDLL(None).mprotect(ctypes.c_void_p(self._start + mmap.PAGESIZE), mmap.PAGESIZE, 0)

    def place(self, text: str) -> ctypes.c_void_p:
        """Return the address of a string whose NUL is the page's last byte."""
        data = text.encode() + b"\0"
        self._map[mmap.PAGESIZE - len(data) : mmap.PAGESIZE] = data
        return ctypes.c_void_p(self._start + mmap.PAGESIZE - len(data))


def held(names: Collection[str]) -> list[str]:
    """Return those of some events that the workload makes."""
    return [name for name in EVENTS if name in names]
