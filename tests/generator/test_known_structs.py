"""The shipped structs, decoded from bytes as the kernel writes them."""

import struct
from typing import Any

import pytest

from tests.support.events import IN
from tests.support.records import Capture, Record, encode, schema_of
from traceleft.generator.tables import load_sets, load_structs
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.output.text import Line, TextOptions

TABLES: dict[str, Any] = {
    "sets": {name: dict(entry) for name, entry in load_sets().items()},
    "structs": {name: dict(entry) for name, entry in load_structs().items()},
}


def decode(name: str, data: bytes) -> Event:
    schema = schema_of({"name": "x", "kind": "struct", "struct": name, **IN}, tables=TABLES)
    spec = schema.events["probe"]
    return Decoder(spec, schema.tables).decode(encode(spec, Record((4096,), {0: Capture(data)})))


def text(event: Event) -> str:
    return Line(TextOptions(time="none")).show(event).partition("probe(x: ")[2].removesuffix(") = 0")


def siginfo(signo: int, code: int, rest: bytes) -> bytes:
    return (struct.pack("<iiii", signo, 0, code, 0) + rest).ljust(128, b"\0")


@pytest.mark.parametrize(
    ("data", "members"),
    [
        (siginfo(10, 0, struct.pack("<iI", 7, 1000)), "si_code: SI_USER, si_pid: 7, si_uid: 1000"),
        (siginfo(11, 0, struct.pack("<iI", 7, 1000)), "si_code: SI_USER, si_pid: 7, si_uid: 1000"),
        (siginfo(11, 1, struct.pack("<Q", 0xDEAD)), "si_code: SEGV_MAPERR, si_addr: 0xdead"),
        (
            siginfo(17, 1, struct.pack("<iIi4xqq", 7, 0, 3, 1, 2)),
            "si_code: CLD_EXITED, si_pid: 7, si_uid: 0, si_status: 3, si_utime: 1, si_stime: 2",
        ),
        (
            siginfo(17, 2, struct.pack("<iIi4xqq", 7, 0, 9, 1, 2)),
            "si_code: CLD_KILLED, si_pid: 7, si_uid: 0, si_status: SIGKILL, si_utime: 1, si_stime: 2",
        ),
        (
            siginfo(34, -1, struct.pack("<iIQ", 7, 0, 1 << 32 | 42)),
            "si_code: SI_QUEUE, si_pid: 7, si_uid: 0, si_int: 42, si_ptr: 0x10000002a",
        ),
        (
            siginfo(14, -2, struct.pack("<iiQ", 3, 1, 42)),
            "si_code: SI_TIMER, si_timerid: 3, si_overrun: 1, si_int: 42, si_ptr: 0x2a",
        ),
        (siginfo(29, 1, struct.pack("<qi", 65, 4)), "si_code: POLL_IN, si_band: 65, si_fd: 4"),
        (
            siginfo(31, 1, struct.pack("<QiI", 0x1000, 39, 0xC000003E)),
            "si_code: SYS_SECCOMP, si_call_addr: 0x1000, si_syscall: 39, si_arch: AUDIT_ARCH_X86_64",
        ),
    ],
    ids=["user", "fault by a process", "fault", "exited", "killed", "queued", "timer", "poll", "seccomp"],
)
def test_siginfo_shows_what_its_signal_and_code_fill_in(data: bytes, members: str) -> None:
    assert text(decode("siginfo", data)).partition("si_errno: 0, ")[2] == f"{members}}}"


def test_limit_without_end_has_its_name() -> None:
    event = decode("rlimit", struct.pack("<QQ", 1024, 2**64 - 1))

    assert event.args.x == {"rlim_cur": 1024, "rlim_max": "RLIM64_INFINITY"}


def test_times_that_mean_now_or_leave_have_their_names() -> None:
    assert text(decode("timespec", struct.pack("<qq", 0, (1 << 30) - 1))) == "{tv_sec: 0, tv_nsec: UTIME_NOW}"
    assert text(decode("timespec", struct.pack("<qq", 5, 6))) == "{tv_sec: 5, tv_nsec: 6}"
