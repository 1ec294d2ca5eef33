"""Older levels, forced on the live kernel: the same events, and an account that adds up whatever is lost."""

import itertools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kernel.live import Traced, args_of, assert_adds_up, hide_addresses, trace
from traceleft import BufferOptions, ProbeOptions
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.cli import main as cli
from traceleft.errors import TraceleftError, UnsupportedError
from traceleft.generator import generate
from traceleft.tracer import Tracer

pytestmark = pytest.mark.kernel
LEVELS: Final = ("5.8", "4.18", "4.11")
FORCED: Final = [("4.18", "raw_tracepoint"), ("4.18", "tracepoint"), ("4.11", "tracepoint")]
EVENTS: Final = (
    "execve,openat,open,read,newfstatat,close,rename,writev,readlinkat,socket,connect,getsockname,getpeername,socketpair,"
    "sendmsg,poll,recvfrom,newuname,nanosleep,clock_nanosleep,mmap,munmap,clone,wait4,exit_group,getppid"
)
CALLS: Final = 100_000
LOOP: Final = """
#include <sys/syscall.h>
#include <unistd.h>
int main(void) { for (int i = 0; i < 100000; i++) syscall(SYS_getppid); return 0; }
"""


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Battery:
    """A battery of some syscalls for all of the levels."""
    place = tmp_path_factory.mktemp("levels")
    generate(None, expressions=[EVENTS], output=place / "generated")
    build(place / "generated", place / "battery", levels=LEVELS)
    return Battery.open(place / "battery")


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that makes one call of each kind."""
    program = tmp_path_factory.mktemp("hooks") / "hooks"
    source = Path(__file__).parents[1] / "programs/hooks.c"
    subprocess.run(["gcc", "-static", "-O1", "-o", program, source], check=True, timeout=120)
    return program


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that calls getppid many times."""
    program = tmp_path_factory.mktemp("loop") / "loop"
    subprocess.run(["gcc", "-static", "-O1", "-xc", "-", "-o", program], input=LOOP.encode(), check=True, timeout=120)
    return program


def told(traced: Traced) -> list[tuple[Any, ...]]:
    """What each thread did, less what differs from run to run, and environments: old levels show less of them."""
    tids = list(dict.fromkeys(event.tid for event in traced.events))
    lines = []
    for event in sorted(traced.events, key=lambda event: tids.index(event.tid)):
        arguments = {name: value for name, value in args_of(event).items() if name not in ("envp", "statbuf")}
        text = json.dumps(hide_addresses(arguments)).replace(str(tids[-1]), "child")
        text = re.sub(r'"port": [0-9]{5}', '"port": "a local one"', text)
        returned = event.ret if event.ret is None or abs(event.ret) < 1000 else "large"
        lines.append((tids.index(event.tid), event.event, text, returned, event.error, event.comm))
    return lines


@pytest.mark.parametrize(("level", "hook"), FORCED)
def test_old_level_sees_what_the_newest_sees(levels: Battery, hooks: Path, level: str, hook: str) -> None:
    newest = trace(levels, [hooks], follow=True, hook=hook, level="5.8")
    forced = trace(levels, [hooks], follow=True, hook=hook, level=level)

    assert (forced.tracer.level, forced.tracer.hook) == (level, hook)
    assert told(forced) == told(newest)
    assert len(forced.events) > 20


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_lost_of_many_calls(levels: Battery, loop: Path, level: str) -> None:
    # Room for all of them: on a busy machine nobody may read for as long as they take.
    traced = trace(levels, [loop], "getppid", level=level, pages=8192)

    total = traced.tracer.ledger.total
    assert (total.emitted, total.delivered, total.lost) == (CALLS, CALLS, 0)


@pytest.mark.parametrize("level", LEVELS)
def test_overrun_of_a_tiny_buffer_adds_up_exactly(levels: Battery, loop: Path, level: str) -> None:
    with Tracer(
        levels,
        command=[str(loop)],
        events=["getppid"],
        probes=ProbeOptions(level=level),
        buffers=BufferOptions(pages=1),
    ) as tracer:
        tracer.run()

    total = tracer.ledger.total
    assert total.lost > 0
    assert total.delivered + total.lost == total.emitted == CALLS
    assert tracer.ledger.overfull is None
    assert_adds_up(tracer)


@pytest.mark.parametrize("level", LEVELS)
def test_events_of_all_cpus_come_in_order(levels: Battery, loop: Path, level: str) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    script = "; ".join(f"taskset -c {cpu} {loop} &" for cpu in cpus).replace("&;", "&") + " wait"

    traced = trace(levels, ["sh", "-c", script], "getppid", follow=True, level=level)

    stamps = [event.ts for event in traced.events]
    assert {event.cpu for event in traced.events} == set(cpus)
    assert sum(later < earlier for earlier, later in itertools.pairwise(stamps)) <= traced.tracer.ledger.late


def test_highest_level_is_taken_where_none_is_asked_for(levels: Battery) -> None:
    assert Tracer(levels, events=["openat"]).level == "5.8"


def test_hook_that_a_level_lacks_is_refused(levels: Battery) -> None:
    with pytest.raises(UnsupportedError, match="this level has none; use --attach tracepoint"):
        Tracer(levels, events=["openat"], probes=ProbeOptions(level="4.11", hook="raw_tracepoint"))


@pytest.mark.parametrize("level", ["4.4", "4.5"], ids=["not held", "unknown"])
def test_level_that_cannot_be_had_is_refused(levels: Battery, level: str) -> None:
    with pytest.raises(TraceleftError, match="level"):
        Tracer(levels, events=["openat"], probes=ProbeOptions(level=level))


@pytest.mark.parametrize("level", ["4.4", "4.5"], ids=["not held", "unknown"])
def test_command_line_refuses_it_in_one_line(levels: Battery, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["trace", "--battery", str(levels.path), "--level", level, "--", "true"])

    captured = capsys.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (1, "", 1)
    assert level in captured.err


def test_command_line_forces_a_level(levels: Battery, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--battery", str(levels.path), "--level", "4.11", "--format", "json", "-e", "execve"]

    assert cli.main(["trace", *options, "--", "true"]) == 0

    event = json.loads(capfd.readouterr().out)
    assert (event["event"], event["cgroup_id"]) == ("execve", 0)
