"""Runs cases in processes of their own, whose memory and time are bounded, and tells what went wrong.

A finding is an exception that is not one of traceleft's (a traceback), a process that died (a crash), one that computes
or waits for too long (a hang), and a case that takes too much memory (``worker.MEMORY_BYTES``).
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
# How long a case may compute, and how long it may take: much longer, as the machine may be busy.
CPU_S: Final = 20.0
WALL_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a case did that it may not; ``text`` says it in some lines."""

    kind: str
    case: int
    what: str
    text: str


@dataclass(slots=True)
class Report:
    """What came of the cases of a kind: how many ran, how many were refused, the most memory that one took."""

    kind: str
    cases: int = 0
    refused: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a case may compute, and take."""

    cpu_s: float = CPU_S
    wall_s: float = WALL_S


def fuzz(kind: str, directory: Path, *, seed: int, count: int, first: int = 0, limits: Limits | None = None) -> Report:
    """Run cases of a kind, one after the other; a process that dies is followed by another."""
    report = Report(kind)
    begun, at = time.monotonic(), first
    while at < first + count:
        at = _run_some(report, directory, seed, range(at, first + count), limits or Limits())
    report.seconds = time.monotonic() - begun
    return report


def _run_some(report: Report, directory: Path, seed: int, cases: range, limits: Limits) -> int:
    """Run cases in a process until they end, or it does; return the next case."""
    reads, writes = os.pipe()
    errors = directory / "stderr"
    arguments = (report.kind, directory, seed, cases.start, cases.stop, writes, limits.cpu_s)
    with errors.open("wb") as stderr:
        command = [sys.executable, "-m", "tests.fuzz.worker", *map(str, arguments)]
        worker = subprocess.Popen(command, cwd=ROOT, pass_fds=[writes], stderr=stderr)
    os.close(writes)
    at, has_ended = cases.start - 1, False
    for line in _lines(reads, worker, limits.wall_s):
        word, *rest = line.decode().split(" ", 1)
        if word == "start":
            at = int(rest[0])
            report.cases += 1
        has_ended |= word == "end"
        _note(report, at, word, *rest)
    status = worker.wait()
    os.close(reads)
    if has_ended and not status:
        return cases.stop
    tail = errors.read_bytes()[-4000:].decode(errors="backslashreplace")
    if at < cases.start:
        raise RuntimeError(f"{report.kind}: no case could be run: {tail}")
    what = "hang" if status in (-signal.SIGPROF, -signal.SIGABRT) else "crash"
    report.findings.append(Finding(report.kind, at, what, f"status {status}\n{tail}"))
    return at + 1


def _note(report: Report, at: int, word: str, rest: str = "") -> None:
    """Take note of what a worker tells of a case."""
    if word == "refused":
        report.refused += 1
    elif word == "peak":
        report.peak_bytes = max(report.peak_bytes, int(rest))
    elif word == "found":
        what, text = rest.split("|", 1)
        report.findings.append(Finding(report.kind, at, what, text.replace("\x1f", "\n")))


def _lines(reads: int, worker: "subprocess.Popen[bytes]", wall_s: float) -> Iterator[bytes]:
    """Yield what a worker tells; one that says nothing for too long is ended."""
    held, begins = b"", True
    while True:
        # To begin takes long where the machine is busy.
        if not select.select([reads], [], [], WALL_S if begins else wall_s)[0]:
            worker.send_signal(signal.SIGABRT)
            return
        data = os.read(reads, 1 << 16)
        if not data:
            return
        begins = False
        *lines, held = (held + data).split(b"\n")
        yield from lines
