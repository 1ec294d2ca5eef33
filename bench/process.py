"""Processes under measurement: the program that makes the calls, and whoever watches it."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

WORK_CPU = 0
WATCH_CPU = 1
PATIENCE_S = 20.0
SAMPLE_S = 0.02
IDLE_S = 0.05
IDLE_SHARE = 0.1
"""A tool that uses less of a CPU than this is idle: some poll."""
REASON = re.compile(r"unable|cannot|not found|failed|error", re.IGNORECASE)


def pinned(cpu: int, command: Sequence[str]) -> list[str]:
    """Return a command that runs on one CPU."""
    return ["taskset", "-c", str(cpu), *command]


class Calls:
    """A running ``programs/calls.c`` or ``server.c``: makes calls when it is asked to.

    It runs on one CPU (None: on any); `tool` is the command of a tool that starts what it traces, on the other one.
    """

    def __init__(self, command: Sequence[str], *, cpu: int | None = WORK_CPU, tool: Sequence[str] = ()) -> None:
        command = command if cpu is None else pinned(cpu, command)
        command = [*pinned(WATCH_CPU, tool), *command] if tool else command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        end_process(self._process)

    @property
    def pid(self) -> int:
        """The process that makes the calls, or the tool that started it."""
        return self._process.pid

    def run(self, kind: str, times: int) -> int:
        """Go round a loop so many times and return the nanoseconds that it took."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{kind} {times}\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the program that makes the calls ended ({self._process.wait()})")
        return int(answer)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used. `peak_bytes` is its anonymous memory at its highest, as far as it was sampled."""

    cpu_ns: int
    peak_bytes: int


class Watcher:
    """A running tool, on the other CPU; its memory is sampled. What it prints goes to files in a directory."""

    def __init__(self, command: Sequence[str], directory: Path, *, cpu: int | None = WATCH_CPU) -> None:
        self.stdout, self.stderr = directory / "stdout", directory / "stderr"
        self._started_s = time.monotonic()
        self._ready_ns = 0
        self.ready_s = 0.0
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self._process = subprocess.Popen(
                command if cpu is None else pinned(cpu, command), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self._peak_bytes = self._idle_ns = 0
        self._is_over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def has_ended(self) -> bool:
        """Whether it is no longer there."""
        return self._process.poll() is not None

    @property
    def complaint(self) -> str:
        """Why it ended, in its own words on stderr."""
        return telling_line(self.stderr.read_text(errors="replace")) or f"exit status {self._process.returncode}"

    @property
    def usage(self) -> Usage:
        """What it used: CPU time from when it was ready until it was idle."""
        return Usage(self._idle_ns - self._ready_ns, self._peak_bytes)

    def await_idle(self) -> float:
        """Wait until it has read what there is (what it uses to end does not count); return since when it is idle."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            idle_s, self._idle_ns = time.monotonic(), cpu_time_ns(self._process.pid)
            time.sleep(IDLE_S)
            if cpu_time_ns(self._process.pid) - self._idle_ns < IDLE_S * 1e9 * IDLE_SHARE:
                return idle_s
        return deadline

    def mark_ready(self) -> None:
        """Take down when it was ready, and what it had used until then."""
        self.ready_s = time.monotonic() - self._started_s
        self._ready_ns = cpu_time_ns(self._process.pid)

    def stop(self) -> None:
        """End it as Ctrl-C would and wait for it."""
        end_process(self._process)
        self._is_over.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_S):
            self._peak_bytes = max(self._peak_bytes, anonymous_bytes(self._process.pid))


def end_process(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """Close its input, or interrupt it, and wait; one that does not listen is killed."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    elif process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def telling_line(text: str) -> str:
    """Return the line that says most: the first that tells a reason, before any traceback, else the last."""
    lines = text.strip().splitlines()
    before = text.partition("Traceback (most")[0].splitlines()
    reasons = [line for line in before if REASON.search(line) and not line.startswith("modprobe")]
    return (reasons or lines or [""])[0 if reasons else -1].strip()


def cpu_time_ns(pid: int) -> int:
    """Return the CPU time of a process's living threads; 0 when it is gone."""
    total = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total


def anonymous_bytes(pid: int) -> int:
    """Return a process's RssAnon; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Keep CPUs busy with this many loops."""
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
