"""What became of a child, as wait tells it."""

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import pointer_schema
from tests.support.records import Capture, Record, encode
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.signals import SIGNALS, name_signal, show_wait_status, show_wait_text
from traceleft.tracer.decode.value import Value
from traceleft.tracer.output.text import Line, TextOptions


@pytest.mark.parametrize(
    ("status", "shown", "text"),
    [
        (0, {"exited": 0}, "{WIFEXITED(s) && WEXITSTATUS(s) == 0}"),
        (3 << 8, {"exited": 3}, "{WIFEXITED(s) && WEXITSTATUS(s) == 3}"),
        (9, {"signaled": "SIGKILL", "core_dumped": False}, "{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}"),
        (
            139,
            {"signaled": "SIGSEGV", "core_dumped": True},
            "{WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)}",
        ),
        (0x137F, {"stopped": "SIGSTOP"}, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}"),
        (0x857F, {"stopped": "SIGTRAP", "syscall": True}, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGTRAP | 0x80}"),
        (
            0x4057F,
            {"stopped": "SIGTRAP", "event": "PTRACE_EVENT_EXEC"},
            "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGTRAP} | PTRACE_EVENT_EXEC << 16",
        ),
        (0x99057F, {"stopped": "SIGTRAP", "event": "0x99"}, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGTRAP} | 0x99 << 16"),
        (0xFFFF, {"continued": True}, "{WIFCONTINUED(s)}"),
    ],
)
def test_status_tells_what_became_of_a_child(status: int, shown: Value, text: str) -> None:
    assert show_wait_status(status) == shown
    assert show_wait_text(show_wait_status(status)) == text


@given(st.integers(0, 2**16 - 1).filter(lambda status: status & 0xFF != 0xFF or status == 0xFFFF))
def test_status_is_read_as_libc_reads_it(status: int) -> None:
    shown = show_wait_status(status)

    assert ("exited" in shown) == os.WIFEXITED(status)
    assert ("signaled" in shown) == os.WIFSIGNALED(status)
    assert ("stopped" in shown) == (os.WIFSTOPPED(status) and not os.WIFCONTINUED(status))
    assert ("continued" in shown) == os.WIFCONTINUED(status)


@given(st.integers(-(2**31), 2**32 - 1))
def test_any_status_is_shown(status: int) -> None:
    assert show_wait_text(show_wait_status(status)).startswith("{WIF")


def test_signals_bear_the_names_of_this_machine() -> None:
    named = {number: signal.Signals(number).name for number in range(1, 32)}

    assert {number: name_signal(number) for number in named} == named | {6: "SIGABRT", 29: "SIGIO"}
    assert (name_signal(0), name_signal(34), name_signal(64), name_signal(65)) == ("0", "SIGRT_2", "SIGRT_32", "65")
    assert len(SIGNALS) == 64


@pytest.mark.parametrize(
    ("ret", "shown"), [(7, "[{WIFEXITED(s) && WEXITSTATUS(s) == 1}]"), (0, "0x7ffe0010")], ids=["a child", "none yet"]
)
def test_status_is_an_address_where_no_child_was_told_of(ret: int, shown: str) -> None:
    schema = pointer_schema("wait status")
    spec = schema.events["probe"]
    record = encode(spec, Record((0x7FFE0010, 0), {0: Capture(b"\0\1\0\0")}, ret=ret))

    line = Line(TextOptions(time="none")).show(Decoder(spec, schema.tables).decode(record))

    assert f"probe(x: {shown}, n: 0)" in line
