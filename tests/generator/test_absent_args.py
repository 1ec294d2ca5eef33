"""Arguments that a call does not have, and what a failed call did not write: neither is shown."""

import struct
from functools import cache
from typing import Any

import pytest

from tests.generator.test_schema import make
from tests.support.records import Capture, Record, encode
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.text import Line, TextOptions
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.spec import Schema

STALE = 0x7FFE0010
TIME = Capture(struct.pack("<qq", 111, 222))
PRIVATE, REALTIME = 128, 256
EINTR, EINVAL, ERESTART_RESTARTBLOCK = 4, 22, 516


@cache
def schema(name: str) -> Schema:
    return load_schema(make(name).document)


def call(name: str, *raw: int, ret: int = 0, captures: dict[int, Capture] | None = None) -> Event:
    loaded = schema(name)
    spec = loaded.events[name]
    record = Record((*raw, *[0] * (6 - len(raw))), captures or {}, ret=ret)
    return Decoder(spec, loaded.tables).decode(encode(spec, record))


def shown(event: Event) -> str:
    return Line(TextOptions(time="none")).show(event).partition("(")[2].rpartition(") =")[0]


def futex(op: int, *, val3: int = 0) -> str:
    """Return the arguments of a futex call as text; its fourth one leads to a time, or is 2147483647."""
    utime = 2147483647 if op & 0x7F in (3, 4, 5, 12) else STALE
    event = call("futex", 0x1000, op, 7, utime, 0x2000, val3, captures={0: TIME})
    return shown(event).partition(", ")[2]


# What strace 6 shows of the same calls, with our arguments' names.
@pytest.mark.parametrize(
    ("op", "val3", "text"),
    [
        (0, 9, "op: FUTEX_WAIT, val: 7, utime: {tv_sec: 111, tv_nsec: 222}"),
        (0 | PRIVATE, 9, "op: FUTEX_WAIT_PRIVATE, val: 7, utime: {tv_sec: 111, tv_nsec: 222}"),
        (1 | PRIVATE, 9, "op: FUTEX_WAKE_PRIVATE, val: 7"),
        (3, 9, "op: FUTEX_REQUEUE, val: 7, utime: 2147483647, uaddr2: 0x2000"),
        (4, 9, "op: FUTEX_CMP_REQUEUE, val: 7, utime: 2147483647, uaddr2: 0x2000, val3: 0x9"),
        (
            5,
            0x0A001FFF | 1 << 28,
            "op: FUTEX_WAKE_OP, val: 7, utime: 2147483647, uaddr2: 0x2000, "
            "val3: FUTEX_OP_ADD<<28|0x1<<12|0xa<<24|0xfff",
        ),
        (
            5,
            0x04000001,
            "op: FUTEX_WAKE_OP, val: 7, utime: 2147483647, uaddr2: 0x2000, "
            "val3: FUTEX_OP_SET<<28|0<<12|FUTEX_OP_CMP_GT<<24|0x1",
        ),
        (
            5,
            0xC1003000,
            "op: FUTEX_WAKE_OP, val: 7, utime: 2147483647, uaddr2: 0x2000, "
            "val3: FUTEX_OP_OPARG_SHIFT<<28|FUTEX_OP_XOR<<28|0x3<<12|FUTEX_OP_CMP_NE<<24|0",
        ),
        (6, 9, "op: FUTEX_LOCK_PI, utime: {tv_sec: 111, tv_nsec: 222}"),
        (7, 9, "op: FUTEX_UNLOCK_PI"),
        (8, 9, "op: FUTEX_TRYLOCK_PI"),
        (
            9 | REALTIME,
            9,
            "op: FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME, val: 7, utime: {tv_sec: 111, tv_nsec: 222}, val3: 0x9",
        ),
        (10, 9, "op: FUTEX_WAKE_BITSET, val: 7, val3: 0x9"),
        (11, 9, "op: FUTEX_WAIT_REQUEUE_PI, val: 7, utime: {tv_sec: 111, tv_nsec: 222}, uaddr2: 0x2000"),
        (12, 9, "op: FUTEX_CMP_REQUEUE_PI, val: 7, utime: 2147483647, uaddr2: 0x2000, val3: 0x9"),
        (99, 9, "op: 0x63, val: 7, utime: {tv_sec: 111, tv_nsec: 222}, uaddr2: 0x2000, val3: 0x9"),
    ],
)
def test_a_futex_call_has_the_arguments_of_its_operation(op: int, val3: int, text: str) -> None:
    assert futex(op, val3=val3) == text


