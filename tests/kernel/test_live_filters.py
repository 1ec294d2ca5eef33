"""What the kernel filters, orders, counts and loses, on the live kernel."""

import itertools
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kernel.live import HOOKS, Traced, args_of, assert_adds_up, result, trace
from traceleft import BufferOptions, CountOptions, FilterOptions, ProbeOptions
from traceleft.battery import Battery
from traceleft.tracer import Tracer

pytestmark = pytest.mark.kernel

MARKS: Final = 1_000_000
NUMBER: Final = 200_000


def run(*arguments: object, timeout: float = 100) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "traceleft", "trace", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize(
    ("options", "marks", "returned"),
    [
        ({}, [1, 2, 6], [True, False]),
        ({"follow": True}, [1, 2, 3, 4, 5, 6], [True, False]),
        ({"follow": True, "uid": 0}, [1, 2, 3, 6], [True, False]),
        ({"follow": True, "uid": 12345}, [4, 5], [True, False]),
        ({"follow": True, "comm": "first"}, [1, 5], [True, False]),
        ({"follow": True, "comm": "second and long"}, [2, 3, 4, 6], [True, False]),
        ({"follow": True, "comm": "firs"}, [], []),
        ({"follow": True, "comm": "first", "uid": 12345}, [5], [True, False]),
        ({"comm": "first", "uid": 12345}, [], []),
        ({"follow": True, "uid": 12345, "failed_only": True}, [4, 5], [False]),
        ({"follow": True, "uid": 12345, "success_only": True}, [], [True]),
        ({"follow": True, "comm": "first", "errno": 3}, [1, 5], [False]),
        ({"follow": True, "comm": "first", "errno": 2}, [], []),
    ],
    ids=str,
)
@pytest.mark.parametrize("hook", HOOKS)
def test_filters_hold_together_at_each_call(
    battery: Battery, programs: Path, hook: str, options: dict[str, Any], marks: list[int], returned: list[bool]
) -> None:
    traced = trace(battery, [programs / "live_identity"], "getpgid", hook=hook, **options)
    failed = [args_of(event)["pid"] - MARKS for event in traced.events if event.error]

    assert sorted(failed) == (marks if False in returned else [])
    assert {event.error is None for event in traced.events} == set(returned)
    assert {event.error for event in traced.events} <= {None, "ESRCH"}


@pytest.mark.parametrize("hook", HOOKS)
def test_everything_is_traced_but_ourselves(battery: Battery, programs: Path, hook: str) -> None:
    with Tracer(battery, events=["getpgid,openat"], probes=ProbeOptions(hook=hook)) as tracer:
        subprocess.run([programs / "live_identity"], check=True)
        threads = [threading.Thread(target=os.getpgid, args=(os.getpid(),)) for _ in range(8)]
        for thread in threads:
            thread.start()
            thread.join()
        events = list(tracer.events(duration_s=0.3))
    assert_adds_up(tracer)
    marks = [args_of(event)["pid"] - MARKS for event in Traced(events, tracer).named("getpgid") if event.error]

    assert sorted(marks) == [1, 2, 3, 4, 5, 6]
    assert os.getpid() not in {event.pid for event in events}


def test_events_of_two_processors_come_in_order_of_time(battery: Battery, programs: Path) -> None:
    processors = sorted(os.sched_getaffinity(0))[:2]
    command = " & ".join(f"{programs}/live_storm 20000 {cpu}" for cpu in processors)
    traced = trace(battery, ["sh", "-c", f"{command}; wait"], "openat", follow=True, comm="live_storm")
    stamps = [event.ts for event in traced.events]

    assert len(stamps) == 20_000 * len(processors)
    assert {event.cpu for event in traced.events} == set(processors)
    assert sum(a > b for a, b in itertools.pairwise(stamps)) == traced.tracer.ledger.late == 0
    for cpu in processors:
        sequence = [event.seq for event in traced.events if event.cpu == cpu]
        assert sequence == sorted(sequence)


@pytest.mark.parametrize("events", ["openat", "openat,getppid,close", ""], ids=["one", "three", "all"])
def test_buffer_that_is_too_small_loses_what_it_says(battery: Battery, programs: Path, events: str) -> None:
    seen: Counter[str] = Counter()
    chosen = [events] if events else []
    with Tracer(
        battery, command=[str(programs / "live_storm"), "20000"], events=chosen, buffers=BufferOptions(pages=1)
    ) as tracer:
        tracer.on(",".join(tracer.specs), lambda event: seen.update([event.event]))
        tracer.run()
    assert_adds_up(tracer)
    ledger = tracer.ledger

    assert ledger.total.lost > 0
    assert ledger.by_event["openat"].emitted == 20_000
    assert {name: figures.delivered for name, figures in ledger.by_event.items() if figures.delivered} == seen
    for figures in (*ledger.by_event.values(), *ledger.by_cpu.values()):
        assert figures.delivered + figures.lost == figures.emitted
    if "getppid" in ledger.by_event:
        assert ledger.by_event["getppid"].emitted == 5_000
        assert ledger.by_event["close"].emitted == 2_500


def test_two_hundred_thousand_calls_are_all_delivered(kernel_battery: Path, programs: Path, tmp_path: Path) -> None:
    output, account = tmp_path / "events", tmp_path / "ledger"
    where = ("--battery", kernel_battery, "--format", "json", "-o", output, "--ledger", account, "--fail-on-loss")

    done = run(*where, "-e", "openat", "--", programs / "live_storm", NUMBER)

    assert done.returncode == 0, done.stderr
    ledger = json.loads(account.read_text())
    assert (ledger["emitted"], ledger["delivered"]) == (NUMBER, NUMBER)
    with output.open("rb") as lines:
        assert sum(1 for _ in lines) == NUMBER


