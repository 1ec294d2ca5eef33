"""The comparison finds what differs: a test that could not fail would prove nothing."""

from dataclasses import replace
from typing import Any

import pytest

from tests.differential.compare import Comparer
from tests.differential.notes import compare_note
from tests.differential.strace_text import Signal, parse_call, parse_told
from tests.differential.told import compare_told
from tests.differential.traces import compare_call

SETS = {
    "flags": {"mask": 3, "values": [[0, "RD"], [1, "WR"]], "bits": [[64, "CREAT"]], "width": 4},
    "signal": {"mask": 2**32 - 1, "values": [[1, "SIGHUP"], [2, "SIGINT"], [9, "SIGKILL"]], "bits": [], "width": 4},
}
STRUCTS = {
    "pair": {
        "members": [{"name": "a", "kind": "int", "width": 4}, {"name": "b", "kind": "set", "set": "flags", "width": 4}]
    },
    "siginfo": {
        "members": [
            {"name": "si_signo", "kind": "set", "set": "signal", "width": 4},
            {"name": "si_pid", "kind": "pid", "width": 4},
            {"name": "si_int", "kind": "int", "width": 4, "signed": True},
            {"name": "si_ptr", "kind": "pointer", "width": 8},
        ]
    },
}
FLAGS = {"kind": "set", "set": "flags", "width": 4}
INT = {"kind": "int", "width": 4}
STATUS = {"kind": "value", "element": {"kind": "wait_status", "width": 4}}
IOVEC = [{"base": "0x10", "len": 5, "data": "ab"}]
INET = {"family": "AF_INET", "addr": "127.0.0.1", "port": 80}
MESSAGE = {"name": None, "iov": IOVEC, "control": [{"type": "SCM_RIGHTS", "fds": [4]}], "flags": "RD"}


def comparer() -> Comparer:
    """Return a comparison of two traces in which threads are called by other numbers."""
    return Comparer(SETS, STRUCTS, {100: "first", 101: "second"}.get, {200: "first", 201: "second"}.get)


def differences(kind: dict[str, Any], ours: object, theirs: str, *, is_cut: bool = False) -> int:
    """Return how many differences there are in one argument."""
    ((_, value),) = parse_call(1, f"call({theirs}) = 0").args
    return len(list(comparer().argument("call.x", kind, ours, value, is_cut=is_cut)))


AGREE: dict[str, tuple[dict[str, Any], object, str]] = {
    "int": (INT, -1, "-1"),
    "flags": (FLAGS, "WR|CREAT|0x100", "WR|CREAT|0x100"),
    "dev": ({"kind": "dev", "width": 8}, 0xFE01, "makedev(0xfe, 1)"),
    "mode": ({"kind": "mode", "width": 2}, 0o100644, "S_IFREG|0644"),
    "pid": ({"kind": "pid", "width": 4}, 101, "201"),
    "address": ({"kind": "pointer", "width": 8}, "0x10", "0x10"),
    "null": ({"kind": "pointer", "width": 8}, None, "NULL"),
    "text": ({"kind": "path"}, "a\udcff\\\n", '"a\\377\\\\\\n"'),
    "struct": ({"kind": "struct", "struct": "pair"}, {"a": 1, "b": "RD"}, "{a=1, b=RD}"),
    "sent value": (
        {"kind": "struct", "struct": "siginfo"},
        {"si_pid": 101, "si_int": 7, "si_ptr": "0x7"},
        "{si_pid=201, si_int=7, si_ptr=0x7}",
    ),
    "array": ({"kind": "array", "element": INT}, [1, 2], "[1, 2]"),
    "status": (STATUS, {"exited": 3}, "[{WIFEXITED(s) && WEXITSTATUS(s) == 3}]"),
    "killed": (
        STATUS,
        {"signaled": "SIGKILL", "core_dumped": False},
        "[{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}]",
    ),
    "stopped": (STATUS, {"stopped": "SIGINT"}, "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGINT}]"),
    "ptraced": (
        STATUS,
        {"stopped": "SIGINT", "event": "PTRACE_EVENT_STOP"},
        "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGINT}|PTRACE_EVENT_STOP<<16]",
    ),
    "at a call": (STATUS, {"stopped": "SIGINT", "syscall": True}, "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGINT | 0x80}]"),
    "process": ({"kind": "path"}, "/proc/101/fd", '"/proc/201/fd"'),
    "error": (INT, 7, "E2BIG"),
    "priority": (INT, 0x6007, "IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 7)"),
    "register": (INT, 152, "8*RSP"),
    "debug register": (INT, 184, "8*SS+24"),
    "changed": ({"kind": "value", "element": INT, "direction": "inout"}, {"in": 128, "out": 16}, "[128 => 16]"),
    "strings": ({"kind": "strings"}, ["a", "b c"], '["a", "b c"]'),
    "sigset": ({"kind": "sigset"}, ["SIGHUP", "SIGINT"], "[HUP INT]"),
    "all but": ({"kind": "sigset"}, ["SIGHUP", "SIGINT"], "~[KILL]"),
    "fdset": ({"kind": "fdset"}, [0, 3], "[0 3]"),
    "iovec": ({"kind": "iovec"}, IOVEC, '[{iov_base="ab", iov_len=5}]'),
    "inet": ({"kind": "sockaddr"}, INET, '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}'),
    "unix": ({"kind": "sockaddr"}, {"family": "AF_UNIX", "path": "@x"}, '{sa_family=AF_UNIX, sun_path=@"x"}'),
    "message": (
        {"kind": "msghdr", "set": "flags"},
        MESSAGE,
        '{msg_iov=[{iov_base="ab", iov_len=5}], msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[4]}], msg_flags=RD}',
    ),
}