def test_json_lacks_what_the_call_lacks() -> None:
    event = call("futex", 0x1000, 1, 7, STALE, 0x2000, 9, captures={0: Capture(b"", -14)})
    args = event.to_dict()["args"]

    assert args == {"uaddr": "0x1000", "op": "FUTEX_WAKE", "val": 7}
    assert event.unreadable == []
    assert b'"args":{"uaddr":"0x1000","op":"FUTEX_WAKE","val":7},' in to_json_line(event)


@pytest.mark.parametrize(
    ("name", "command", "text"),
    [
        ("fcntl", 1, "fd: 3, cmd: F_GETFD"),
        ("fcntl", 2, "fd: 3, cmd: F_SETFD, arg: FD_CLOEXEC"),
        ("fcntl", 3, "fd: 3, cmd: F_GETFL"),
        ("fcntl", 9, "fd: 3, cmd: F_GETOWN"),
        ("fcntl", 1032, "fd: 3, cmd: F_GETPIPE_SZ"),
        ("ioctl", 0x5451, "fd: 3, cmd: FIOCLEX"),
        ("ioctl", 0x5450, "fd: 3, cmd: FIONCLEX"),
        ("ioctl", 0x5422, "fd: 3, cmd: TIOCNOTTY"),
        ("ioctl", 0x541B, "fd: 3, cmd: FIONREAD, arg: 0x1"),
    ],
)
def test_a_command_without_an_argument_shows_none(name: str, command: int, text: str) -> None:
    assert shown(call(name, 3, command, 1)) == text


O_CREAT = 0o100
S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO = 0o100000, 0o020000, 0o060000, 0o010000
THREAD_FLAGS, VFORK_FLAGS = 0x3D0F00, 0x4111
CHILD_SETTID, PIDFD = 0x01000000, 0x1000
PTRACE_SEIZE, PTRACE_GETREGSET, PTRACE_INTERRUPT = 0x4206, 0x4204, 0x4207
PR_SET_VMA = 0x53564D41


