"""``traceleft`` as its users run it, at one level and hook: commands run to their end, started, stopped, and their
accounts.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

COMMAND: Final = (sys.executable, "-m", "traceleft")
# A command under software emulation, which shares its CPUs with others.
LIMIT_S: Final = 180
LOOK_S: Final = 0.1
MISSING_KEYS: Final = ("lost", "dropped", "undecodable", "unaccounted", "missed")

Events = list[dict[str, Any]]


class CommandError(AssertionError):
    """A command did not do what it should have done; the text is the reason, in one line."""


def expect(is_so: bool, why: object) -> None:
    """Hold that something is so."""
    if not is_so:
        raise CommandError(" ".join(str(why).split())[:400])


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The command line with one battery, level and hook; ``place`` holds the programs that are traced.

    An empty level leaves the choice to the command, as the hook ``auto`` does.
    """

    battery: str
    place: Path
    level: str
    hook: str

    def program(self, name: str) -> str:
        """Return the path of a program."""
        return str(self.place / name)

    @property
    def scratch(self) -> Path:
        """A directory for what commands write, in memory."""
        directory = Path("/dev/shm/commands")
        directory.mkdir(exist_ok=True)
        return directory

    def words(self, verb: str, *arguments: str) -> list[str]:
        """Return the words of a command that traces."""
        level = ("--level", self.level) if self.level else ()
        chosen = ("--battery", self.battery, *level, "--attach", self.hook)
        return [*COMMAND, verb, *chosen, "--ledger", str(self.scratch / "ledger"), *arguments]

    def run(self, verb: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command that traces to its end, and hold its status."""
        return run(self.words(verb, *arguments), status=status)

    def trace(self, *arguments: str) -> Events:
        """Run a trace to its end and return its events; all were delivered."""
        self.run("trace", "--format", "json", "-o", str(self.scratch / "events"), *arguments)
        events = read_events(self.scratch / "events")
        check_ledger(self.ledger(), len(events))
        return events

    def start(self, *arguments: str, name: str = "background") -> "Background":
        """Start a trace, and return when it has printed an event."""
        output, ledger = self.scratch / f"{name}.events", self.scratch / f"{name}.ledger"
        for path in (output, ledger):
            path.unlink(missing_ok=True)
        words = self.words("trace", "--ledger", str(ledger), "--format", "json", *arguments)
        with open(output, "wb") as out, open(self.scratch / f"{name}.err", "wb") as err:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        started = Background(process, output, ledger, self.scratch / f"{name}.err")
        started.wait_for_event()
        return started

    def ledger(self) -> dict[str, Any]:
        """Return the account of the last command."""
        document: dict[str, Any] = json.loads((self.scratch / "ledger").read_text())
        return document


@dataclass(frozen=True, slots=True)
class Background:
    """A trace that runs."""

    process: "subprocess.Popen[bytes]"
    output: Path
    ledger_file: Path
    errors: Path

    def wait_for_event(self) -> None:
        """Return when a line has come; CommandError where the trace ends before."""
        deadline = time.monotonic() + LIMIT_S
        while not self.output.stat().st_size:
            expect(self.process.poll() is None, f"ended with {self.process.poll()}: {self.errors.read_text()}")
            if time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise CommandError(f"no event within {LIMIT_S} s")
            time.sleep(LOOK_S)

    def end(self, number: int) -> int:
        """Send a signal and return the status of what it ended."""
        self.process.send_signal(number)
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise CommandError(f"signal {number} did not end it within {LIMIT_S} s") from None

    def events(self) -> Events:
        """Return what it has shown."""
        return read_events(self.output)

    def ledger(self) -> dict[str, Any]:
        """Return its account."""
        document: dict[str, Any] = json.loads(self.ledger_file.read_text())
        return document


def run(words: Sequence[str], *, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and hold its status."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"did not end within {LIMIT_S} s") from None
    expect(done.returncode == status, f"status {done.returncode}: {done.stderr[-300:]}")
    return done


def read_events(path: Path) -> Events:
    """Return the whole lines of JSON of a file."""
    data = path.read_bytes()
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def check_ledger(ledger: Mapping[str, Any], delivered: int) -> None:
    """Hold that all that was emitted was delivered and nothing went missing."""
    figures = {key: ledger[key] for key in ("emitted", "delivered", *MISSING_KEYS)}
    expect(ledger["emitted"] == ledger["delivered"] == delivered, f"{delivered} shown of {figures}")
    expect(not any(ledger[key] for key in MISSING_KEYS), f"went missing: {figures}")


def count(events: Events) -> "Counter[str]":
    """Return the number of events by name."""
    return Counter(event["event"] for event in events)


def own_bpf_files() -> list[str]:
    """Return the open files of BPF, of any process: programs, maps and links that something holds."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("anon_inode:bpf"):
            found.append(f"{entry.parent.parent.name} {target}")
    return found
