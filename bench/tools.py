"""The tools that are measured: how each is started, when it is ready, and what it says that it saw."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from traceleft.tracer.recording import Recording

HERE: Final = Path(__file__).parent
DEVELOPED: Final = [sys.executable, "-m", "traceleft"]
READY_BYTES: Final = 512
"""A tool that says nothing when it is ready is ready when this much of its output is there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the benchmark's own programs, the battery, and the outputs of one run lie."""

    programs: Path
    battery: Path
    scratch: Path

    @property
    def events(self) -> Path:
        """The file that a tool writes events to."""
        return self.scratch / "events"

    @property
    def ledger(self) -> Path:
        """The file that traceleft writes its ledger to."""
        return self.scratch / "ledger"


@dataclass(frozen=True, slots=True)
class Account:
    """What a tool saw: events, how many of those made it lost (None: it does not say), and traceleft's remainder."""

    seen: int
    lost: int | None = None
    unaccounted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One way to watch a process.

    `command` is given a pid (None: it starts what it traces) and events (none: all). `says_ready`: it prints a line
    once it is attached; else its output tells; one that `is_silent` until it ends is given time. `share` of the usual
    number of calls is made under it.
    """

    name: str
    command: Callable[[Place, int | None, Sequence[str]], list[str]]
    account: Callable[[Place], Account]
    says_ready: bool = False
    is_silent: bool = False
    starts_it: bool = False
    share: float = 1.0
    peer: bool = False
    ready_bytes: int = READY_BYTES

    def missing(self) -> str | None:
        """Return why it cannot be run here, as far as that is known without running it."""
        program = self.command(Place(Path(), Path(), Path()), 1, ("openat", "close"))[0]
        return None if shutil.which(program) or Path(program).name == "floor" else f"{program} is not installed"


FLOORS: Final = {
    "full": "floor",
    "loads": "floor without helpers",
    "path": "floor that reads memory",
    "bare": "bare floor",
}


def _floor(variant: str) -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        return [str(place.programs / "floor"), str(place.programs / "floor.bpf.o"), variant, str(pid)]

    def account(place: Place) -> Account:
        records, lost = _last_line(place).split()
        return Account(int(records), int(lost))

    name = FLOORS[variant]
    return Tool(name=name, command=command, account=account, says_ready=True)


def _api(name: str, *options: str) -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        return [sys.executable, str(HERE / "count_batches.py"), *options, str(place.battery), str(pid), *events]

    def account(place: Place) -> Account:
        said = json.loads(_last_line(place))
        if "--count" in options:
            return Account(said["seen"])
        return _of_ledger(said["ledger"], seen=said["seen"])

    return Tool(name=name, command=command, account=account, says_ready=True)


def _roll_up(name: str, *options: str) -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        return [sys.executable, str(HERE / "roll_up.py"), *options, str(place.battery), str(pid), *events]

    def account(place: Place) -> Account:
        said = json.loads(_last_line(place))
        return Account(said["seen"], said["lost"])

    return Tool(name=name, command=command, account=account, says_ready=True)


def _cli(name: str, *options: str, starts_it: bool = False) -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        chosen = ["-e", ",".join(events)] if events else []
        files = ["-o", str(place.events), "--ledger", str(place.ledger), "--battery", str(place.battery)]
        target = ["--"] if starts_it else ["-p", str(pid)]
        return [*DEVELOPED, "trace", *options, *chosen, *files, *target]

    def account(place: Place) -> Account:
        return _of_ledger(json.loads(place.ledger.read_text()), seen=_count_lines(place.events))

    return Tool(name=name, command=command, account=account, share=0.5, starts_it=starts_it)


def _record(name: str) -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        files = ["-o", str(place.events), "--ledger", str(place.ledger), "--battery", str(place.battery)]
        return [*DEVELOPED, "record", *files, "-e", ",".join(events), "-p", str(pid)]

    def account(place: Place) -> Account:
        with Recording.open(place.events) as recording:
            seen = sum(map(len, recording.records()))
        return _of_ledger(json.loads(place.ledger.read_text()), seen=seen)

    # More than its head alone.
    return Tool(name=name, command=command, account=account, share=0.5, ready_bytes=8 << 10)


def _strace(name: str, *options: str, starts_it: bool = False) -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        chosen = ["-e", "trace=" + (",".join(events) or "all")]
        return ["strace", "-q", *options, *chosen, "-o", str(place.events), *([] if starts_it else ["-p", str(pid)])]

    return Tool(name=name, command=command, account=_lines, share=0.02, starts_it=starts_it, peer=True)


def _perf_trace(name: str, *options: str, starts_it: bool = False) -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        chosen = ["-e", ",".join(events)] if events else []
        target = ["--"] if starts_it else ["-p", str(pid)]
        return ["perf", "trace", *options, *chosen, "-o", str(place.events), *target]

    return Tool(name=name, command=command, account=_lines, share=0.1, starts_it=starts_it, peer=True)


def _perf_summary() -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        chosen = ["-e", ",".join(events)] if events else []
        return ["perf", "trace", "-s", *chosen, "-o", str(place.events), "-p", str(pid)]

    def account(place: Place) -> Account:
        rows = re.findall(r"^ +\w+ +(\d+) +\d+ +[\d.]+ ", place.events.read_text(), re.M)
        return Account(sum(map(int, rows)))

    return Tool(name="perf trace -s", command=command, account=account, is_silent=True, share=0.1, peer=True)


BPFTRACE_ENTRY: Final = {
    "openat": 'printf("%s %d %s\\n", comm, pid, str(args->filename));',
    "close": 'printf("%s %d %d\\n", comm, pid, args->fd);',
    "read": 'printf("%s %d %d\\n", comm, pid, args->fd);',
    "write": 'printf("%s %d %d\\n", comm, pid, args->fd);',
}


def bpftrace_script(pid: int | None, events: Sequence[str]) -> str:
    """Return a script that prints a line for each call, with the fields that bpftrace's own opensnoop shows."""
    where = "" if pid is None else f" /pid == {pid}/"
    if not events:
        return (
            f'tracepoint:raw_syscalls:sys_exit{where} {{ printf("%s %d %d %d\\n", comm, pid, args->id, args->ret); }}'
        )
    return " ".join(f"tracepoint:syscalls:sys_enter_{event}{where} {{ {BPFTRACE_ENTRY[event]} }}" for event in events)