# Which arguments strace 6 shows of the same calls. Of the last one of each kind all are there.
@pytest.mark.parametrize(
    ("name", "raw", "names"),
    [
        # The mode of an open is shown whatever the flags: a promise of the JSON format.
        ("open", (STALE, 0, 7), "filename flags mode"),
        ("openat", (3, STALE, 0, 7), "dfd filename flags mode"),
        ("mq_open", (STALE, 0, 7, STALE), "u_name oflag"),
        ("mq_open", (STALE, O_CREAT, 0o600, STALE), "u_name oflag mode u_attr"),
        ("mknod", (STALE, 0o644, 7), "filename mode"),
        ("mknod", (STALE, S_IFREG | 0o644, 7), "filename mode"),
        ("mknod", (STALE, S_IFIFO | 0o644, 7), "filename mode"),
        ("mknod", (STALE, S_IFCHR | 0o644, 7), "filename mode dev"),
        ("mknodat", (3, STALE, S_IFIFO | 0o644, 7), "dfd filename mode"),
        ("mknodat", (3, STALE, 0xABCD0000 | S_IFBLK | 0o644, 7), "dfd filename mode dev"),
        ("mremap", (STALE, 1, 2, 1, STALE), "addr old_len new_len flags"),
        ("mremap", (STALE, 1, 2, 3, STALE), "addr old_len new_len flags new_addr"),
        ("mremap", (STALE, 1, 1, 5, STALE), "addr old_len new_len flags new_addr"),
        ("clone", (VFORK_FLAGS, STALE, 1, 2, 3), "clone_flags newsp"),
        ("clone", (CHILD_SETTID | 17, 0, 1, 2, 3), "clone_flags newsp child_tidptr"),
        ("clone", (PIDFD | 17, 0, 1, 2, 3), "clone_flags newsp parent_tidptr"),
        ("clone", (THREAD_FLAGS, STALE, 1, 2, 3), "clone_flags newsp parent_tidptr child_tidptr tls"),
        ("prctl", (3, 1, 2, 3, 4), "option"),
        ("prctl", (31, 1, 2, 3, 4), "option"),
        ("prctl", (15, STALE, 2, 3, 4), "option arg2"),
        ("prctl", (8, 1, 2, 3, 4), "option arg2"),
        ("prctl", (22, 1, 2, 3, 4), "option arg2"),
        ("prctl", (22, 2, STALE, 3, 4), "option arg2 arg3"),
        ("prctl", (22, 7, 1, 2, 3), "option arg2 arg3 arg4 arg5"),
        ("prctl", (53, 0, 2, 3, 4), "option arg2 arg3"),
        ("prctl", (38, 1, 2, 3, 4), "option arg2 arg3 arg4 arg5"),
        ("prctl", (PR_SET_VMA, 0, STALE, 3, STALE), "option arg2 arg3 arg4 arg5"),
        ("prctl", (9999, 1, 2, 3, 4), "option arg2 arg3 arg4 arg5"),
        ("ptrace", (0, 1, 2, 3), "request"),
        ("ptrace", (16, 1, 2, 3), "request pid"),
        ("ptrace", (PTRACE_INTERRUPT, 1, 2, 3), "request pid"),
        ("ptrace", (9999, 1, 2, 3), "request pid addr data"),
        ("arch_prctl", (0x1011, 1), "option"),
        ("arch_prctl", (0x1002, 1), "option arg2"),
        ("kcmp", (1, 2, 3, 4, 5), "pid1 pid2 type"),
        ("kcmp", (1, 2, 0, 4, 5), "pid1 pid2 type idx1 idx2"),
        ("reboot", (1, 2, 0x01234567, STALE), "magic1 magic2 cmd"),
        ("reboot", (1, 2, 0xA1B2C3D4, STALE), "magic1 magic2 cmd arg"),
        ("sysfs", (3, 1, 2), "option"),
        ("sysfs", (1, STALE, 2), "option arg1"),
        ("sysfs", (2, 1, STALE), "option arg1 arg2"),
        ("keyctl", (18, 1, 2, 3, 4), "option"),
        ("keyctl", (3, 1, 2, 3, 4), "option arg2"),
        ("keyctl", (8, 1, 2, 3, 4), "option arg2 arg3"),
        ("keyctl", (11, 1, STALE, 3, 4), "option arg2 arg3 arg4"),
        ("keyctl", (10, 1, STALE, STALE, 4), "option arg2 arg3 arg4 arg5"),
    ],
)
def test_a_call_has_the_arguments_that_its_flags_or_its_command_give_it(
    name: str, raw: tuple[int, ...], names: str
) -> None:
    event = call(name, *raw)
    args: Any = event.to_dict()["args"]

    assert list(args) == names.split()
    assert [part.partition(":")[0] for part in shown(event).split(", ") if ":" in part] == names.split()


