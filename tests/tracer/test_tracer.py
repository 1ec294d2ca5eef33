"""The tracer on the live kernel, with a real battery of a few events."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.refusals import assert_none_left
from tests.support.tracing import grouped
from traceleft import BufferOptions, CountOptions, FilterOptions, ProbeOptions, StackOptions
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.errors import CommandError, ExpressionError, ProbeError, TraceleftError, UnsupportedError
from traceleft.generator import generate
from traceleft.tracer import Tracer, _native
from traceleft.tracer.decode.event import Event
from traceleft.tracer.session.attach import convert_error
from traceleft.tracer.session.filters import Filters
from traceleft.tracer.session.options import Options
from traceleft.tracer.session.plan import Part, Plan
from traceleft.tracer.session.session import Session

pytestmark = pytest.mark.kernel
EVENTS = (
    "execve,exit_group,openat,close,getppid,clock_nanosleep,read,write,clone,clone3,vfork,wait4,"
    "sched:sched_process_exec,sched:sched_process_exit"
)
HOOKS = ("raw_tracepoint", "tracepoint")
CALLS = 20_000
CLOCK_NANOSLEEP = 230
LOOP = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(int argc, char **argv)
{
	for (long i = atol(argv[1]); i > 0; i--)
		syscall(SYS_openat, AT_FDCWD, "/no/such/file", 0, 0);
	return 0;
}
"""


@pytest.fixture(scope="module")
def battery(tmp_path_factory: pytest.TempPathFactory) -> Battery:
    place = tmp_path_factory.mktemp("battery")
    generate(None, expressions=[EVENTS], output=place / "generated")
    build(place / "generated", place / "battery", levels=["5.8"])
    return Battery.open(place / "battery")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("loop")
    (place / "loop.c").write_text(LOOP)
    subprocess.run(["gcc", "-O2", "-static", "-o", place / "loop", place / "loop.c"], check=True)
    return str(place / "loop")


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = attached()
    yield
    # The kernel frees programs a little after their last user is gone.
    assert_none_left(attached, before)


def attached() -> set[str]:
    """Return the programs and links in the kernel that are ours by their names, and our open files."""
    shown = {
        kind: subprocess.run(["bpftool", kind, "show"], capture_output=True, text=True, check=True).stdout
        for kind in ("prog", "link")
    }
    programs = re.findall(
        r"^\d+: .*name (?:on_|dispatch_|rollup_|raw_|tp_|kprobe|kretprobe|event_).*", shown["prog"], re.MULTILINE
    )
    links = re.findall(r"^\d+: \S+ .*", shown["link"], re.MULTILINE)
    names = {fd: Path(f"/dev/fd/{fd}") for fd in os.listdir("/dev/fd")}
    files = {f"{fd}: {path.readlink()}" for fd, path in names.items() if path.is_symlink()}
    return {*programs, *links, *(file for file in files if "bpf" in file or "perf" in file or "pipe" in file)}


def trace(battery: Battery, *command: str, **options: object) -> tuple[list[Event], Tracer]:
    with Tracer(battery, command=command, **grouped(**options)) as tracer:
        events = list(tracer)
    return events, tracer