# What strace would show had one part been another.
PLANTED = {
    "int": "1",
    "flags": "WR|CREAT",
    "dev": "makedev(0xfe, 2)",
    "mode": "S_IFREG|0640",
    "pid": "200",
    "address": "0x18",
    "null": "0x10",
    "text": '"a\\376\\\\\\n"',
    "struct": "{a=1, b=WR}",
    "sent value": "{si_pid=201, si_int=7, si_ptr=0x8}",
    "array": "[1, 2, 3]",
    "status": "[{WIFEXITED(s) && WEXITSTATUS(s) == 4}]",
    "killed": "[{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL && WCOREDUMP(s)}]",
    "stopped": "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGHUP}]",
    "ptraced": "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGINT}]",
    "at a call": "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGINT}]",
    "process": '"/proc/200/fd"',
    "error": "EACCES",
    "priority": "IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 6)",
    "register": "8*SS",
    "debug register": "8*SS+32",
    "changed": "[128 => 28]",
    "strings": '["a", "b", "c"]',
    "sigset": "[HUP]",
    "all but": "~[INT]",
    "fdset": "[3]",
    "iovec": '[{iov_base="ac", iov_len=5}]',
    "inet": '{sa_family=AF_INET, sin_port=htons(81), sin_addr=inet_addr("127.0.0.1")}',
    "unix": '{sa_family=AF_UNIX, sun_path="x"}',
    "message": "{msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[5]}], msg_flags=RD}",
}


@pytest.mark.parametrize("name", AGREE)
def test_same_argument_agrees(name: str) -> None:
    kind, ours, theirs = AGREE[name]

    assert differences(kind, ours, theirs) == 0


@pytest.mark.parametrize("name", AGREE)
def test_planted_difference_is_found(name: str) -> None:
    kind, ours, _ = AGREE[name]

    assert differences(kind, ours, PLANTED[name]) == 1


def test_text_that_only_one_has_cut_differs() -> None:
    assert differences({"kind": "text"}, "ab", '"ab"...') == 1
    assert differences({"kind": "text"}, "ab", '"ab"', is_cut=True) == 1
    assert differences({"kind": "text"}, "ab", '"ab"...', is_cut=True) == 0


def test_number_where_strace_has_a_name_differs() -> None:
    assert differences(INT, 1, "WR") == 1


def test_member_that_we_lack_differs() -> None:
    assert differences({"kind": "struct", "struct": "pair"}, {"a": 1}, "{a=1, b=RD}") == 1


SPEC: dict[str, Any] = {
    "ret": {"kind": "int"},
    "args": [{"name": "fd", "index": 0, "kind": "fd", "width": 4}, {"name": "size", "index": 1, **INT}],
}


def places(ret: int, error: str | None, line: str) -> list[str]:
    """Return where a call of ours differs from strace's."""
    event = {"event": "call", "args": {"fd": 3, "size": 5}, "raw": [3, 5, 0, 0, 0, 0], "ret": ret, "error": error}
    return [found.place for found in compare_call(comparer(), SPEC, event, parse_call(1, line))]


