"""One tool over one process: started, awaited, loaded with calls, stopped; and what came of it."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.process import Calls, Usage, Watcher, telling_line
from bench.tools import Account, Place, Tool

READY_S: Final = 20.0
SILENT_S: Final = 2.0
PAUSE_S: Final = 0.003
POKE_S: Final = 0.005
POKE_TIMES: Final = 20


class NotAvailableError(Exception):
    """A tool that cannot run here; str() is why, in its own words."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop of ``programs/calls.c``: how many system calls are in one round, how many of them are `events`."""

    kind: str
    calls: int
    times: int
    events: tuple[str, ...] = ()
    counted: int | None = None

    @property
    def traced(self) -> int:
        """System calls in a round that a tool is to see."""
        return self.calls if self.counted is None else self.counted

    def times_of(self, tool: Tool) -> int:
        """Return how often to go round in one burst under a tool."""
        return max(50, int(self.times * tool.share))


@dataclass(frozen=True, slots=True)
class Visit:
    """What one run of a tool gave: the nanoseconds a call of each burst, and what the tool saw and used.

    `made` are the calls that it was to see in the bursts; `usage` and `first_event_s` are None of a tool that starts
    what it traces.
    """

    bare_ns: tuple[float, ...]
    burst_ns: tuple[float, ...]
    made: int
    account: Account
    usage: Usage | None
    first_event_s: float | None

    @property
    def lost(self) -> int:
        """Calls that are missing: as the tool says, or as its output shows."""
        return max(0, self.made - self.account.seen) if self.account.lost is None else self.account.lost


def bursts(calls: Calls, loop: Loop, times: int, number: int) -> tuple[float, ...]:
    """Go round a loop in bursts, with time between them to read what came; return the nanoseconds a call of each."""
    taken = []
    for _ in range(number):
        taken.append(calls.run(loop.kind, times) / times / loop.calls)
        time.sleep(PAUSE_S)
    return tuple(taken)


def visit(
    tool: Tool, place: Place, program: Sequence[str], loop: Loop, *, number: int, is_pinned: bool = True
) -> Visit:
    """Measure a loop without a tool and, at once, under it. Raise ``NotAvailableError`` where the tool cannot run."""
    reason = tool.missing()
    if reason:
        raise NotAvailableError(reason)
    clear(place.scratch)
    with Calls(program) as calls:
        calls.run(loop.kind, loop.times)
        bare = bursts(calls, loop, loop.times, number)
        if not tool.starts_it:
            return _visit_running(tool, place, calls, loop, bare)
    return _visit_started(tool, place, program, loop, bare)


def _visit_running(tool: Tool, place: Place, calls: Calls, loop: Loop, bare: tuple[float, ...]) -> Visit:
    times, number = loop.times_of(tool), len(bare)
    command = tool.command(place, calls.pid, loop.events)
    with Watcher(command, place.scratch) as watcher:
        await_ready(tool, watcher, place, calls, loop)
        under = bursts(calls, loop, times, number)
        watcher.await_idle()
    made = times * loop.traced * number
    return Visit(bare, under, made, tool.account(place), watcher.usage, None if tool.is_silent else watcher.ready_s)


def _visit_started(tool: Tool, place: Place, program: Sequence[str], loop: Loop, bare: tuple[float, ...]) -> Visit:
    times, number = loop.times_of(tool), len(bare)
    with Calls(program, tool=tool.command(place, None, loop.events)) as calls:
        calls.run(loop.kind, times)
        under = bursts(calls, loop, times, number)
    return Visit(bare, under, times * loop.traced * number, read_account(tool, place), None, None)


def read_account(tool: Tool, place: Place) -> Account:
    """Return what a tool saw. Raise ``NotAvailableError`` where it ended without telling."""
    try:
        return tool.account(place)
    except (OSError, ValueError, LookupError) as exc:
        stderr = place.scratch / "stderr"
        said = telling_line(stderr.read_text(errors="replace")) if stderr.exists() else ""
        raise NotAvailableError(f"no account of what it saw: {said or exc}") from exc


def await_ready(tool: Tool, watcher: Watcher, place: Place, calls: Calls, loop: Loop) -> None:
    """Make calls now and then until a tool shows that it sees them. Raise ``NotAvailableError`` if it does not."""
    deadline = time.monotonic() + READY_S
    if tool.is_silent:
        time.sleep(SILENT_S)
    while not _is_ready(tool, watcher, place):
        if watcher.has_ended or time.monotonic() > deadline:
            raise NotAvailableError(watcher.complaint if watcher.has_ended else f"no event within {READY_S:.0f} s")
        calls.run(loop.kind, POKE_TIMES)
        time.sleep(POKE_S)
    watcher.mark_ready()


def _is_ready(tool: Tool, watcher: Watcher, place: Place) -> bool:
    if tool.is_silent:
        return not watcher.has_ended
    if tool.says_ready:
        return b"ready\n" in watcher.stdout.read_bytes()
    return any(path.exists() and path.stat().st_size >= tool.ready_bytes for path in (place.events, watcher.stdout))


def clear(directory: Path) -> None:
    """Empty a directory of what the tool before left there."""
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            path.unlink()


def alternate(rounds: int, tools: Sequence[Tool]) -> Iterator[Tool]:
    """Yield each tool once a round, so that no tool has a quiet time to itself; peers take part in two rounds."""
    for number in range(rounds):
        yield from (tool for tool in tools if number < 2 or not tool.peer)
