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

from tests.differential.dispositions import FORKS, mark_ignored
from tests.differential.program import Program
from tests.differential.strace_text import Call, End, Line, Signal, parse_trace

ROOT: Final = Path(__file__).resolve().parents[2]
TEXT_BYTES: Final = 64
# Without randomised addresses both runs have the same ones, and they can be compared as well.
SAME_ADDRESSES: Final = ("setarch", "-R")
STRACE: Final = ("strace", "-v", "-s", str(TEXT_BYTES))
TOLD: Final = frozenset({"signal", "process_exit"})  # our events that are not calls
ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TZ": "UTC0",
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PERL_HASH_SEED": "0",
    "PERL_INTERNAL_RAND_SEED": "0",
    "MALLOC_ARENA_MAX": "1",  # where threads' arenas lie depends on who is first
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}

Thread = tuple[int, ...]
"""How a thread came to be: (0,) is the first, (0, 2) its third child; the same in every run."""

Event = dict[str, Any]


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
    """Both traces of one program: calls, signals and ends of threads."""

    ours: dict[Thread, list[Event]]
    theirs: dict[Thread, list[Call]]
    our_told: dict[Thread, list[Event]]
    their_told: dict[Thread, list[Signal | End]]
    our_threads: Threads
    their_threads: Threads
    ledger: dict[str, Any]
    compat: int

    def threads(self) -> set[Thread]:
        """Return the threads of both traces."""
        return set().union(self.ours, self.theirs, self.our_told, self.their_told)


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


def run(command: Sequence[str], directory: Path, prepare: Callable[[Path], None], tracer: Sequence[str]) -> Ended:
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
        timeout=120,
    )
    # strace ends by the signal that ended the command, we with a shell's status for it.
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Ended(status, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def trace_both(program: Program, directory: Path, battery: Path, *, compiled: Path, port: int, hook: str) -> Traced:
    """Trace a program twice: by strace, and by us through the hook."""
    command, follow = program.at(compiled, port), ["-f"] * program.follow
    text, lines, ledger = directory / "strace", directory / "events", directory / "ledger"
    expected = run(command, directory, program.prepare, [*STRACE, *follow, "-o", str(text), "--"])
    theirs, choice = text.read_text(errors="surrogateescape"), list[str]()
    theirs = theirs if program.follow else number_lines(theirs)
    if hook != "raw_tracepoint":  # attaching and detaching tracepoints takes the kernel its time
        names = {line.name for line in parse_trace(theirs.splitlines()) if isinstance(line, Call)}
        choice = ["-e", ",".join(sorted(names | TOLD))]
    ours = [sys.executable, "-m", "traceleft", "trace", "-v", "--format", "json", "--raw", "-s", str(TEXT_BYTES)]
    options = ["--battery", str(battery), "--attach", hook, "--ledger", str(ledger), "-o", str(lines)]
    done = run(command, directory, program.prepare, [*ours, *follow, *options, *choice, "--"])
    assert (done.status, done.stdout) == (expected.status, expected.stdout), done.stderr
    return read_both(theirs, lines.read_text(), json.loads(ledger.read_text()), is_compat=program.is_compat)


def number_lines(text: str) -> str:
    """Return a trace of one thread with its number before each line, which strace puts there only with ``-f``."""
    tid = re.findall(r"^set_tid_address\(.*\) += (\d+)$", text, re.MULTILINE)[-1]
    return re.sub("^", f"{tid} ", text.rstrip("\n"), flags=re.MULTILINE)


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
    read = list(parse_trace(text.splitlines()))
    calls = [line for line in read if isinstance(line, Call)]
    their_threads = find_threads([(call.tid, call.name, child_of(call)) for call in calls])
    told = [line for line in mark_ignored(read, their_threads.by_tid) if not isinstance(line, Call)]
    compat = [call for call in calls[1:] if call.ret != "?"] if is_compat else []
    calls = calls[:1] if is_compat else calls
    every = [read_event(line) for line in lines.splitlines()]
    our_threads = find_threads([(event["tid"], event["event"], event["ret"] or 0) for event in every])
    return Traced(
        ours=by_thread([event for event in every if event["event"] not in TOLD], our_threads, our_tid),
        theirs=by_thread(calls, their_threads, their_tid),
        our_told=by_thread([event for event in every if event["event"] in TOLD], our_threads, our_tid),
        their_told=by_thread(told, their_threads, their_tid),
        our_threads=our_threads,
        their_threads=their_threads,
        ledger=ledger,
        compat=len(compat),
    )


def our_tid(event: Event) -> int:
    """Return the thread of an event of ours."""
    return int(event["tid"])


def their_tid(line: Line) -> int:
    """Return the thread of a line of strace's."""
    return line.tid


def child_of(call: Call) -> int:
    """Return the child that a call of strace's made, 0 for other calls."""
    return int(call.ret, 0) if call.name in FORKS and call.ret != "?" else 0
