"""Signals and the ends of threads, as lines of strace's and as events."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.live import HOOKS, Traced, trace, without_btf
from traceleft.battery import Battery
from traceleft.errors import UnsupportedError
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.text import Line, TextOptions
from traceleft.tracer.schema import tasks

pytestmark = pytest.mark.kernel

TOLD = "signal,process_exit"


def show(traced: Traced) -> list[str]:
    """Return the lines of signals and ends, with the numbers of processes by rank in place of theirs."""
    events = traced.named(*tasks.NAMES)
    ranks: dict[int, str] = {}
    for event in events:
        ranks.setdefault(event.tid, f"p{len(ranks)}")
    lines = []
    for event in events:
        text = Line(TextOptions(time="none")).show(event).partition("] ")[2]
        text = re.sub(r"si_pid=(\d+)", lambda found: f"si_pid={ranks.get(int(found[1]), 'other')}", text)
        lines.append(f"{ranks[event.tid]} {text}")
    return lines


def signal(number: str, rest: str) -> str:
    return f"--- {number} {{si_signo={number}, {rest}}} ---"


EXPECTED = [
    f"p0 {signal('SIGUSR1', 'si_code=SI_TKILL, si_pid=p0, si_uid=0')}",
    f"p0 {signal('SIGUSR1', 'si_code=SI_QUEUE, si_pid=p0, si_uid=0, si_int=7, si_ptr=0x7')}",
    f"p1 {signal('SIGSEGV', 'si_code=SEGV_MAPERR, si_addr=0x1234')}",
    "p1 +++ killed by SIGSEGV +++",
    f"p2 {signal('SIGTERM', 'si_code=SI_USER, si_pid=p0, si_uid=0')}",
    "p2 +++ killed by SIGTERM +++",
    # Who sent it, strace cannot know.
    f"p3 {signal('SIGKILL', 'si_code=SI_USER, si_pid=p0, si_uid=0')}",
    "p3 +++ killed by SIGKILL +++",
    "p4 +++ exited with 3 +++",
    "p5 +++ exited with 4 +++",
    f"p0 {signal('SIGCHLD', 'si_code=CLD_EXITED, si_pid=p5, si_uid=0, si_status=4, si_utime=0, si_stime=0')}",
    "p6 +++ exited with 0 +++",
    f"p0 {signal('SIGABRT', 'si_code=SI_TKILL, si_pid=p0, si_uid=0')}",
    "p0 +++ killed by SIGABRT +++",
]


@pytest.mark.parametrize("events", [TOLD, ""], ids=["alone", "with calls"])
@pytest.mark.parametrize("hook", HOOKS)
def test_lines_are_those_of_strace_and_name_who_sent_what_kills(
    battery: Battery, programs: Path, hook: str, events: str
) -> None:
    traced = trace(battery, [programs / "live_signals"], events, follow=True, hook=hook if not events else "auto")

    assert show(traced) == EXPECTED


@pytest.mark.parametrize("hook", HOOKS)
def test_one_process_alone_shows_its_own(battery: Battery, programs: Path, hook: str) -> None:
    traced = trace(battery, [programs / "live_signals"], f"{TOLD},openat", hook=hook)

    assert show(traced) == [
        *EXPECTED[:2],
        EXPECTED[10].replace("si_pid=p5", "si_pid=other"),
        "p1 +++ exited with 0 +++",
        *EXPECTED[-2:],
    ]


def test_json_has_them_as_events(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_signals"], TOLD, follow=True)
    lines: list[dict[str, Any]] = [json.loads(to_json_line(event)) for event in traced.events]
    (fault,) = (line for line in lines if line["args"].get("signal") == "SIGSEGV")

    assert fault["event"] == "signal"
    assert fault["args"]["info"] == {
        "si_signo": "SIGSEGV", "si_errno": 0, "si_code": "SEGV_MAPERR", "si_addr": "0x1234",
    }  # fmt: skip
    assert (fault["ret"], fault["error"], fault["duration_ns"]) == (None, None, None)
    assert [line["args"]["status"] for line in lines if line["event"] == "process_exit"] == [
        {"signaled": "SIGSEGV", "core_dumped": False},
        {"signaled": "SIGTERM", "core_dumped": False},
        {"signaled": "SIGKILL", "core_dumped": False},
        {"exited": 3},
        {"exited": 4},
        {"exited": 0},
        {"signaled": "SIGABRT", "core_dumped": False},
    ]


def test_threads_that_a_process_takes_with_it_end_once_each(battery: Battery, programs: Path) -> None:
    source = (
        "import os, threading, time\n"
        "[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(3)]\n"
        "os.kill(os.getpid(), 15)\n"
    )
    traced = trace(battery, [sys.executable, "-c", source], TOLD)
    ends = traced.named("process_exit")

    assert [event.args.signal for event in traced.named("signal")] == ["SIGTERM"]
    assert len({event.tid for event in ends}) == len(ends) == 4
    assert {str(event.args.status) for event in ends} == {"{'signaled': 'SIGTERM', 'core_dumped': False}"}


def test_signals_of_others_and_the_test_of_a_process_are_not_shown(battery: Battery) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        traced = trace(battery, ["sh", "-c", f"kill -0 $$; kill -TERM {other.pid}; exit 5"], TOLD)
    finally:
        other.wait()

    assert show(traced) == ["p0 +++ exited with 5 +++"]


def test_counting_counts_calls_alone(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_signals"], counting="only", follow=True)

    assert traced.events == []
    assert not set(traced.tracer.counts) & set(tasks.NAMES)


def test_without_offsets_what_kills_at_once_has_no_line_of_its_own(battery: Battery, programs: Path) -> None:
    with without_btf():
        traced = trace(battery, [programs / "live_signals"], "signal", follow=True)

    assert show(traced) == [*EXPECTED[:3], EXPECTED[10].replace("si_pid=p5", "si_pid=other"), EXPECTED[-2]]


def test_end_that_nothing_tells_is_refused_where_it_is_named(battery: Battery) -> None:
    with without_btf(), pytest.raises(UnsupportedError, match="process_exit: this kernel shows an exit status neither"):
        trace(battery, ["true"], "openat,process_exit")