@pytest.mark.parametrize(
    ("name", "raw", "text"),
    [
        ("ptrace", (7, 5, 0, 10), "request: PTRACE_CONT, pid: 5, addr: NULL, data: SIGUSR1"),
        ("ptrace", (24, 5, 0, 0), "request: PTRACE_SYSCALL, pid: 5, addr: NULL, data: 0"),
        ("ptrace", (5, 5, 64, 65), "request: PTRACE_POKEDATA, pid: 5, addr: 0x40, data: 0x41"),
        ("ptrace", (PTRACE_SEIZE, 5, 0, 1), "request: PTRACE_SEIZE, pid: 5, addr: NULL, data: PTRACE_O_TRACESYSGOOD"),
        ("ptrace", (PTRACE_GETREGSET, 5, 1, 64), "request: PTRACE_GETREGSET, pid: 5, addr: NT_PRSTATUS, data: 0x40"),
        ("prctl", (22, 2, 64), "option: PR_SET_SECCOMP, arg2: SECCOMP_MODE_FILTER, arg3: 0x40"),
        ("prctl", (23, 21), "option: PR_CAPBSET_READ, arg2: CAP_SYS_ADMIN"),
        ("prctl", (26, 2), "option: PR_SET_TSC, arg2: PR_TSC_SIGSEGV"),
        ("prctl", (28, 0x10), "option: PR_SET_SECUREBITS, arg2: SECBIT_KEEP_CAPS"),
        ("epoll_ctl", (3, 2, 4, STALE), "epfd: 3, op: EPOLL_CTL_DEL, fd: 4, event: 0x7ffe0010"),
    ],
)
def test_an_argument_is_shown_as_the_command_has_it(name: str, raw: tuple[int, ...], text: str) -> None:
    assert shown(call(name, *raw)) == text


@pytest.mark.parametrize(
    ("ret", "is_written"), [(0, False), (-EINTR, True), (-ERESTART_RESTARTBLOCK, True), (-EINVAL, False)]
)
@pytest.mark.parametrize("name", ["nanosleep", "clock_nanosleep"])
def test_the_rest_of_a_sleep_is_shown_where_it_was_written(name: str, ret: int, is_written: bool) -> None:
    raw = [STALE, STALE] if name == "nanosleep" else [0, 0, STALE, STALE]
    event = call(name, *raw, ret=ret, captures={0: TIME, 1: TIME})
    left: Any = event.args.rmtp

    assert left == ({"tv_sec": 111, "tv_nsec": 222} if is_written else hex(STALE))


EBADF = 9
BASES = [{"base": "0x1000", "len": 5}, {"base": "0x2000", "len": 3}]


def vector(*parts: tuple[int, int, bytes]) -> bytes:
    """Return a captured vector of bases, lengths and data."""
    return b"".join(
        struct.pack("<QQIi", base, length, len(data), len(data)) + data + bytes(-len(data) % 8)
        for base, length, data in parts
    )


def test_a_failed_call_shows_where_its_vector_leads_and_not_what_lies_there() -> None:
    parts = vector((0x1000, 5, b""), (0x2000, 3, b""))
    failed = call("readv", 99, STALE, 2, ret=-EBADF, captures={0: Capture(parts, 2)})
    written = call("readv", 3, STALE, 2, ret=5, captures={0: Capture(vector((0x1000, 5, b"hello")), 1)})
    passed = call("writev", 99, STALE, 1, ret=-EBADF, captures={0: Capture(vector((0x1000, 5, b"hello")), 1)})

    assert failed.args.vec == BASES
    assert shown(failed) == "fd: 99, vec: [{base: 0x1000, len: 5}, {base: 0x2000, len: 3}], vlen: 2"
    assert (failed.unreadable, failed.truncated) == ([], {})
    assert written.args.vec == passed.args.vec == [{"base": "0x1000", "len": 5, "data": "hello"}]


def test_a_message_that_was_not_received_shows_addresses() -> None:
    head = struct.pack("<QIIQQQQII", 0x5000, 16, 0, 0x6000, 2, 0x7000, 64, 0, 0)
    # What lay there before, and what could not be read.
    stale = struct.pack("<Ii", 2, 16) + b"\x02\x00" + bytes(6) + struct.pack("<Ii", 0, -14)
    parts = head + stale + vector((0x1000, 5, b""), (0x2000, 3, b""))
    event = call("recvmsg", 99, STALE, 0, ret=-EBADF, captures={0: Capture(parts, 56)})

    assert event.args.msg == {"name": "0x5000", "iov": BASES, "control": "0x7000", "flags": "0"}
    assert event.unreadable == []
