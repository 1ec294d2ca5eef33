"""What file descriptors lead to."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from tests.records import SETS, Capture, Record, document, encode, event_document
from traceleft.tracer.decode import Decoder
from traceleft.tracer.event import Event
from traceleft.tracer.fdnames import FdNames
from traceleft.tracer.schema import load_schema

FD = {"name": "fd", "kind": "fd", "width": 4}
PATH = {"name": "filename", "kind": "path", "direction": "in", "slot": True}
CALLS: dict[str, list[dict[str, Any]]] = {
    "openat": [{"name": "dfd", "kind": "dirfd", "width": 4}, PATH],
    "openat2": [{"name": "dfd", "kind": "dirfd", "width": 4}, PATH],
    "read": [FD],
    "close": [FD],
    "close_range": [FD, {"name": "max_fd", "kind": "fd", "width": 4}, {"name": "flags", "kind": "set", "set": "prot"}],
    "dup3": [{"name": "oldfd", "kind": "fd", "width": 4}, {"name": "newfd", "kind": "fd", "width": 4}],
    "socket": [],
    "accept4": [FD],
    "pipe2": [
        {
            "name": "fildes",
            "kind": "array",
            "element": {"kind": "fd", "width": 4},
            "size": 4,
            "direction": "out",
            "slot": True,
        }
    ],
    "clone": [],
    "execve": [],
}
SCHEMA = load_schema(
    document({name: event_document(args, id=rank) for rank, (name, args) in enumerate(CALLS.items())}, sets=SETS)
)


def links(known: Mapping[str, str]) -> Callable[[str], bytes]:
    """Return a reader of /proc that knows these links only."""

    def read(path: str) -> bytes:
        if path not in known:
            raise FileNotFoundError(path)
        return known[path].encode()

    return read


def call(name: str, *args: int, ret: int = 0, path: bytes | None = None, pid: int = 10) -> Event:
    """Return a call's event."""
    spec = SCHEMA.events[name]
    captures = {} if path is None else {0: Capture(path, len(path) // 4 if name == "pipe2" else None)}
    registers = (*args, *[0x1000] * (path is not None))
    return Decoder(spec, SCHEMA.tables).decode(encode(spec, Record(registers, captures, ret=ret, ids=(pid, pid, 0, 0))))


def names(known: Mapping[str, str] | None = None) -> FdNames:
    return FdNames(CALLS, CALLS, read_link=links(known or {}))


def test_opened_file_is_known_by_its_path() -> None:
    fds = names()

    assert fds.name(call("openat", -100, path=b"/etc/passwd", ret=3)) == {"ret": "/etc/passwd"}
    assert fds.name(call("read", 3)) == {"fd": "/etc/passwd"}


def test_relative_path_starts_at_its_directory() -> None:
    fds = names({"/proc/10/cwd": "/home"})
    fds.name(call("openat", -100, path=b"sub", ret=3))

    assert fds.name(call("openat", 3, path=b"../x", ret=4)) == {"dfd": "/home/sub", "ret": "/home/x"}


def test_current_directory_has_a_name() -> None:
    assert names({"/proc/10/cwd": "/home"}).name(call("openat", -100, path=b"/x", ret=-2)) == {"dfd": "/home"}


def test_closed_fd_is_forgotten() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))

    assert fds.name(call("close", 3)) == {"fd": "/a"}
    assert fds.name(call("read", 3)) == {}


def test_range_of_fds_is_closed() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.name(call("openat", -100, path=b"/b", ret=4))
    fds.name(call("close_range", 4, 0xFFFFFFFF, 0))

    assert fds.name(call("read", 3)) == {"fd": "/a"}
    assert fds.name(call("read", 4)) == {}


def test_failed_close_and_open_change_nothing() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.name(call("close", 3, ret=-9))
    fds.name(call("openat", -100, path=b"/b", ret=-2))

    assert fds.name(call("read", 3)) == {"fd": "/a"}


def test_duplicate_has_its_original_s_name() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))

    assert fds.name(call("dup3", 3, 1, ret=1)) == {"oldfd": "/a", "ret": "/a"}
    assert fds.name(call("read", 1)) == {"fd": "/a"}


def test_sockets_and_pipes_have_their_kind_or_their_number() -> None:
    fds = names({"/proc/10/fd/5": "socket:[77]", "/proc/10/fd/6": "/reused"})

    assert fds.name(call("socket", ret=5)) == {"ret": "socket:[77]"}
    assert fds.name(call("socket", ret=6)) == {"ret": "socket"}
    fds.name(call("pipe2", path=b"\x07\0\0\0\x08\0\0\0"))
    assert fds.name(call("read", 7)) == {"fd": "pipe"}


def test_child_has_its_parent_s_fds() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.name(call("clone", ret=11))
    fds.name(call("close", 3, pid=10))

    assert fds.name(call("read", 3, pid=11)) == {"fd": "/a"}


def test_exec_forgets_what_may_have_closed() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.name(call("execve"))

    assert fds.name(call("read", 3)) == {}


def test_what_was_not_learned_is_asked_of_proc() -> None:
    assert names({"/proc/10/fd/0": "/dev/pts/1"}).name(call("read", 0)) == {"fd": "/dev/pts/1"}


def test_proc_is_asked_first_while_closes_go_unseen() -> None:
    known = {"/proc/10/fd/3": "/new"}
    fds = FdNames({"openat", "read"}, CALLS, read_link=links(known))
    fds.name(call("openat", -100, path=b"/old", ret=3))

    assert fds.name(call("read", 3)) == {"fd": "/new"}


def test_own_fds_are_found_in_the_real_proc() -> None:

    with open("/etc/hostname") as file:
        found = FdNames(CALLS, CALLS).name(call("read", file.fileno(), pid=os.getpid()))

    assert found == {"fd": os.path.realpath("/etc/hostname")}
