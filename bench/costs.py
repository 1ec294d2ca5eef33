"""What a traced call costs its caller, under each tool; and what it costs processes that are not traced."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bench import tools
from bench.process import Calls, Watcher
from bench.session import Loop, NotAvailableError, Visit, alternate, await_ready, bursts, clear, visit
from bench.tools import Place, Tool

BURSTS: Final = 60
FLOORS: Final = (tools.FLOOR, tools.FLOOR_LOADS, tools.FLOOR_PATH, tools.FLOOR_BARE)
OURS: Final = (tools.OURS, tools.OURS_EXIT, tools.OURS_TRACEPOINT, tools.OURS_JSON)
COUNTS: Final = (tools.OURS_COUNT, tools.BPFTRACE_COUNT)
PEERS: Final = (tools.STRACE, tools.STRACE_SECCOMP, tools.PERF_TRACE, tools.BPFTRACE)
SNOOPS: Final = (tools.OPENSNOOP, tools.OPENSNOOP_BCC)
# A burst takes about 3 ms untraced, and not much more under any tool: some run undisturbed even on a busy machine.
READ_WRITE: Final = Loop("readwrite", 2, 5_000, ("read", "write"))
OPEN_CLOSE: Final = Loop("openclose", 2, 1_500, ("openat", "close"))
OPEN: Final = Loop("openclose", 2, 1_500, ("openat",), counted=1)
ALL: Final = Loop("readwrite", 2, 5_000)
MIXED: Final = Loop("mixed", 8, 800)
BYSTANDER: Final = Loop("getppid", 1, 20_000)

CASES: Final[dict[str, tuple[Loop, tuple[Tool, ...]]]] = {
    "read and write": (READ_WRITE, (*FLOORS, *OURS, *COUNTS, *PEERS)),
    "openat and close": (OPEN_CLOSE, (*FLOORS, *OURS, *COUNTS, *PEERS)),
    "openat alone": (OPEN, (tools.OURS, tools.OURS_JSON, tools.BPFTRACE, *SNOOPS)),
    "all syscalls of read and write": (ALL, (*FLOORS, *OURS, *COUNTS)),
    "all syscalls of eight mixed calls": (MIXED, (*FLOORS, *OURS, *PEERS)),
}


def measure_costs(place: Place, rounds: int) -> dict[str, Any]:
    """Return, by case and tool, what a call costs more than untraced (ns), and what the tool saw and used."""
    program = [str(place.programs / "calls")]
    return {
        title: measure_case(place, program, loop, alternate(rounds, chosen), bursts=BURSTS)
        for title, (loop, chosen) in CASES.items()
    }


def measure_case(
    place: Place, program: Sequence[str], loop: Loop, turns: Iterable[Tool], *, bursts: int
) -> dict[str, Any]:
    """Let tools have their turns over a loop of a program; return the figures of each, or why it cannot run."""
    visits: dict[str, list[Visit]] = {}
    reasons: dict[str, str] = {}
    for tool in turns:
        found = visits.setdefault(tool.name, [])
        if tool.name in reasons:
            continue
        try:
            found.append(visit(tool, place, program, loop, number=bursts))
        except NotAvailableError as exc:
            reasons[tool.name] = str(exc)
    bare_ns = min(min(one.bare_ns) for found in visits.values() for one in found)
    # What was added to calls that were not asked for counts for those that were.
    scale = loop.calls / min(loop.traced, loop.calls)
    return {
        "bare_ns": bare_ns,
        "tools": {
            name: {"unavailable": reasons[name]} if name in reasons else summarise(found, bare_ns, scale=scale)
            for name, found in visits.items()
        },
    }


def summarise(visits: Sequence[Visit], bare_ns: float, *, scale: float = 1.0) -> dict[str, Any]:
    """Return the figures of one tool: best, median and spread of what its rounds added to a call.

    A round's figure is its best burst. Rounds with losses are left out where others have none: what is not written
    costs less. `scale` leads from all calls of a loop to those that the tool was to see.
    """
    whole = [one for one in visits if not one.lost] or visits
    added = [(min(one.burst_ns) - bare_ns) * scale for one in whole]
    used = [one for one in visits if one.usage is not None]
    return {
        "added_ns": min(added),
        "median_ns": statistics.median(added),
        "worst_ns": max(added),
        "burst_median_ns": statistics.median((ns - bare_ns) * scale for one in whole for ns in one.burst_ns),
        "rounds": len(added),
        "made": sum(one.made for one in visits),
        "lost": sum(one.lost for one in visits),
        "unaccounted": _sum_known(one.account.unaccounted for one in visits),
        "consumer_ns": min((one.usage.cpu_ns / max(1, one.account.seen) for one in used if one.usage), default=None),
        "peak_bytes": max((one.usage.peak_bytes for one in used if one.usage), default=None),
        "first_event_s": min((one.first_event_s for one in used if one.first_event_s), default=None),
    }


def _sum_known(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


WATCHERS: Final = (tools.FLOOR, tools.OURS, tools.OURS_EXIT, tools.OURS_TRACEPOINT, tools.BPFTRACE, tools.STRACE)


def measure_bystanders(place: Place, rounds: int) -> dict[str, Any]:
    """Return, by tool, what a call of a process costs more while another process is traced for openat alone."""
    bare: list[float] = []
    under: dict[str, list[float]] = {tool.name: [] for tool in WATCHERS}
    reasons: dict[str, str] = {}
    for tool in alternate(rounds, WATCHERS):
        try:
            before, cost = _visit_bystander(tool, place)
        except NotAvailableError as exc:
            reasons[tool.name] = str(exc)
            continue
        bare.append(before)
        under[tool.name].append(cost)
    return {"bare_ns": min(bare), "tools": _bystander_figures(under, reasons, min(bare))}


def _bystander_figures(under: dict[str, list[float]], reasons: dict[str, str], bare_ns: float) -> dict[str, Any]:
    return {
        name: {
            "added_ns": min(costs) - bare_ns,
            "median_ns": statistics.median(costs) - bare_ns,
            "worst_ns": max(costs) - bare_ns,
        }
        if costs
        else {"unavailable": reasons[name]}
        for name, costs in under.items()
    }


def _visit_bystander(tool: Tool, place: Place) -> tuple[float, float]:
    reason = tool.missing()
    if reason:
        raise NotAvailableError(reason)
    clear(place.scratch)
    program = [str(place.programs / "calls")]
    with Calls(program) as traced, Calls(program) as other:
        other.run(BYSTANDER.kind, BYSTANDER.times)
        bare = min(bursts(other, BYSTANDER, BYSTANDER.times, BURSTS))
        with Watcher(tool.command(place, traced.pid, OPEN.events), place.scratch) as watcher:
            await_ready(tool, watcher, place, traced, OPEN)
            return bare, min(bursts(other, BYSTANDER, BYSTANDER.times, BURSTS))
