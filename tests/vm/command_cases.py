"""What the command line does at a level and hook: one function a case, which raises CommandError where it does not."""

import contextlib
import json
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.support import border, compat
from tests.support.command_line import (
    COMMAND,
    Background,
    CommandError,
    CommandLine,
    check_ledger,
    count,
    expect,
    own_bpf_files,
    read_events,
    run,
)
from traceleft.battery import Battery
from traceleft.tracer.kernel.formats import select_running
from traceleft.tracer.kernel.kprobes import read_syscall_symbols
from traceleft.tracer.kernel.levels import LEVELS

HOSTNAME: Final = "/etc/hostname"
# All events are chosen by the cases that need them all: to load some hundred objects takes long under emulation.
OF_STORM: Final = "openat,getppid,close"
STORM: Final = 40_000
BRIEF: Final = 800
THREADS: Final = 300
# Tracepoints of kernels below 4.15 hold one program.
ONE_PROGRAM: Final = "this kernel lets it have one only"
PAGES_OF_STORM: Final = 2
# What a static program opens and closes before main.
STARTS_MAX: Final = 20
# For both of two traces to show something more.
LOOK_S: Final = 2
# The kernel's names of calls that strace calls otherwise.
KERNEL_NAMES: Final = {
    "fstat": "newfstat",
    "lstat": "newlstat",
    "pread": "pread64",
    "sendfile": "sendfile64",
    "stat": "newstat",
    "umount2": "umount",
    "uname": "newuname",
}
TRACING: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
# A line of text: "02:14:59.343449 cat[27424] openat(", "name[27424/27425]" of a thread.
SHOWN: Final = re.compile(r"^[0-9:.]+ \S+\[\d+(?:/\d+)?\] (\w+)\(", re.MULTILINE)
# "02:14:59.343449 cat[27424] +++ exited with 0 +++", or a signal.
TOLD: Final = re.compile(r"^[0-9:.]+ \S+\[\d+(?:/\d+)?\] (?:\+\+\+|---) (.*)", re.MULTILINE)
OURS: Final = re.compile(r"^.*(?:libbpf|traceleft)_.*$", re.MULTILINE)


def trace_default(line: CommandLine) -> None:
    """The first example: all of a command's calls, which are those that strace sees."""
    done = line.run("trace", "--", "cat", HOSTNAME)
    shown, told = SHOWN.findall(done.stdout), TOLD.findall(done.stdout)
    check_ledger(line.ledger(), len(shown) + len(told))
    expect(told == ["exited with 0 +++"], f"tells {told}")
    expect(f'filename: "{HOSTNAME}"' in done.stdout, f"{HOSTNAME} is not shown: {done.stdout[:200]}")
    expect(shown[0] == "execve" and shown[-1] == "exit_group", f"shows {shown}")
    expect_same_calls(line, Counter(shown), ["cat", HOSTNAME])


def trace_expression(line: CommandLine) -> None:
    """Chosen events and no others."""
    found = count(line.trace("-e", "openat,close", "--", "cat", HOSTNAME))
    expect(set(found) == {"openat", "close"}, f"shows {dict(found)}")


def trace_pid(line: CommandLine) -> None:
    """A process that runs, and no other."""
    output = line.scratch / "events"
    with looping_shell() as looping:
        chosen = ("-e", "chdir", "--max-events", "20", "-p", str(looping.pid))
        line.run("trace", *chosen, "--format", "json", "-o", str(output))
    events, ledger = read_events(output), line.ledger()
    expect(len(events) == ledger["delivered"] == 20, f"{len(events)} of 20 events, {ledger['delivered']} delivered")
    expect({event["pid"] for event in events} == {looping.pid}, "events of another process")
    expect({event["args"]["filename"] for event in events} == {"/"}, f"shows {events[0]['args']}")
    # What comes after the last one is dropped.
    expect(
        ledger["lost"] == ledger["unaccounted"] == ledger["missed"] == 0,
        f"lost {ledger['lost']}, missed {ledger['missed']}",
    )


