"""Reading what strace writes."""

from collections.abc import Sequence

import pytest

from tests.differential.dispositions import mark_ignored
from tests.differential.strace_text import (
    Call,
    Change,
    End,
    Items,
    Line,
    Signal,
    Struct,
    Text,
    Value,
    Word,
    parse_call,
    parse_trace,
    unescape,
)


def argument(text: str) -> Value:
    """Return the only argument of a call, read."""
    ((_, value),) = parse_call(1, f"call({text}) = 0").args
    return value


def calls_of(lines: Sequence[str]) -> list[Call]:
    """Return the calls of a trace."""
    return [line for line in parse_trace(lines) if isinstance(line, Call)]


VALUES: dict[str, Value] = {
    "0x7f12": Word("0x7f12"),
    "O_RDONLY|O_CLOEXEC": Word("O_RDONLY|O_CLOEXEC"),
    "0x4 /* FUTEX_??? */": Word("0x4"),
    "makedev(0xfe, 0)": Word("makedev(0xfe, 0)"),
    '"a, (b) \\"c\\" \\\\ ]"': Text(b'a, (b) "c" \\ ]'),
    '"cut"...': Text(b"cut", is_cut=True),
    "[]": Items(()),
    "[INT CHLD]": Items((Word("INT"), Word("CHLD"))),
    "~[RTMIN RT_1]": Items((Word("RTMIN"), Word("RT_1")), is_complement=True),
    '["a", "b", ...]': Items((Text(b"a"), Text(b"b")), is_cut=True),
    "[128 => 16]": Items((Change(Word("128"), Word("16")),)),
    "{a=1, b={c=[2]}, ...}": Struct((("a", Word("1")), ("b", Struct((("c", Items((Word("2"),))),))))),
    "[{WIFEXITED(s) && WEXITSTATUS(s) == 3}]": Items((Word("{WIFEXITED(s) && WEXITSTATUS(s) == 3}"),)),
    "{mtime=5 /* 1970-01-01T00:00:05+0000 */}": Struct((("mtime", Word("5")),)),
    '{inet_pton(AF_INET6, "::1", &sin6_addr)}': Struct((("", Word('inet_pton(AF_INET6, "::1", &sin6_addr)')),)),
}


@pytest.mark.parametrize(("text", "value"), VALUES.items(), ids=VALUES)
def test_value_is_read(text: str, value: Value) -> None:
    assert argument(text) == value


def test_escapes_stand_for_bytes() -> None:
    assert unescape(r"\n\t\0\18\377\x1b\\\"e") == b'\n\t\0\x018\xff\x1b\\"e'


def test_result_error_and_note_are_told_apart() -> None:
    failed = parse_call(1, 'open("x", O_RDONLY) = -1 ENOENT (No such file or directory)')
    restarted = parse_call(1, "pause() = ? ERESTARTNOHAND (To be restarted if no handler)")
    selected = parse_call(
        1, "select(4, [3], NULL, NULL, {tv_sec=1, tv_usec=0}) = 1 (in [3], left {tv_sec=0, tv_usec=9})"
    )

    assert (failed.ret, failed.error, failed.note) == ("-1", "ENOENT", "")
    assert (restarted.ret, restarted.error) == ("?", "ERESTARTNOHAND")
    assert (selected.ret, selected.error, selected.note) == ("1", "", "in [3], left {tv_sec=0, tv_usec=9}")


def test_names_of_arguments_are_kept() -> None:
    call = parse_call(1, "clone(child_stack=NULL, flags=SIGCHLD) = 7")

    assert call.args == (("child_stack", Word("NULL")), ("flags", Word("SIGCHLD")))


def test_calls_of_several_threads_are_put_together() -> None:
    calls = calls_of(
        [
            "10  wait4(-1,  <unfinished ...>",
            '11  write(1, "<unfinished ...>", 16) = 16',
            "11  +++ exited with 0 +++",
            "10  <... wait4 resumed>NULL, 0, NULL) = 11",
            "10  --- SIGCHLD {si_signo=SIGCHLD} ---",
        ]
    )

    assert [(call.tid, call.name, len(call.args), call.ret) for call in calls] == [
        (11, "write", 3, "16"),
        (10, "wait4", 4, "11"),
    ]


