"""What file descriptors lead to."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.support.records import SETS, Capture, Record, document, encode, event_document
from traceleft.tracer import _native
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.output.fdnames import PAIRS, FdNames
from traceleft.tracer.schema.load import load_schema

FD = {"name": "fd", "kind": "fd", "width": 4}
PATH = {"name": "filename", "kind": "path", "direction": "in", "slot": True}
FLAGS = {"name": "flags", "kind": "set", "set": "open_flags", "width": 4}
CALLS: dict[str, list[dict[str, Any]]] = {
    "openat": [{"name": "dfd", "kind": "dirfd", "width": 4}, PATH, FLAGS],
    "creat": [PATH | {"name": "pathname"}],
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
    "socketpair": [
        {
            "name": "usockvec",
            "kind": "array",
            "element": {"kind": "fd", "width": 4},
            "size": 4,
            "direction": "out",
            "slot": True,
        }
    ],
    "clone": [],
    "fcntl": [FD, {"name": "cmd", "kind": "set", "set": "fcntl"}, {"name": "arg", "kind": "set", "set": "fd_flags"}],
    "exit_group": [],
    "chdir": [PATH],
    "fchdir": [FD],
    "execve": [],
}
MORE = {
    "fcntl": {"mask": 0xFFFFFFFF, "values": [[0, "F_DUPFD"], [2, "F_SETFD"]], "bits": [], "width": 4},
    "fd_flags": {"mask": 0, "values": [], "bits": [[1, "FD_CLOEXEC"]], "width": 4},
}
SCHEMA = load_schema(
    document(
        {name: event_document(args, id=rank) for rank, (name, args) in enumerate(CALLS.items())}, sets={**SETS, **MORE}
    )
)
CLOEXEC = 0o2000000


def links(known: Mapping[str, str]) -> Callable[[str], bytes]:
    """Return a reader of /proc that knows these links only."""

    def read(path: str) -> bytes:
        if path not in known:
            raise FileNotFoundError(path)
        return known[path].encode()

    return read


def call(
    name: str, *args: int, ret: int = 0, path: bytes | None = None, pid: int = 10, more: Sequence[int] = ()
) -> Event:
    """Return a call's event."""
    spec = SCHEMA.events[name]
    captures = {} if path is None else {0: Capture(path, len(path) // 4 if name in PAIRS else None)}
    registers = (*args, *[0x1000] * (path is not None), *more)
    return Decoder(spec, SCHEMA.tables).decode(encode(spec, Record(registers, captures, ret=ret, ids=(pid, pid, 0, 0))))


def names(known: Mapping[str, str] | None = None, parents: Mapping[int, int] | None = None) -> FdNames:
    return FdNames(
        CALLS,
        CALLS,
        read_link=links(known or {}),
        read_parent=(parents or {}).get,
        describe=lambda pid, fd, link: os.fsdecode(link),
    )


def batch(*events: Event) -> Batch:
    """Return forks as a batch."""
    spec = SCHEMA.events["clone"]
    fixed = b"".join(encode(spec, Record((), {}, ret=each.ret or 0, ids=(each.pid, each.pid, 0, 0))) for each in events)
    return Batch(Decoder(spec, SCHEMA.tables), fixed, b"", bytes(8 * (len(events) + 1)))


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
    fds.name(call("socketpair", path=b"\x09\0\0\0\x0a\0\0\0"))
    assert fds.name(call("read", 10)) == {"fd": "socket"}


def test_child_has_its_parent_s_fds() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.name(call("clone", ret=11))
    fds.name(call("close", 3, pid=10))

    assert fds.name(call("read", 3, pid=11)) == {"fd": "/a"}


def test_child_whose_first_event_comes_before_its_parent_s_return_has_its_parent_s_fds() -> None:
    fork = call("clone", ret=11)
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.foresee(batch(fork))

    assert fds.name(call("read", 3, pid=11)) == {"fd": "/a"}
    fds.name(call("close", 3, pid=11))
    fds.name(fork)
    # What the child did since stays.
    assert fds.name(call("read", 3, pid=11)) == {}
    assert fds.name(call("read", 3)) == {"fd": "/a"}


def records_of(*forks: Event) -> _native.Records:
    spec = SCHEMA.events["clone"]
    data = b"".join(encode(spec, Record((), {}, ret=each.ret or 0, ids=(each.pid, each.pid, 0, 0))) for each in forks)
    return _native.Records(data)


def test_child_that_is_gone_has_a_fork_among_the_records_to_come() -> None:
    """Where the parent runs late, its fork returns after all that the child did."""
    fork = call("clone", ret=11)
    coming = [records_of(), records_of(call("clone", ret=12)), records_of(fork, call("clone", ret=13)), None]
    fds = names(parents={10: 1})
    fds.look_ahead_by(SCHEMA.events.values(), SCHEMA.tables, lambda: coming.pop(0))
    fds.name(call("openat", -100, path=b"/a", ret=3))

    assert fds.name(call("read", 3, pid=11)) == {"fd": "/a"}
    assert coming == [None]
    fds.name(fork)
    assert fds.name(call("read", 3, pid=13)) == {"fd": "/a"}
    assert fds.name(call("read", 3, pid=99)) == {}


def test_nothing_more_is_looked_for_once_nothing_comes() -> None:
    looks = 0

    def take() -> None:
        nonlocal looks
        looks += 1

    fds = names()
    fds.look_ahead_by(SCHEMA.events.values(), SCHEMA.tables, take)

    assert fds.name(call("read", 3, pid=11)) == {}
    assert looks == 1


def test_process_that_is_there_is_not_looked_for_ahead() -> None:
    fds = names(parents={10: 1, 11: 10})
    fds.look_ahead_by(SCHEMA.events.values(), SCHEMA.tables, lambda: pytest.fail("it looks ahead"))
    fds.name(call("openat", -100, path=b"/a", ret=3, pid=10))

    assert fds.name(call("read", 3, pid=11)) == {"fd": "/a"}


def test_child_that_no_fork_tells_of_is_asked_for_its_parent() -> None:
    fds = names(parents={11: 10})
    fds.name(call("openat", -100, path=b"/a", ret=3))

    assert fds.name(call("read", 3, pid=11)) == {"fd": "/a"}
    assert fds.name(call("read", 3, pid=12)) == {}


def test_relative_path_starts_where_the_process_went() -> None:
    fds = FdNames(CALLS, CALLS, read_link=links({}), read_parent=lambda pid: None, directory="/home")
    first = fds.name(call("openat", -100, path=b"x", ret=3))
    fds.name(call("clone", ret=11))
    fds.name(call("chdir", path=b"sub", pid=11))
    there = fds.name(call("openat", -100, path=b"x", ret=4, pid=11))
    fds.name(call("openat", -100, path=b"/etc", ret=5, pid=11))
    fds.name(call("fchdir", 5, pid=11))
    fds.name(call("execve", pid=11))
    back = fds.name(call("openat", -100, path=b"x", ret=6, pid=11))
    still = fds.name(call("openat", -100, path=b"x", ret=7))

    assert [each["ret"] for each in (first, there, back, still)] == ["/home/x", "/home/sub/x", "/etc/x", "/home/x"]


def test_failed_fork_has_no_child() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.foresee(batch(call("clone", ret=-11), call("clone", ret=0)))

    assert fds.name(call("read", 3, pid=11)) == {}


def test_fork_whose_record_is_damaged_is_foreseen_without_decoding_it() -> None:
    spec = SCHEMA.events["clone"]
    record = bytearray(encode(spec, Record((), {}, ret=11, ids=(10, 10, 0, 0))))
    record[4:6] = b"\xff\xff"
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.foresee(Batch(Decoder(spec, SCHEMA.tables), bytes(record), b"", bytes(16)))

    assert fds.name(call("read", 3, pid=11)) == {"fd": "/a"}


def test_exec_keeps_what_does_not_close_on_it() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/stays", ret=3))
    fds.name(call("openat", -100, path=b"/closes", ret=4, more=[CLOEXEC]))
    fds.name(call("fcntl", 3, 0, ret=5))
    fds.name(call("openat", -100, path=b"/marked", ret=6))
    fds.name(call("fcntl", 6, 2, 1))
    fds.name(call("openat", -100, path=b"/unmarked", ret=7, more=[CLOEXEC]))
    fds.name(call("fcntl", 7, 2, 0))
    fds.name(call("execve"))

    found = {fd: fds.name(call("read", fd)).get("fd") for fd in range(3, 8)}
    assert found == {3: "/stays", 4: None, 5: "/stays", 6: None, 7: "/unmarked"}


def test_failed_exec_closes_nothing() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3, more=[CLOEXEC]))
    fds.name(call("execve", ret=-2))

    assert fds.name(call("read", 3)) == {"fd": "/a"}


def test_number_of_a_process_that_ended_is_another_s() -> None:
    fds = names()
    fds.name(call("openat", -100, path=b"/a", ret=3))
    fds.name(call("exit_group"))

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