def trace_children(line: CommandLine) -> None:
    """A command's children as well."""
    events = line.trace("-f", "-e", "execve,openat,exit_group", "--", "sh", "-c", f"cat {HOSTNAME}; cat {HOSTNAME}")
    begun = [
        event["args"]["filename"].rpartition("/")[2]
        for event in events
        if event["event"] == "execve" and event["ret"] == 0
    ]
    expect(begun == ["sh", "cat", "cat"], f"began {begun}")
    expect(len({event["pid"] for event in events}) == 3, "three processes are not shown as three")
    opened = [event for event in events if event["event"] == "openat" and event["args"]["filename"] == HOSTNAME]
    expect(len(opened) == 2, f"{HOSTNAME} was opened twice, shown {len(opened)} times")
    expect(count(events)["exit_group"] == 3, f"shows {dict(count(events))}")


def counts(line: CommandLine) -> None:
    """The table of calls, under their own names, with their numbers."""
    done = line.run("trace", "-c", "-e", OF_STORM, "--", line.program("live_storm"), str(BRIEF))
    found = {
        words[-1]: int(words[3])
        for words in map(str.split, done.stdout.splitlines())
        if len(words) > 4 and words[3].isdigit()
    }
    expect_storm(Counter(found), BRIEF)


def stat(line: CommandLine) -> None:
    """The same by ``stat``."""
    done = line.run("stat", "--format", "json", "-e", OF_STORM, "--", line.program("live_storm"), str(BRIEF))
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    expect_storm(Counter({row["event"]: row["count"] for row in rows}), BRIEF)


def stacks(line: CommandLine) -> None:
    """Stacks of a program whose functions are known; refused where the level has none."""
    words = ("-k", "-e", "getppid", "--", line.program("stacks"))
    if LEVELS[line.level].is_stack:
        done = line.run("trace", *words, status=1)
        expect("has no maps of stacks" in done.stderr, done.stderr)
        return
    events = line.trace(*words)
    expect(bool(events), "no event")
    for event in events:
        names = [frame.partition("+")[0] for frame in event["stack"]["user"]]
        expect(names[:4] == ["make_call", "inner", "outer", "main"], f"stack {names}")


def record_and_replay(line: CommandLine) -> None:
    """A recording holds what a trace shows."""
    recording = line.scratch / "made.rec"
    recording.unlink(missing_ok=True)
    line.run("record", "-o", str(recording), "-e", OF_STORM, "--", line.program("live_storm"), str(BRIEF))
    check_ledger(line.ledger(), line.ledger()["emitted"])
    shown = line.scratch / "replayed"
    run([*COMMAND, "replay", "--format", "json", "-o", str(shown), str(recording)])
    events = read_events(shown)
    expect(len(events) == line.ledger()["delivered"], f"{len(events)} replayed of {line.ledger()['delivered']}")
    expect_storm(count(events), BRIEF)


def execs(line: CommandLine) -> None:
    """Calls of execve that fail and that do not, with what they were given."""
    script = "/nonexistent/program one; exec /bin/echo two 'three four'"
    events = line.trace("-f", "-e", "execve", "--", "sh", "-c", script)
    found = [(each["args"]["filename"], each["args"]["argv"], each["error"]) for each in events]
    # The script itself is longer than the text that is shown.
    expect(found[0][1][:2] == ["sh", "-c"] and found[0][2] is None, f"begins with {found[0]}")
    # The shell makes a child for what is not its last command.
    expect(
        sorted(found[1:])
        == [
            ("/bin/echo", ["/bin/echo", "two", "three four"], None),
            ("/nonexistent/program", ["/nonexistent/program", "one"], "ENOENT"),
        ],
        f"shows {found}",
    )
    comms = {each["args"]["filename"]: each["comm"] for each in events}
    expect(comms["/nonexistent/program"] == "sh", f"comm {comms}")


def old_calls(line: CommandLine) -> None:
    """Calls whose functions call those of newer calls are shown by their own names, once each."""
    events = line.trace("--", line.program("live_nested"))
    expect_same_calls(line, count(events), [line.program("live_nested")])


