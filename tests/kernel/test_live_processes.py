"""Processes and threads that come and go, and calls that end otherwise than by returning, on the live kernel."""

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.kernel.live import HOOKS, Traced, args_of, assert_adds_up, result, trace
from traceleft import ProbeOptions
from traceleft.battery import Battery
from traceleft.tracer import Tracer
from traceleft.tracer.decode.event import Event

pytestmark = pytest.mark.kernel
MARKS: Final = 1_000_000


def marks(traced: Traced) -> list[int]:
    """Return the numbers of the program's marks, in order of time."""
    return [args_of(event)["pid"] - MARKS for event in traced.named("getpgid")]


@contextmanager
def started(*command: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program until it says that it is ready; end it at the end."""
    words = [str(word) for word in command]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("hook", HOOKS)
def test_no_process_of_a_storm_is_missed(battery: Battery, programs: Path, hook: str) -> None:
    command = [programs / "live_processes", "storm", 1000]
    traced = trace(battery, command, "getpgid,exit_group,fork", follow=True, hook=hook)
    made = {event.ret for event in traced.named("fork")}

    assert sorted(marks(traced)) == list(range(1000))
    assert {event.pid for event in traced.named("getpgid")} == made
    assert len(made) == 1000
    assert len(traced.named("exit_group")) == 1001
    assert {event.ret for event in traced.named("exit_group")} == {None}


@pytest.mark.parametrize("hook", HOOKS)
def test_every_call_that_makes_a_process_is_followed(battery: Battery, programs: Path, hook: str) -> None:
    names = "fork,vfork,clone,clone3,execve,getpgid,exit_group,kill"
    traced = trace(battery, [programs / "live_processes", "births"], names, follow=True, hook=hook)
    made = traced.named("fork", "vfork", "clone", "clone3")
    children = {args_of(event)["pid"] - MARKS: event.pid for event in traced.named("getpgid")}

    assert sorted(event.event for event in made) == ["clone", "clone", "clone3", "fork", "vfork"]
    assert sorted(children) == [1, 2, 3, 4, 5]
    assert {event.ret for event in made} == set(children.values())
    (killed,) = traced.named("kill")
    assert (killed.pid, killed.ret) == (children[5], 0)
    (executed,) = [event for event in traced.named("execve") if event.pid == children[4]]
    assert (executed.ret, args_of(executed)["argv"]) == (0, ["live_processes"])
    assert Counter(event.pid for event in traced.named("exit_group"))[children[4]] == 1


@pytest.mark.parametrize("hook", HOOKS)
def test_all_threads_belong_to_the_command_and_children_do_not(battery: Battery, programs: Path, hook: str) -> None:
    traced = trace(battery, [programs / "live_processes", "threads", 50], "getpgid,exit,exit_group", hook=hook)

    assert sorted(marks(traced)) == [*range(50), *range(500, 550)]
    assert len({event.tid for event in traced.named("getpgid")}) == 50
    assert len({event.pid for event in traced.events}) == 1
    assert len(traced.named("exit")) == 50
    assert len(traced.named("exit_group")) == 1


def test_threads_go_on_when_their_leader_has_ended(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_processes", "leaderless"], "getpgid,exit,exit_group")
    (left,), (last,) = traced.named("exit"), traced.named("exit_group")

    assert left.tid == left.pid
    assert marks(traced) == list(range(8))
    assert last.tid != last.pid == left.pid
    assert args_of(last)["error_code"] == 5
    assert traced.tracer.status == 5


def test_trace_lasts_until_the_last_descendant_has_ended(battery: Battery, programs: Path) -> None:
    begun = time.monotonic()
    traced = trace(battery, [programs / "live_processes", "orphan"], "getpgid,exit_group", follow=True)

    assert time.monotonic() - begun > 0.7
    assert marks(traced) == [1]
    assert len(traced.named("exit_group")) == 3
    assert traced.tracer.status == 6


def test_trace_without_descendants_ends_with_the_command(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_processes", "orphan"], "getpgid,exit_group")

    assert marks(traced) == []
    assert [args_of(event)["error_code"] for event in traced.events] == [6]


def test_threads_born_while_the_trace_begins_are_found(battery: Battery, programs: Path) -> None:
    with started(programs / "live_processes", "breeding") as process:
        with Tracer(battery, pids=[process.pid], events=["getpgid,clone3,exit"]) as tracer:
            events = list(tracer.events(duration_s=2))
        assert_adds_up(tracer)
    traced = Traced(events, tracer)
    first = {event.tid: index for index, event in reversed(list(enumerate(events)))}
    made = [event.ret for event in traced.named("clone3") if event.ret and event.ret > 0]

    # Each chain goes on without a gap: all that a thread does is seen, and so is the thread that it makes.
    assert len(made) > 100
    assert [tid for tid in made[:-8] if tid not in first] == []
    assert {event.pid for event in events} == {process.pid}


@pytest.mark.parametrize("hook", HOOKS)
def test_interrupted_call_has_the_kernel_s_code_and_sigreturn_what_it_restored(
    battery: Battery, programs: Path, hook: str
) -> None:
    traced = trace(battery, [programs / "live_calls", "interrupted"], "pause,rt_sigreturn,tgkill", hook=hook)
    (paused,), first, last = traced.named("pause"), *traced.named("rt_sigreturn")

    assert paused.error == "ERESTARTNOHAND"
    if hook == "raw_tracepoint":
        assert first.error == "EINTR"
        assert last.ret == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_stopped_sleep_goes_on_by_restart_syscall(battery: Battery, programs: Path, hook: str) -> None:
    command = [programs / "live_calls", "stopped"]
    traced = trace(battery, command, "nanosleep,restart_syscall", follow=True, hook=hook)

    assert [(event.event, result(event)) for event in traced.events] == [
        ("nanosleep", "ERESTART_RESTARTBLOCK"),
        ("restart_syscall", 0),
    ]


@pytest.mark.parametrize("hook", HOOKS)
def test_call_that_its_caller_died_in_is_told_once(battery: Battery, programs: Path, hook: str) -> None:
    command = [programs / "live_calls", "killed"]
    traced = trace(battery, command, "read,fork,clone,kill", follow=True, hook=hook)
    (kill,), (read,) = traced.named("kill"), traced.named("read")

    assert read.pid == args_of(kill)["pid"]
    assert read.error == "ERESTARTSYS"


@pytest.mark.parametrize("options", [{}, {"failed_only": True}, {"errno": 18}, {"durations": True}], ids=str)
@pytest.mark.parametrize("hook", HOOKS)
def test_refused_call_never_takes_what_an_earlier_one_left(
    battery: Battery, programs: Path, hook: str, options: dict[str, bool]
) -> None:
    traced = trace(battery, [programs / "live_calls", "refused"], "nanosleep", hook=hook, **options)
    failed = [event for event in traced.events if event.error]

    assert [args_of(event)["rqtp"] for event in failed] == [{"tv_sec": 0, "tv_nsec": 2222}] * len(failed)
    assert [event.error for event in failed] == ["EXDEV"] * len(failed)
    assert [event.duration_ns for event in failed] == [None] * len(failed)
    # The call exits without having been entered: only there its arguments can still be seen.
    assert len(failed) == (1 if hook == "raw_tracepoint" else 0)


@pytest.mark.parametrize("hook", HOOKS)
def test_call_that_was_there_before_us_is_unfinished(battery: Battery, programs: Path, hook: str) -> None:
    with started(programs / "live_calls", "blocked") as process:
        with Tracer(battery, pids=[process.pid], events=["read"], probes=ProbeOptions(hook=hook)) as tracer:
            events = list(tracer.events(duration_s=0.3))
        assert_adds_up(tracer)

    (event,) = events
    assert (event.event, event.ret, event.unfinished) == ("read", None, True)
    assert (args_of(event)["fd"], args_of(event)["count"]) == (0, 5)
    assert event.tid == process.pid


def test_call_that_another_follows_is_no_longer_unfinished(battery: Battery, programs: Path) -> None:
    with started(programs / "live_calls", "blocked") as process:
        with Tracer(battery, pids=[process.pid], events=["read"]) as tracer:
            assert process.stdin
            process.stdin.write(b"bytes")
            process.stdin.flush()
            # The count of the read in which it waits next.
            while Path(f"/proc/{process.pid}/syscall").read_text().split()[3:4] != ["0x4"]:
                time.sleep(0.01)
            events = list(tracer.events(duration_s=0.3))
        assert_adds_up(tracer)

    assert [(result(event), args_of(event)["count"], event.unfinished) for event in events] == [
        (5, 5, False),
        (None, 4, True),
    ]


def test_calls_of_32_bit_code_are_counted_and_decoded_as_nothing(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_compat", "calls"])
    names = [event.event for event in traced.events]
    at = names.index("getpgid")

    assert traced.tracer.ledger.total.compat == 7
    assert names[at:] == ["getpgid"] * 7 + ["exit_group", "process_exit"]


def test_32_bit_program_is_counted_and_its_exec_seen(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_compat", "exec", programs / "compat"])
    last, end = traced.events[-2:]

    assert (last.event, end.event) == ("execve", "process_exit")
    assert (last.ret, args_of(last)["filename"]) == (0, str(programs / "compat"))
    assert args_of(last)["argv"] == ["other"]
    # write, an unknown call and getpid return; exit does not.
    assert traced.tracer.ledger.total.compat == 3


def test_exec_of_64_bit_code_by_a_32_bit_call_is_decoded_as_nothing_else(
    battery: Battery, programs: Path, tmp_path: Path
) -> None:
    shutil.copy(programs / "live_compat", tmp_path / "c")
    traced = trace(battery, [programs / "live_compat", "exec32", tmp_path / "c"])
    names = Counter(event.event for event in traced.events)
    plain: list[Event] = trace(battery, [programs / "live_compat"]).events

    # What the second image does is what it does when it is started by itself.
    assert names["munmap"] == 0
    assert names["exit_group"] == 1
    assert [event.event for event in traced.events][-len(plain) + 1 :] == [event.event for event in plain][1:]