def _bpftrace() -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        return ["bpftrace", "-e", bpftrace_script(pid, events), "-o", str(place.events)]

    return Tool(name="bpftrace", command=command, account=_lines, share=0.2, peer=True)


def _bpftrace_count() -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        probes = ",".join(f"tracepoint:syscalls:sys_exit_{event}" for event in events)
        key = "probe" if events else "args->id"
        probes = probes or "tracepoint:raw_syscalls:sys_exit"
        script = f'{probes} /pid == {pid}/ {{ @[{key}] = count(); }} interval:ms:100 {{ printf("ready\\n"); }}'
        return ["bpftrace", "-B", "line", "-e", script]

    def account(place: Place) -> Account:
        text = (place.scratch / "stdout").read_text()
        return Account(sum(int(number) for number in re.findall(r"^@\[.*\]: (\d+)$", text, re.M)))

    return Tool(name="bpftrace, count()", command=command, account=account, says_ready=True, peer=True)


def _opensnoop(program: str, name: str) -> Tool:
    def command(place: Place, pid: int | None, events: Sequence[str]) -> list[str]:
        return [program, "-p", str(pid)]

    def account(place: Place) -> Account:
        return Account(_count_lines(place.scratch / "stdout"))

    return Tool(name=name, command=command, account=account, share=0.2, peer=True)


def _lines(place: Place) -> Account:
    return Account(_count_lines(place.events))


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _last_line(place: Place) -> str:
    return (place.scratch / "stdout").read_text().strip().splitlines()[-1]


def ring_bytes(place: Place) -> int:
    """Return the size of the buffer that the API's run had, counted once."""
    size: int = json.loads(_last_line(place))["buffer_bytes"]
    return size


def _of_ledger(ledger: Mapping[str, int], *, seen: int) -> Account:
    lost = ledger["lost"] + ledger["dropped"] + ledger["undecodable"]
    # What was delivered by the ledger and never came is not explained either.
    return Account(seen, lost, ledger["unaccounted"] + ledger["delivered"] - seen)


FLOOR: Final = _floor("full")
FLOOR_LOADS: Final = _floor("loads")
FLOOR_PATH: Final = _floor("path")
FLOOR_BARE: Final = _floor("bare")
OURS: Final = _api("traceleft, batches")
OURS_EXIT: Final = _api("traceleft, batches, exits only", "--exit-only")
OURS_TRACEPOINT: Final = _api("traceleft, batches, tracepoint hook", "--hook", "tracepoint")
OURS_COUNT: Final = _api("traceleft -c", "--count")
ROLLUP_KERNEL: Final = _roll_up("rollup in the kernel", "--engine", "kernel")
ROLLUP_KERNEL_P99: Final = _roll_up("rollup in the kernel, with p50 and p99", "--engine", "kernel", "--percentiles")
ROLLUP_COLUMNS: Final = _roll_up("rollup over columns", "--engine", "columns")
ROLLUP_COLUMNS_P99: Final = _roll_up("rollup over columns, with p50 and p99", "--engine", "columns", "--percentiles")
OURS_JSON: Final = _cli("traceleft, JSON to a file", "--format", "json")
OURS_RECORD: Final = _record("traceleft record")
OURS_TEXT: Final = _cli("traceleft, text to a file")
STRACE: Final = _strace("strace")
STRACE_THREADS: Final = _strace("strace -f", "-f")
STRACE_SECCOMP: Final = _strace("strace --seccomp-bpf -f", "--seccomp-bpf", "-f", starts_it=True)
PERF_TRACE: Final = _perf_trace("perf trace")
PERF_SUMMARY: Final = _perf_summary()
BPFTRACE: Final = _bpftrace()
BPFTRACE_COUNT: Final = _bpftrace_count()
OPENSNOOP: Final = _opensnoop("opensnoop", "opensnoop (libbpf-tools)")
OPENSNOOP_BCC: Final = _opensnoop("opensnoop-bpfcc", "opensnoop (bcc)")

# Those that follow a command and its children.
FOLLOW_JSON: Final = _cli("traceleft -f, JSON to a file", "-f", "--format", "json", starts_it=True)
FOLLOW_STRACE: Final = _strace("strace -f", "-f", starts_it=True)
FOLLOW_PERF: Final = _perf_trace("perf trace, children too", starts_it=True)