def test_results_and_errors_are_compared() -> None:
    assert places(7, None, "call(3, 5) = 7") == []
    assert places(7, None, "call(3, 5) = 8") == ["call.ret"]
    assert places(-2, "ENOENT", "call(3, 5) = -1 ENOENT (No such file)") == []
    assert places(-2, "ENOENT", "call(3, 5) = -1 EPERM (Not permitted)") == ["call.ret"]
    assert places(0, None, "call(3, 5) = ?") == ["call.ret"]


def test_argument_that_strace_leaves_out_is_told() -> None:
    assert places(7, None, "call(3) = 7") == ["call.size.shown"]


@pytest.mark.parametrize(("note", "found"), [("[{fd=3, revents=RD}]", 1), ("[{fd=3, revents=CREAT}]", 0)])
def test_what_poll_found_is_compared(note: str, found: int) -> None:
    members = [{"name": "fd", **INT}, {"name": "revents", **FLAGS}]
    both = Comparer(SETS, {"pollfd": {"members": members}}, str, str)
    kind = {"name": "ufds", "kind": "array", "element": {"kind": "struct", "struct": "pollfd"}}
    event = {"event": "poll", "args": {"ufds": [{"fd": 3, "revents": "CREAT"}, {"fd": 4, "revents": "0"}]}}
    call = parse_call(1, f"poll(0x10, 2, 0) = 1 ({note})")

    assert len(list(compare_note(both, {"args": [kind]}, event, call))) == found


HUP = {"event": "signal", "args": {"signal": "SIGHUP", "info": {"si_signo": "SIGHUP", "si_pid": 101}}}
KILL = {"event": "signal", "args": {"signal": "SIGKILL", "info": {"si_signo": "SIGKILL", "si_pid": 101}}}
KILLED = {"event": "process_exit", "args": {"status": {"signaled": "SIGKILL", "core_dumped": False}}}


def told(*lines: str, ignored: bool = False) -> list[str]:
    """Return where the signals and the end of a thread of ours differ from strace's."""
    read = [told for text in lines if (told := parse_told(200, text))]
    theirs = [replace(line, is_ignored=ignored) if isinstance(line, Signal) else line for line in read]
    return [found.place for found in compare_told(comparer(), [HUP, KILL, KILLED], theirs)]


def test_signals_and_ends_are_paired_in_order() -> None:
    hup, killed = "--- SIGHUP {si_signo=SIGHUP, si_pid=201} ---", "+++ killed by SIGKILL +++"

    assert told(hup, killed) == ["signal.SIGKILL.ours_alone"]
    assert told(hup.replace("SIGHUP,", "SIGINT,"), killed) == ["signal.SIGHUP.si_signo", "signal.SIGKILL.ours_alone"]
    assert told(hup.replace("201", "200"), killed) == [
        "signal.SIGHUP.ours_alone",
        "signal.SIGKILL.ours_alone",
        "signal.SIGHUP.strace_alone",
    ]
    assert told(hup, "+++ exited with 9 +++") == ["signal.SIGKILL.ours_alone", "process_exit.status"]
    assert told(hup, "+++ superseded by execve in pid 9 +++") == [
        "signal.SIGKILL.ours_alone",
        "process_exit.superseded",
    ]
    assert told(hup) == ["signal.SIGKILL.ours_alone", "process_exit.ours_alone"]
    assert told(hup, killed, killed) == ["signal.SIGKILL.ours_alone", "process_exit.strace_alone"]


@pytest.mark.parametrize(("ignored", "place"), [(False, "strace_alone"), (True, "ignored")])
def test_signal_that_strace_has_alone_tells_whether_it_is_ignored(ignored: bool, place: str) -> None:
    chld, hup = "--- SIGCHLD {si_signo=SIGCHLD} ---", "--- SIGHUP {si_signo=SIGHUP, si_pid=201} ---"

    assert f"signal.SIGCHLD.{place}" in told(hup, chld, "+++ killed by SIGKILL +++", ignored=ignored)


def test_member_of_a_signal_that_strace_does_not_show_differs_unless_it_is_no_error() -> None:
    theirs = parse_told(200, "--- SIGHUP {si_signo=SIGHUP, si_pid=201} ---")
    info = {"si_signo": "SIGHUP", "si_pid": 101, "si_errno": 0}
    extra = [info, {**info, "si_errno": 7}, {**info, "si_uid": 0}]
    events = [{"event": "signal", "args": {"signal": "SIGHUP", "info": each}} for each in extra]
    assert isinstance(theirs, Signal)
    found = [[difference.place for difference in compare_told(comparer(), [event], [theirs])] for event in events]

    assert found == [[], ["signal.SIGHUP.si_errno.shown"], ["signal.SIGHUP.si_uid.shown"]]