@contextmanager
def spawn(code: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def adds_up(tracer: Tracer) -> bool:
    total = tracer.ledger.total
    return total.unaccounted == 0 and tracer.ledger.gaps == total.lost and total.undecodable == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_command_is_traced_from_its_first_instruction_to_its_end(
    battery: Battery, hook: str, nothing_left: None
) -> None:
    events, tracer = trace(battery, "sh", "-c", "exit 7", hook=hook, events=["execve,exit_group,openat"])

    assert [events[0].event, events[-1].event] == ["execve", "exit_group"]
    assert events[0].args.argv == ["sh", "-c", "exit 7"]
    assert events[-1].ret is None
    assert Counter(event.event for event in events)["execve"] == 1
    assert (tracer.status, tracer.hook) == (7, hook)
    assert tracer.ledger.total.emitted == tracer.ledger.total.delivered == len(events)
    assert adds_up(tracer)


@pytest.mark.parametrize("hook", HOOKS)
def test_no_child_of_many_is_missed(battery: Battery, hook: str) -> None:
    script = "for i in $(seq 100); do /bin/true & done; wait"
    events, tracer = trace(battery, "sh", "-c", script, hook=hook, follow=True, events=["execve,exit_group"])
    execs = [event for event in events if event.event == "execve" and event.args.filename == "/bin/true"]

    assert len(execs) == 100
    assert len({event.pid for event in execs}) == 100
    assert adds_up(tracer)


def test_children_are_left_alone_without_follow(battery: Battery) -> None:
    events, _ = trace(battery, "sh", "-c", "/bin/true; /bin/true; exit 0", events=["execve,exit_group,close"])

    assert len({event.pid for event in events}) == 1
    assert Counter(event.event for event in events)["execve"] == 1


@pytest.mark.parametrize("hook", HOOKS)
def test_running_process_is_traced_with_all_its_threads_until_it_ends(battery: Battery, hook: str) -> None:
    code = (
        "import os, sys, threading\n"
        "def call():\n    gate.wait()\n    for _ in range(50): os.getppid()\n"
        "gate = threading.Event()\n"
        "threads = [threading.Thread(target=call) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "print('ready', flush=True); sys.stdin.readline(); gate.set()\n"
        "[thread.join() for thread in threads]\n"
    )
    with spawn(code) as process:
        assert process.stdout and process.stdin and process.stdout.readline() == "ready\n"
        with Tracer(
            battery, pids=[process.pid], events=["getppid,exit_group"], probes=ProbeOptions(hook=hook)
        ) as tracer:
            process.stdin.write("go\n")
            process.stdin.flush()
            events = list(tracer)
    calls = [event for event in events if event.event == "getppid"]

    assert len(calls) == 200
    assert len({event.tid for event in calls}) == 4
    assert {event.pid for event in events} == {process.pid}
    assert all(event.ret == os.getpid() for event in calls)
    assert adds_up(tracer)


def test_exec_from_a_thread_that_does_not_lead_goes_on(battery: Battery) -> None:
    code = "import os, threading; threading.Thread(target=os.execv, args=('/bin/sh', ['sh', '-c', 'exit 4'])).start()"
    events, tracer = trace(battery, sys.executable, "-c", code, events=["execve,exit_group"])

    assert [event.event for event in events].count("execve") == 2
    assert events[-1].event == "exit_group"
    assert events[-1].tid == events[-1].pid
    assert tracer.status == 4


def test_every_call_of_a_fast_loop_is_accounted_for(battery: Battery, loop: str) -> None:
    with Tracer(battery, command=[loop, str(CALLS)], events=["openat"]) as tracer:
        tracer.run()
    total = tracer.ledger.total

    assert total.emitted == CALLS
    assert total.delivered + total.lost == CALLS
    assert adds_up(tracer)


def test_buffer_that_is_too_small_loses_exactly_what_is_not_delivered(battery: Battery, loop: str) -> None:
    seen: list[Event] = []
    with Tracer(battery, command=[loop, str(CALLS)], events=["openat"], buffers=BufferOptions(pages=1)) as tracer:
        tracer.on("openat", seen.append)
        tracer.run()
    total = tracer.ledger.total

    assert total.emitted == CALLS
    assert total.lost > 0
    assert len(seen) == total.delivered == CALLS - total.lost
    assert adds_up(tracer)
    assert "--buffer-pages 4" in tracer.ledger.warnings(buffer_pages=1)[0]


def test_events_come_in_order_of_time(battery: Battery) -> None:
    events, tracer = trace(battery, "sh", "-c", "for i in 1 2 3 4 5 6; do ls / >/dev/null & done; wait", follow=True)
    stamps = [event.ts for event in events]

    assert len(events) > 100
    assert sum(a > b for a, b in itertools.pairwise(stamps)) <= tracer.ledger.late
    assert abs(stamps[-1] - time.time_ns()) < 60 * 10**9


@pytest.mark.parametrize(
    ("option", "holds"),
    [
        ({"failed_only": True}, lambda event: event.error is not None),
        ({"success_only": True}, lambda event: event.error is None),
        ({"errno": 2}, lambda event: event.error == "ENOENT"),
        ({"comm": "cat"}, lambda event: event.comm == "cat"),
        ({"uid": os.getuid()}, lambda event: event.uid == os.getuid()),
    ],
    ids=str,
)
def test_filter_lets_through_what_it_names(
    battery: Battery, option: dict[str, object], holds: Callable[[Event], bool]
) -> None:
    script = "cat /etc/passwd /no/such/file >/dev/null 2>&1; exit 0"
    events, tracer = trace(battery, "sh", "-c", script, follow=True, events=["openat"], **option)

    assert events
    assert all(holds(event) for event in events)
    assert adds_up(tracer)


def test_filter_that_nothing_passes_gives_no_event(battery: Battery) -> None:
    events, tracer = trace(battery, "cat", "/etc/passwd", events=["openat"], uid=12345)

    assert (events, tracer.ledger.total.emitted) == ([], 0)


def test_cgroup_filter_takes_its_members(battery: Battery) -> None:
    mount = next(
        Path(line.split(" ")[1]) for line in Path("/proc/self/mounts").read_text().splitlines() if " cgroup2 " in line
    )
    group = mount / f"traceleft-test-{os.getpid()}"
    group.mkdir()
    try:
        script = f"cat /etc/passwd >/dev/null; echo $$ > {group}/cgroup.procs; cat /etc/group >/dev/null; exit 0"
        events, _ = trace(battery, "sh", "-c", script, follow=True, events=["openat"], cgroup=group)
    finally:
        group.rmdir()
    names = {event.args.filename for event in events}

    assert "/etc/group" in names
    assert "/etc/passwd" not in names


def test_cgroup_that_is_none_is_refused(battery: Battery, tmp_path: Path, nothing_left: None) -> None:
    with pytest.raises(UnsupportedError, match="cgroup v2"), Tracer(battery, filters=FilterOptions(cgroup=tmp_path)):
        pass


def test_call_that_is_unfinished_at_the_end_is_told(battery: Battery) -> None:
    with spawn("import time; input(); time.sleep(100)") as process:
        assert process.stdin
        with Tracer(battery, pids=[process.pid], events=["clock_nanosleep"]) as tracer:
            process.stdin.write("go on\n")
            process.stdin.flush()
            # It sleeps once the kernel has it wait in that call.
            while not Path(f"/proc/{process.pid}/syscall").read_text().startswith(f"{CLOCK_NANOSLEEP} "):
                time.sleep(0.01)
            events = list(tracer.events(duration_s=0.1))
        process.kill()

    assert events[-1].unfinished
    assert (events[-1].event, events[-1].pid, events[-1].ret) == ("clock_nanosleep", process.pid, None)
    assert tracer.ledger.total.delivered == len(events)
    assert adds_up(tracer)


def test_durations_are_those_of_the_calls(battery: Battery) -> None:
    events, _ = trace(battery, "sleep", "0.2", events=["clock_nanosleep"], durations=True)

    (slept,) = events
    assert slept.duration_ns is not None
    assert 0.2e9 <= slept.duration_ns < 60e9


def test_run_ends_after_a_time(battery: Battery) -> None:
    started = time.monotonic()
    with Tracer(battery, command=["sleep", "100"]) as tracer:
        tracer.run(duration_s=0.3)
        took = time.monotonic() - started

    assert 0.3 <= took < 60
    assert tracer.status == 128 + signal.SIGTERM
    assert adds_up(tracer)


def test_run_ends_after_a_number_of_events(battery: Battery, loop: str) -> None:
    seen: list[Event] = []
    with Tracer(battery, command=[loop, "5000"], events=["openat"]) as tracer:
        tracer.on("openat", seen.append)
        tracer.run(max_events=10)

    assert len(seen) == tracer.ledger.total.delivered == 10
    assert tracer.ledger.total.dropped == tracer.ledger.surplus
    assert not tracer.ledger.has_loss
    assert adds_up(tracer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signal_ends_the_trace_and_the_buffer_is_read(battery: Battery, number: signal.Signals) -> None:
    with spawn("import time, os\nprint('ready', flush=True)\nwhile 1: os.getppid(); time.sleep(0.01)") as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        with Tracer(battery, pids=[process.pid], events=["getppid"]) as tracer:
            tracer.on("getppid", lambda event: os.kill(os.getpid(), number) if tracer.signal is None else None)
            tracer.run()
        process.kill()

    assert tracer.signal == number
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert tracer.ledger.total.delivered == tracer.ledger.total.emitted > 0


def test_close_from_another_thread_releases_the_reader(battery: Battery, nothing_left: None) -> None:
    tracer = Tracer(battery, events=["getppid"], filters=FilterOptions(comm="nobody-has-this"[:15]))
    tracer.start()
    timer = threading.Timer(0.2, tracer.close)
    timer.start()

    assert list(tracer) == []
    timer.join()


def test_close_can_be_called_again_and_again(battery: Battery, nothing_left: None) -> None:
    tracer = Tracer(battery, events=["getppid"])
    tracer.close()
    tracer = Tracer(battery, events=["getppid"])
    tracer.start()
    for _ in range(3):
        tracer.close()

    assert adds_up(tracer)


def test_exception_of_a_callback_leaves_nothing(battery: Battery, nothing_left: None) -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        Tracer(battery, command=["cat", "/etc/passwd"], events=["openat"]) as tracer,
    ):
        tracer.on("openat", fail)
        tracer.run()

    assert tracer.ledger.total.delivered == 0
    assert adds_up(tracer)


def test_breaking_off_an_iteration_leaves_nothing(battery: Battery, nothing_left: None) -> None:
    with Tracer(battery, command=["cat", "/etc/passwd"], events=["openat"]) as tracer:
        for _ in tracer:
            break

    assert tracer.ledger.total.delivered == 1
    assert adds_up(tracer)


def test_object_that_does_not_load_leaves_nothing(battery: Battery, nothing_left: None) -> None:
    with Tracer(battery, events=["getppid,openat"]) as tracer:
        plan = tracer._plan
    broken = Part(plan.parts[1].spec, b"no object", plan.parts[1].programs)

    with (
        pytest.raises(ProbeError, match=broken.spec.name),
        Session(Plan(plan.hook, plan.core, (plan.parts[0], broken), plan.core_programs), Filters(), Options()),
    ):
        pass


def test_battery_of_before_stacks_is_traced_without_them(battery: Battery, nothing_left: None) -> None:
    # An event of the core: handlers of then have no such map either.
    tracer = Tracer(battery, events=["signal"])
    older = replace(tracer._plan, core=tracer._plan.core.replace(b"\0stacks\0", b"\0others\0"))

    with Session(older, Filters(), Options()) as session:
        assert "stacks" not in session.maps.fds
    with pytest.raises(UnsupportedError, match="-k: the battery is older than stacks"):
        Session(older, Filters(), Options(stacks=StackOptions())).__enter__()


def test_program_that_cannot_be_attached_leaves_nothing(battery: Battery, nothing_left: None) -> None:
    with (
        pytest.raises((ProbeError, UnsupportedError), match="kprobe"),
        Tracer(battery, probes=ProbeOptions(hook="kprobe")) as tracer,
    ):
        # A kernel that has kprobes attaches them.
        raise UnsupportedError(tracer.hook, "works here")


def test_async_iteration_yields_the_same_events(battery: Battery) -> None:
    async def collect() -> list[str]:
        with Tracer(battery, command=["cat", "/etc/passwd"], events=["openat,exit_group"]) as tracer:
            return [event.event async for event in tracer]

    names = asyncio.run(collect())

    assert names[-1] == "exit_group"
    assert "openat" in names


def test_batches_carry_columns(battery: Battery, loop: str) -> None:
    rows: list[int] = []
    with Tracer(battery, command=[loop, "1000"], events=["openat"]) as tracer:
        tracer.on_batch("openat", lambda batch: rows.extend(batch.to_numpy()["ret"].tolist()))
        tracer.run()

    assert rows == [-2] * 1000


def test_counting_in_the_kernel_makes_no_record(battery: Battery, loop: str) -> None:
    with Tracer(
        battery, command=[loop, "1000"], events=["openat,exit_group"], counts=CountOptions(counting="only")
    ) as tracer:
        tracer.run()
    count = tracer.counts["openat"]

    assert (count.calls, count.errors) == (1000, 1000)
    assert 0 < count.min_ns <= count.total_ns / 1000 <= count.max_ns
    assert tracer.counts["exit_group"].calls == 1
    assert tracer.ledger.total.emitted == 0


def test_tracepoint_event_is_traced_beside_syscalls(battery: Battery) -> None:
    names = ["execve,sched:sched_process_exec,sched:sched_process_exit"]
    events, tracer = trace(battery, "true", events=names)

    assert {event.event for event in events} == {"execve", "sched:sched_process_exec", "sched:sched_process_exit"}
    assert adds_up(tracer)


def test_tracepoint_of_another_format_is_refused(battery: Battery, nothing_left: None) -> None:
    with Tracer(battery, events=["sched:sched_process_exec"]) as tracer:
        plan = tracer._plan
    (part,) = plan.parts
    spec = replace(part.spec, format="sha256:" + "0" * 64)

    with (
        pytest.raises(ProbeError, match="sched:sched_process_exec: its format"),
        Session(
            Plan(plan.hook, plan.core, (Part(spec, part.data, part.programs),), plan.core_programs),
            Filters(),
            Options(),
        ),
    ):
        pass


def test_ourselves_are_never_traced(battery: Battery) -> None:
    with Tracer(battery, events=["getppid"]) as tracer:
        for _ in range(100):
            os.getppid()
        events = list(tracer.events(duration_s=0.2))

    assert os.getpid() not in {event.pid for event in events}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"pids": [1 << 22]}, UnsupportedError, "no such process"),
        ({"pids": [os.getpid()]}, UnsupportedError, "itself"),
        ({"command": ["no-such-command-anywhere"]}, CommandError, "not found in PATH"),
        ({"command": []}, CommandError, "not a valid name of a command"),
        ({"events": ["opneat"]}, ExpressionError, "openat"),
        ({"events": ["getppid", "!getppid"]}, TraceleftError, "no event"),
        ({"command": "ls -l"}, TraceleftError, r"write command=\['ls', '-l'\]"),
        ({"events": "openat"}, TraceleftError, r"events is a list, not a text: write events=\['openat'\]"),
        ({"hook": "uprobe"}, UnsupportedError, "raw_tracepoint"),
        ({"uid": -1}, UnsupportedError, "uid"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_loaded(
    battery: Battery, options: dict[str, object], error: type[TraceleftError], text: str
) -> None:
    with pytest.raises(error, match=text):
        Tracer(battery, **grouped(**options))


def test_pids_are_refused_in_another_pid_namespace(battery: Battery) -> None:
    code = (
        "from traceleft import Battery, Tracer\n"
        f"try: Tracer(Battery.open({str(battery.path)!r}), command=['true'])\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )

    assert done.stdout.startswith("pid namespace: pids seen here are not the kernel's")


def test_command_that_the_kernel_refuses_leaves_nothing(battery: Battery, tmp_path: Path, nothing_left: None) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)

    with pytest.raises(CommandError, match="exec format error"):
        trace(battery, str(broken))


def test_refusal_of_the_verifier_is_told_in_one_line() -> None:
    log = (
        "libbpf: prog 'x': BPF program load failed: Permission denied\n-- BEGIN PROG LOAD LOG --\n"
        "0: R1=ctx\nR1 invalid mem access 'scalar'\nprocessed 2 insns\n-- END PROG LOAD LOG --\n"
        "libbpf: failed to load object 'x'\n"
    )

    error = convert_error(_native.Error(13, "load", log), "openat")

    assert str(error) == "openat: cannot load: R1 invalid mem access 'scalar'"
    assert error.log == log
