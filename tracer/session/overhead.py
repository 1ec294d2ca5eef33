"""What a trace costs the machine, held under a limit: the most expensive event goes first."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from traceleft.tracer import _native
from traceleft.tracer.schema.spec import EventSpec
from traceleft.tracer.session.session import Session

WINDOW_S: Final = 1.0
STATS_SYSCTL: Final = Path("/proc/sys/kernel/bpf_stats_enabled")
# A handler's cost without the filter's, in parts: the record itself, and each piece of memory that it reads.
RECORD_COST: Final = 3
SLOT_COST: Final = 1


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time that was used up to a moment, in nanoseconds, and calls by event id.

    ``programs_ns`` is what the kernel says of our programs; None where it keeps no statistics.
    """

    at_ns: int
    own_ns: int
    programs_ns: int | None
    calls: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Shed:
    """An event that is shed, and its share of the cost of all, from 0 to 1."""

    event: int
    share: float


def overhead_pct(before: Usage, after: Usage, cpus: int) -> float:
    """Return what was used between two moments, in percent of the machine's CPU time."""
    elapsed_ns = max(after.at_ns - before.at_ns, 1)
    used_ns = after.own_ns - before.own_ns + (after.programs_ns or 0) - (before.programs_ns or 0)
    return 100 * max(used_ns, 0) / (elapsed_ns * cpus)


def choose_shed(before: Usage, after: Usage, costs: Mapping[int, int]) -> Shed | None:
    """Return the most expensive of some events: calls times the cost of each. None if one is left, or none was called.

    ``costs`` belong to the events that are still traced.
    """
    spent = {event: (after.calls.get(event, 0) - before.calls.get(event, 0)) * cost for event, cost in costs.items()}
    total = sum(spent.values())
    if len(spent) < 2 or total <= 0:
        return None
    dearest = max(spent, key=lambda event: (spent[event], -event))
    return Shed(dearest, spent[dearest] / total)


def cost_of(spec: EventSpec) -> int:
    """Return what one call of an event costs, in parts that mean something only compared with those of others."""
    return RECORD_COST + SLOT_COST * len(spec.slots)


class Overhead:
    """Watches a session's cost, a window at a time, and sheds events while it is above ``limit_pct``.

    ``tell`` takes one line for the user. Not for more than one thread. Made by ``watch_overhead``.
    """

    def __init__(
        self, session: Session, *, limit_pct: float, counts_calls: bool, has_stats: bool, tell: Callable[[str], object]
    ) -> None:
        self._session = session
        self._limit_pct = limit_pct
        self._counts_calls = counts_calls
        self._has_stats = has_stats
        self._tell = tell
        self._names = {part.spec.id: part.spec.name for part in session.plan.parts}
        self._costs = {part.spec.id: cost_of(part.spec) for part in session.plan.parts}
        self._cpus = os.sysconf("SC_NPROCESSORS_ONLN")
        self._has_given_up = False
        self._before = self._measure()
        self._begun_ns = self._before.at_ns
        self.shed: dict[str, float] = {}

    def tick(self) -> None:
        """Look at the cost if a window is over; costs next to nothing otherwise."""
        if time.monotonic_ns() - self._before.at_ns < WINDOW_S * 1e9:
            return
        before, after = self._before, self._measure()
        self._before = after
        percent = overhead_pct(before, after, self._cpus)
        if percent <= self._limit_pct:
            return
        if (found := choose_shed(before, after, self._costs)) is not None:
            self._shed(found, percent)
        elif not self._has_given_up:
            self._has_given_up = True
            self._tell(f"overhead {percent:.1f} % is above {self._limit_pct:g} %, and nothing more can be shed")

    def _shed(self, found: Shed, percent: float) -> None:
        self._session.shed(found.event)
        del self._costs[found.event]
        name = self._names[found.event]
        # To detach takes long: what that cost is not the next window's.
        self._before = self._measure()
        self.shed[name] = (self._before.at_ns - self._begun_ns) / 1e9
        left = len(self._costs)
        remaining = self._names[next(iter(self._costs))] if left == 1 else f"{left} events"
        over = f"overhead {percent:.1f} % is above {self._limit_pct:g} %"
        self._tell(f"{over}: {name} is shed ({100 * found.share:.0f} % of it), {remaining} remain{'s' * (left == 1)}")

    def _measure(self) -> Usage:
        programs_ns = self._session.programs_ns() if self._has_stats else None
        return Usage(time.monotonic_ns(), time.process_time_ns(), programs_ns, self._calls())

    def _calls(self) -> dict[int, int]:
        maps, cpus = self._session.maps, self._session.cpus
        if self._counts_calls:
            found = {event: maps.count(event, cpus) for event in self._costs}
            return {event: count.calls for event, count in found.items() if count is not None}
        calls: dict[int, int] = {}
        for (event, _), number in maps.kernel_counts(self._costs, cpus).emitted.items():
            calls[event] = calls.get(event, 0) + number
        return calls


@contextmanager
def watch_overhead(
    session: Session, *, limit_pct: float, counts_calls: bool, tell: Callable[[str], object]
) -> Iterator[Overhead]:
    """Watch a session's cost while the context lasts; the kernel's statistics are on for as long."""
    with _statistics() as has_stats:
        if not has_stats:
            tell("this kernel keeps no statistics of BPF programs: --max-overhead sees our own CPU time only")
        yield Overhead(session, limit_pct=limit_pct, counts_calls=counts_calls, has_stats=has_stats, tell=tell)


@contextmanager
def _statistics() -> Iterator[bool]:
    """Let the kernel measure BPF programs, by a file descriptor since v5.8, by a sysctl since v5.1; whether it does."""
    try:
        fd = _native.enable_stats()
    except _native.Error:
        with _statistics_by_sysctl() as has_stats:
            yield has_stats
        return
    try:
        yield True
    finally:
        os.close(fd)


@contextmanager
def _statistics_by_sysctl() -> Iterator[bool]:
    try:
        before = STATS_SYSCTL.read_text()
        STATS_SYSCTL.write_text("1")
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            STATS_SYSCTL.write_text(before)
