"""Storms: more opens than anybody looks at, on an idle machine and next to busy loops, and what became of each."""

import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any, Final

from bench import tools
from bench.process import Calls, Watcher, busy_loops
from bench.session import Loop, NotAvailableError, await_ready, clear, read_account
from bench.tools import Place, Tool, ring_bytes

OPENS: Final = 2_000_000
BURST: Final = 300_000
PEER_OPENS: Final = 200_000
BUSY_LOOPS: Final = 2
OPEN: Final = Loop("openclose", 2, 0, ("openat",), counted=1)
# Both calls are traced: 600,000 events in about a second.
BOTH: Final = Loop("openclose", 2, 0, ("openat", "close"))

Storm = tuple[Tool, Loop, int, int]
"""A tool, what it traces, how many files are opened under it, and how many busy loops run at the same time."""
STORMS: Final[Sequence[Storm]] = (
    (tools.FLOOR, BOTH, OPENS, 0),
    (tools.OURS, OPEN, OPENS, 0),
    (tools.OURS, OPEN, OPENS, BUSY_LOOPS),
    (tools.OURS_JSON, OPEN, OPENS, 0),
    (tools.OURS_JSON, OPEN, OPENS, BUSY_LOOPS),
    (tools.OURS_JSON, BOTH, BURST, 0),
    (tools.OURS_RECORD, OPEN, OPENS, 0),
    (tools.OURS_RECORD, OPEN, OPENS, BUSY_LOOPS),
    (tools.OURS_RECORD, BOTH, BURST, 0),
    (tools.OURS_TEXT, BOTH, BURST, 0),
    (tools.BPFTRACE, OPEN, PEER_OPENS, 0),
    (tools.BPFTRACE, OPEN, PEER_OPENS, BUSY_LOOPS),
    (tools.OPENSNOOP, OPEN, PEER_OPENS, 0),
    (tools.OPENSNOOP, OPEN, PEER_OPENS, BUSY_LOOPS),
)


def measure_storms(place: Place, rounds: int) -> dict[str, Any]:
    """Return what became of each storm's events; one round, whatever `rounds` says."""
    return {"storms": [_run(place, *storm) for storm in STORMS]}


def _run(place: Place, tool: Tool, loop: Loop, opens: int, busy: int) -> dict[str, Any]:
    named = {"tool": tool.name, "made": opens * loop.traced, "busy": busy}
    try:
        with busy_loops(busy):
            return named | measure_storm(place, tool, loop, opens)
    except NotAvailableError as exc:
        return named | {"unavailable": str(exc)}


def measure_storm(place: Place, tool: Tool, loop: Loop, opens: int) -> dict[str, Any]:
    """The opens come from one CPU; the tool runs where the scheduler puts it."""
    reason = tool.missing()
    if reason:
        raise NotAvailableError(reason)
    clear(place.scratch)
    with contextlib.ExitStack() as stack:
        calls = stack.enter_context(Calls([str(place.programs / "calls")]))
        command = tool.command(place, calls.pid, loop.events)
        watcher = stack.enter_context(Watcher(command, place.scratch, cpu=None))
        await_ready(tool, watcher, place, calls, loop)
        begun = time.monotonic()
        took_ns = calls.run(loop.kind, opens)
        drained_s = watcher.await_idle() - begun
    account, usage = read_account(tool, place), watcher.usage
    return {
        "storm_s": took_ns / 1e9,
        "drained_s": drained_s,
        "seen": account.seen,
        "lost": max(0, opens * loop.traced - account.seen) if account.lost is None else account.lost,
        "unaccounted": account.unaccounted,
        "consumer_s": usage.cpu_ns / 1e9,
        "peak_bytes": usage.peak_bytes,
        "ring_bytes": ring_bytes(place) if tool is tools.OURS else None,
        "ledger": json.loads(place.ledger.read_text()) if place.ledger.exists() else None,
    }
