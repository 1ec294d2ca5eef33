"""Run a program under strace and under traceleft, and bring both traces into one form: calls by thread."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.differential.strace_text import Call, parse_trace

ROOT: Final = Path(__file__).resolve().parents[2]
TEXT_BYTES: Final = 64
FORKS: Final = frozenset({"clone", "clone3", "fork", "vfork"})
# Without randomised addresses both runs have the same ones, and they can be compared, too.
SAME_ADDRESSES: Final = ("setarch", "-R")
STRACE: Final = ("strace", "-f", "-v", "-s", str(TEXT_BYTES), "-e", "signal=none")
ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TZ": "UTC0",
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "MALLOC_ARENA_MAX": "1",  # where threads' arenas lie depends on who is first
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}

Thread = tuple[int, ...]
"""How a thread came to be: (0,) is the first, (0, 2) its third child; the same in every run."""

Event = dict[str, Any]
Prepare = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Threads:
    """Which thread is which in one trace."""

    by_tid: dict[int, Thread]

    def name(self, tid: int) -> object:
        """Name a process that an argument or a result means; -pid is its group, 0 and -1 are themselves."""
        if tid in (0, -1):
            return tid
        if tid < 0:
            return "group", self.name(-tid)
        return self.by_tid.get(tid, "not traced")


@dataclass(frozen=True, slots=True)
class Traced:
    """Both traces of one program."""

    ours: dict[Thread, list[Event]]
    theirs: dict[Thread, list[Call]]
    our_threads: Threads
    their_threads: Threads
    ledger: dict[str, Any]
    compat: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


def find_threads(calls: Sequence[tuple[int, str, int]]) -> Threads:
    """Name the threads of a trace from its calls: tid, name, result."""
    children: dict[int, list[int]] = defaultdict(list)
    for tid, name, ret in calls:
        if name in FORKS and ret > 0:
            children[tid].append(ret)
    found: dict[int, Thread] = {}
    waiting: list[tuple[int, Thread]] = [(calls[0][0], (0,))] if calls else []
    while waiting:
        tid, thread = waiting.pop()
        found[tid] = thread
        waiting += [(child, (*thread, rank)) for rank, child in enumerate(children[tid]) if child not in found]
    return Threads(found)


def by_thread(calls: Iterable[Any], threads: Threads, tid_of: Callable[[Any], int]) -> dict[Thread, list[Any]]:
    """Sort calls by the thread that made them; a thread that nobody created is (tid,)."""
    sorted_calls: dict[Thread, list[Any]] = defaultdict(list)
    for call in calls:
        tid = tid_of(call)
        sorted_calls[threads.by_tid.get(tid, (tid,))].append(call)
    return dict(sorted_calls)


def run(command: Sequence[str], directory: Path, prepare: Prepare, tracer: Sequence[str]) -> Ended:
    """Run a command under a tracer in a directory made anew."""
    work = directory / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    prepare(work)
    done = subprocess.run(
        [*SAME_ADDRESSES, *tracer, *command],
        cwd=work,
        env=ENVIRONMENT | {"HOME": str(work)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    # strace ends by the signal that ended the command, we with a shell's status for it.
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Ended(status, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def trace_both(
    command: Sequence[str], directory: Path, battery: Path, *, prepare: Prepare, hook: str, is_compat: bool
) -> Traced:
    """Trace a command twice: by strace, and by us through the hook."""
    text, lines, ledger = directory / "strace", directory / "events", directory / "ledger"
    expected = run(command, directory, prepare, [*STRACE, "-o", str(text), "--"])
    theirs, choice = text.read_text(errors="surrogateescape"), list[str]()
    if hook != "raw_tracepoint":  # attaching and detaching tracepoints takes the kernel its time
        names = {call.name for call in parse_trace(theirs.splitlines())}
        choice = ["-e", ",".join(sorted(names))]
    ours = [sys.executable, "-m", "traceleft", "trace", "-f", "-v", "--format", "json", "--raw", "-s", str(TEXT_BYTES)]
    options = ["--battery", str(battery), "--attach", hook, "--ledger", str(ledger), "-o", str(lines)]
    done = run(command, directory, prepare, [*ours, *options, *choice, "--"])
    assert (done.status, done.stdout) == (expected.status, expected.stdout), done.stderr
    return read_both(theirs, lines.read_text(), json.loads(ledger.read_text()), is_compat=is_compat)


def read_event(line: str) -> dict[str, Any]:
    """Read one of our lines, with the exact bytes of its texts in their places, as ``os.fsdecode`` gives them."""
    event: dict[str, Any] = json.loads(line)
    for place, data in event.get("bytes", {}).items():
        *steps, last = re.findall(r"[^.\[\]]+", place)
        inner: Any = event if place == "comm" else event["args"]
        for step in steps:
            inner = inner[int(step) if isinstance(inner, list) else step]
        inner[int(last) if isinstance(inner, list) else last] = os.fsdecode(base64.b64decode(data))
    return event


def read_both(text: str, lines: str, ledger: dict[str, Any], *, is_compat: bool) -> Traced:
    """Read both traces; what a 32-bit program calls is only counted, when it returns."""
    calls = list(parse_trace(text.splitlines()))
    compat = [call for call in calls[1:] if call.ret != "?"] if is_compat else []
    calls = calls[:1] if is_compat else calls
    events = [read_event(line) for line in lines.splitlines()]
    our_threads = find_threads([(event["tid"], event["event"], event["ret"] or 0) for event in events])
    their_threads = find_threads(
        [(c.tid, c.name, int(c.ret, 0) if c.name in FORKS and c.ret != "?" else 0) for c in calls]
    )
    return Traced(
        ours=by_thread(events, our_threads, lambda event: int(event["tid"])),
        theirs=by_thread(calls, their_threads, lambda call: int(call.tid)),
        our_threads=our_threads,
        their_threads=their_threads,
        ledger=ledger,
        compat=len(compat),
    )