@pytest.mark.parametrize("hook", HOOKS)
def test_counts_are_those_of_the_events(battery: Battery, programs: Path, hook: str) -> None:
    command = [str(programs / "live_storm"), "400"]
    events = "openat,getppid,close,exit_group,sched_setaffinity,execve"
    traced = trace(battery, [*command, "0"], events, hook=hook)
    with Tracer(
        battery,
        command=[*command, "0"],
        events=[events],
        counts=CountOptions(counting="only"),
        probes=ProbeOptions(hook=hook),
    ) as tracer:
        tracer.run()

    counted = {name: count.calls for name, count in tracer.counts.items() if count.calls}
    failed = {name: count.errors for name, count in tracer.counts.items() if count.errors}
    assert counted == Counter(event.event for event in traced.events)
    assert counted == {"openat": 400, "getppid": 100, "close": 50, "exit_group": 1, "sched_setaffinity": 1, "execve": 1}
    assert failed == {"openat": 400, "close": 50}
    assert tracer.ledger.total.emitted == 0


def test_counting_too_counts_what_it_shows(battery: Battery, programs: Path) -> None:
    command = [str(programs / "live_storm"), "100"]
    with Tracer(
        battery,
        command=command,
        events=["openat,close"],
        filters=FilterOptions(errno=9),
        counts=CountOptions(counting="too"),
    ) as tracer:
        events = list(tracer)

    assert {name: count.calls for name, count in tracer.counts.items() if count.calls} == {"close": 13}
    assert Counter(event.event for event in events) == {"close": 13}


@pytest.mark.parametrize("hook", HOOKS)
def test_duration_is_the_time_that_a_call_took(battery: Battery, programs: Path, hook: str) -> None:
    traced = trace(battery, ["sleep", "0.02"], "clock_nanosleep,openat", hook=hook, durations=True)
    (slept,) = traced.named("clock_nanosleep")
    times = [event.duration_ns for event in traced.named("openat")]

    assert slept.duration_ns is not None
    assert 20_000_000 <= slept.duration_ns < 500_000_000
    assert times
    assert all(each is not None and 0 < each < 500_000_000 for each in times)


def test_descriptors_are_shown_with_what_they_are(kernel_battery: Path) -> None:
    code = (
        "import os, socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "file = os.open('/etc/hostname', 0)\n"
        "os.read(file, 1)"
    )
    where = ("--battery", kernel_battery, "-y", "-e", "openat,socket,listen,read,close")

    done = run(*where, "--", sys.executable, "-I", "-S", "-c", code)

    # Its addresses are known where the reader asks while the program still runs.
    assert re.search(r"listen\(fd: 3<(socket|TCP:\[)", done.stdout)
    assert "read(fd: 4</etc/hostname>, " in done.stdout


def test_exec_signal_and_state_of_a_socket_are_events(battery: Battery) -> None:
    code = (
        "import os, signal, socket\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname())\n"
        "print(server.getsockname()[1], client.getsockname()[1])\n"
        "client.close(); server.accept()[0].close()\n"
    )
    names = "sched:sched_process_exec,signal:signal_generate,sock:inet_sock_set_state"
    read, write = os.pipe()
    stdout = os.dup(1)
    os.dup2(write, 1)
    try:
        traced = trace(battery, ["sh", "-c", f'exec {sys.executable} -I -S -c "{code}"'], names)
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(write)
    with os.fdopen(read) as lines:
        server, client = map(int, lines.read().split())
    (signalled,) = traced.named("signal:signal_generate")
    executed = traced.named("sched:sched_process_exec")
    states = [args_of(event) for event in traced.named("sock:inet_sock_set_state")]

    assert {event.ret for event in traced.events} == {None}
    assert args_of(executed[-1])["filename"] == sys.executable
    assert args_of(executed[-1])["pid"] == args_of(executed[-1])["old_pid"] == executed[-1].pid
    assert args_of(signalled)["sig"] == "SIGUSR1"
    assert args_of(signalled)["pid"] == signalled.pid
    connected = [each for each in states if (each["sport"], each["dport"]) == (client, server)]
    moves = [(each["oldstate"], each["newstate"]) for each in connected]
    assert ("TCP_SYN_SENT", "TCP_ESTABLISHED") in moves
    assert {(each["family"], each["protocol"]) for each in states} == {("AF_INET", "IPPROTO_TCP")}
    assert {(each["saddr"], each["daddr"]) for each in connected} == {("127.0.0.1", "127.0.0.1")}
    assert {each["saddr_v6"] for each in connected} == {"::ffff:127.0.0.1"}
    assert ("TCP_CLOSE", "TCP_LISTEN") in [
        (each["oldstate"], each["newstate"]) for each in states if each["sport"] == server
    ]


def test_failed_calls_alone_are_shown_by_their_error(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_storm", 8], "openat,close,getppid", failed_only=True)

    assert Counter(result(event) for event in traced.events) == {"ENOENT": 8, "EBADF": 1}


def test_exec_that_starts_the_command_is_an_event_of_its_tracepoint(battery: Battery) -> None:
    traced = trace(battery, ["/bin/sh", "-c", "/bin/true; /bin/true"], "sched:sched_process_exec", follow=True)

    assert [args_of(event)["filename"] for event in traced.events] == ["/bin/sh", "/bin/true", "/bin/true"]