def interrupt(line: CommandLine) -> None:
    """Ctrl-C ends a trace with its account, and nothing stays."""
    with looping_shell() as looping:
        tracing = line.start("-e", "chdir", "-p", str(looping.pid))
        status = tracing.end(signal.SIGINT)
    expect(status in (0, 130), f"status {status}: {tracing.errors.read_text()[-200:]}")
    check_ledger(tracing.ledger(), len(tracing.events()))
    expect_nothing_stays()


def kill(line: CommandLine) -> None:
    """What a killed trace leaves the next one removes."""
    with looping_shell() as looping:
        line.start("-e", "chdir", "-p", str(looping.pid)).end(signal.SIGKILL)
    line.trace("-e", "getppid", "--", line.program("live_storm"), "8")
    expect_nothing_stays()


def two_tracers(line: CommandLine) -> str | None:
    """Two traces of the same process at once; where a tracepoint has room for one, the second chooses its level."""
    traces: list[Background] = []
    note = None
    with looping_shell() as looping:
        chosen = ("-e", "chdir", "-p", str(looping.pid))
        try:
            traces.append(line.start(*chosen, name="first"))
            try:
                traces.append(line.start(*chosen, name="second"))
            except CommandError as exc:
                expect(ONE_PROGRAM in str(exc), exc)
                traces.append(replace(line, level="", hook="auto").start(*chosen, name="second"))
                note = f"{ONE_PROGRAM}: without --level the second trace takes level 4.4"
                expect("level 4.4 is used" in traces[-1].errors.read_text(), "the second trace does not tell its level")
            before = [len(trace.events()) for trace in traces]
            time.sleep(LOOK_S)
            for trace, count_before in zip(traces, before, strict=True):
                expect(
                    len(trace.events()) > count_before, f"one of two traces shows no more than {count_before} events"
                )
        finally:
            for trace in traces:
                trace.end(signal.SIGINT)
    for trace in traces:
        ledger = trace.ledger()
        figures = {key: ledger[key] for key in ("emitted", "delivered", "undecodable", "unaccounted", "missed")}
        expect(ledger["unaccounted"] == ledger["undecodable"] == ledger["missed"] == 0, figures)
    expect_nothing_stays()
    return note


def storm(line: CommandLine) -> None:
    """More calls than a small buffer holds: each is delivered, lost or missed, and counted."""
    chosen = ("-e", OF_STORM, "--buffer-pages", str(PAGES_OF_STORM), "--format", "json")
    output = line.scratch / "events"
    line.run("trace", *chosen, "-o", str(output), "--", line.program("live_storm"), str(STORM))
    ledger = line.ledger()
    shown = len(read_events(output))
    output.unlink()
    ends = ("delivered", "lost", "dropped", "undecodable")
    figures = {key: ledger[key] for key in ("emitted", *ends, "unaccounted", "missed")}
    made = STORM + STORM // 4 + STORM // 8
    expect(shown == ledger["delivered"], f"{shown} shown of {figures}")
    expect(ledger["emitted"] == sum(ledger[key] for key in ends), figures)
    expect(ledger["unaccounted"] == 0, figures)
    expect(made <= ledger["emitted"] + ledger["missed"] <= made + STARTS_MAX, f"{made} made, {figures}")


def page_borders(line: CommandLine) -> None:
    """What ends on the last byte of a page is shown whole."""
    border.check_border(
        line.trace("-v", "-s", "64", "-e", border.EVENTS, "--", line.program("live_border")), line.level
    )


def calls_of_32_bits(line: CommandLine) -> None:
    """Calls by ``int 0x80`` are counted and not decoded as others."""
    events = line.trace("-e", compat.MANY, "--", line.program("live_compat"), "calls")
    # Below 4.17 no function of a syscall has a wrapper for each table.
    shared = 0 if "__x64_sys_getppid" in read_syscall_symbols() else compat.SHARED_COUNTS["many"]
    compat.check_compat("calls", line.level, events, line.ledger()["compat"], shared=shared)