def test_exec_of_another_thread_goes_on_under_the_leader() -> None:
    lines = [
        "10  futex(0x10, FUTEX_WAIT, 11, NULL <unfinished ...>",
        '11  execve("/bin/true", ["true"], [] <unfinished ...>',
        "10  <... futex resumed>) = ?",
        "10  +++ superseded by execve in pid 11 +++",
        "10  <... execve resumed>) = 0",
    ]

    assert End(10, {}) in parse_trace(lines)
    assert [(call.tid, call.name, call.ret) for call in calls_of(lines)] == [(10, "futex", "?"), (10, "execve", "0")]


TOLD: dict[str, Line] = {
    "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL} ---": Signal(
        7,
        "SIGSEGV",
        Struct((("si_signo", Word("SIGSEGV")), ("si_code", Word("SEGV_MAPERR")), ("si_addr", Word("NULL")))),
    ),
    "--- SIGRT_2 {si_signo=SIGRT_2} ---": Signal(7, "SIGRT_2", Struct((("si_signo", Word("SIGRT_2")),))),
    "+++ exited with 3 +++": End(7, {"exited": 3}),
    "+++ killed by SIGTERM +++": End(7, {"signaled": "SIGTERM", "core_dumped": False}),
    "+++ killed by SIGSEGV (core dumped) +++": End(7, {"signaled": "SIGSEGV", "core_dumped": True}),
}


@pytest.mark.parametrize(("text", "told"), TOLD.items(), ids=TOLD)
def test_signals_and_ends_are_read(text: str, told: Line) -> None:
    assert list(parse_trace([f"7  {text}"])) == [told]


def test_stop_is_passed_over_and_what_is_unknown_is_refused() -> None:
    assert list(parse_trace(["7  --- stopped by SIGSTOP ---"])) == []
    with pytest.raises(ValueError, match="neither signal nor end"):
        list(parse_trace(["7  +++ gone away +++"]))


def ignored(*lines: str) -> list[tuple[int, str, bool]]:
    """Return the signals of a trace of thread 1 and its child 2, with whether the process ignores them."""
    marked = mark_ignored(parse_trace(lines), {1: (0,), 2: (0, 0)})
    return [(line.tid, line.name, line.is_ignored) for line in marked if isinstance(line, Signal)]


CHLD = "--- SIGCHLD {si_signo=SIGCHLD} ---"
HUP = "--- SIGHUP {si_signo=SIGHUP} ---"


def test_default_tells_whether_a_signal_is_ignored() -> None:
    assert ignored(f"1 {CHLD}", f"1 {HUP}") == [(1, "SIGCHLD", True), (1, "SIGHUP", False)]


def test_handler_ends_with_execve_and_an_ignored_signal_stays_ignored() -> None:
    found = ignored(
        "1 rt_sigaction(SIGCHLD, {sa_handler=0x10, sa_mask=[], sa_flags=0}, NULL, 8) = 0",
        "1 rt_sigaction(SIGHUP, {sa_handler=SIG_IGN, sa_mask=[], sa_flags=0}, NULL, 8) = 0",
        f"1 {CHLD}",
        '1 execve("a", ["a"], []) = 0',
        f"1 {CHLD}",
        f"1 {HUP}",
    )

    assert found == [(1, "SIGCHLD", False), (1, "SIGCHLD", True), (1, "SIGHUP", True)]


@pytest.mark.parametrize(("flags", "is_ignored"), [("SIGCHLD", False), ("CLONE_VM|CLONE_SIGHAND|CLONE_THREAD", True)])
def test_child_has_the_handlers_of_its_parent_and_a_thread_shares_them(flags: str, is_ignored: bool) -> None:
    found = ignored(
        "1 rt_sigaction(SIGCHLD, {sa_handler=0x10, sa_mask=[], sa_flags=0}, NULL, 8) = 0",
        f"1 clone(child_stack=NULL, flags={flags}) = 2",
        "1 rt_sigaction(SIGCHLD, {sa_handler=SIG_DFL, sa_mask=[], sa_flags=0}, NULL, 8) = 0",
        f"2 {CHLD}",
    )

    assert found == [(2, "SIGCHLD", is_ignored)]