def blocked_threads(line: CommandLine) -> None:
    """300 threads that wait in read() at once: each return is shown, or counted where the kernel follows fewer."""
    output = line.scratch / "events"
    line.run("trace", "-e", "read", "--format", "json", "-o", str(output), "--", line.program("live_blocked"))
    ledger, shown = line.ledger(), len(read_events(output))
    figures = {key: ledger[key] for key in ("emitted", "delivered", "lost", "unaccounted", "missed")}
    expect(shown == ledger["delivered"] == ledger["emitted"], f"{shown} shown of {figures}")
    expect(ledger["emitted"] + ledger["missed"] == THREADS, f"{THREADS} made, {figures}")
    expect(ledger["missed"] == 0 or not follows_many(line), f"missed although the kernel can follow them: {figures}")


# A case may return a note on what it saw.
CASES: Final[Mapping[str, Callable[[CommandLine], str | None]]] = {
    "trace": trace_default,
    "trace -e": trace_expression,
    "trace -p": trace_pid,
    "trace -f": trace_children,
    "trace -c": counts,
    "trace -k": stacks,
    "stat": stat,
    "record, replay": record_and_replay,
    "execs": execs,
    "old calls": old_calls,
    "Ctrl-C": interrupt,
    "SIGKILL": kill,
    "two tracers": two_tracers,
    "storm": storm,
    "page borders": page_borders,
    "int 0x80": calls_of_32_bits,
    "300 blocked": blocked_threads,
}


def follows_many(line: CommandLine) -> bool:
    """Tell whether a return probe takes the number of calls to follow: in tracefs' own words, if it has any."""
    if line.hook != "kprobe":
        return True
    texts = (place / "README" for place in TRACING if (place / "README").exists())
    return any("r[maxactive]" in text.read_text() for text in texts)


def expect_storm(found: "Counter[str]", made: int) -> None:
    """Hold that a storm's calls are counted under their names."""
    expected = {"openat": made, "getppid": made // 4, "close": made // 8}
    expect({name: found[name] for name in expected} == expected, f"{dict(found)}, not {expected}")


@contextlib.contextmanager
def looping_shell() -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process that calls chdir some times a second, until the block ends."""
    with subprocess.Popen(["sh", "-c", "while :; do cd /; sleep 0.02; done"]) as looping:
        try:
            yield looping
        finally:
            looping.kill()


def expect_same_calls(line: CommandLine, shown: "Counter[str]", command: list[str]) -> None:
    """Hold that a trace shows the calls that strace sees, by number and name."""
    known = load_names(line.battery)
    output = line.scratch / "strace"
    run(["strace", "-o", str(output), *command])
    names = (re.match(r"\w+", text) for text in output.read_text().splitlines())
    seen = Counter(KERNEL_NAMES.get(name[0], name[0]) for name in names if name)
    expected = Counter({name: number for name, number in seen.items() if name in known})
    missing, surplus = expected - shown, shown - expected
    expect(not missing and not surplus, f"strace sees more: {dict(missing)}; the trace shows more: {dict(surplus)}")


def load_names(battery: str) -> frozenset[str]:
    """Return the events of the release that serves this kernel."""
    opened = Battery.open(battery)
    return frozenset(select_running(opened).release.events)


def expect_nothing_stays() -> None:
    """Hold that no probe, no program, no pin and no tracer is left."""
    for place in TRACING:
        events = place / "kprobe_events"
        left = OURS.findall(events.read_text()) if events.exists() else []
        expect(not left, f"{events} holds {left}")
    expect(not own_bpf_files(), f"left open: {own_bpf_files()}")
    pins = [str(path) for path in Path("/sys/fs/bpf").rglob("*") if path.is_file()]
    expect(not pins, f"left pinned: {pins}")
    left = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if is_tracer(path)]
    expect(not left, f"left running: {left}")


def remove_probes() -> None:
    """Remove the probes that a failed case has left, so that the next one does not find them."""
    for place in TRACING:
        events = place / "kprobe_events"
        for line in OURS.findall(events.read_text()) if events.exists() else ():
            with contextlib.suppress(OSError), open(events, "a") as file:
                file.write(f"-:{line.split()[0].partition(':')[2]}\n")


def is_tracer(path: Path) -> bool:
    """Tell whether a process is one of the command line."""
    try:
        return b"\0-m\0traceleft\0" in path.read_bytes()
    except OSError:
        return False
