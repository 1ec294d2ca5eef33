"""Storms: more opens than anybody looks at, on an idle machine and beside busy loops, and what became of each."""

import json
import time
from collections.abc import Sequence
from typing import Any, Final

from bench import tools
from bench.process import Calls, Watcher, busy_loops
from bench.session import Loop, NotAvailableError, await_ready, clear
from bench.tools import Place, Tool

OPENS: Final = 2_000_000
BURST: Final = 600_000
PEER_OPENS: Final = 200_000
BUSY_LOOPS: Final = 2
OPEN: Final = Loop("openclose", 2, 0, ("openat",), counted=1)

Storm = tuple[Tool, int, int]
"""A tool, how many files are opened under it, and how many busy loops run beside."""
STORMS: Final[Sequence[Storm]] = (
    (tools.FLOOR, OPENS, 0),
    (tools.OURS, OPENS, 0),
    (tools.OURS, OPENS, BUSY_LOOPS),
    (tools.OURS_JSON, BURST, 0),
    (tools.OURS_JSON, OPENS, 0),
    (tools.OURS_JSON, OPENS, BUSY_LOOPS),
    (tools.OURS_TEXT, BURST, 0),
    (tools.BPFTRACE, PEER_OPENS, 0),
    (tools.BPFTRACE, PEER_OPENS, BUSY_LOOPS),
    (tools.OPENSNOOP, PEER_OPENS, 0),
    (tools.OPENSNOOP, PEER_OPENS, BUSY_LOOPS),
)


def measure_storms(place: Place, rounds: int) -> dict[str, Any]:
    """Return what became of each storm's events; one round, whatever `rounds` says."""
    return {
        "storms": [
            {"tool": storm[0].name, "opens": storm[1], "busy": storm[2], **_run(place, *storm)} for storm in STORMS
        ]
    }


def _run(place: Place, tool: Tool, opens: int, busy: int) -> dict[str, Any]:
    try:
        with busy_loops(busy):
            return _measure(place, tool, opens)
    except NotAvailableError as exc:
        return {"unavailable": str(exc)}


def _measure(place: Place, tool: Tool, opens: int) -> dict[str, Any]:
    """The opens come from one CPU; the tool runs where the scheduler puts it."""
    reason = tool.missing()
    if reason:
        raise NotAvailableError(reason)
    clear(place.scratch)
    with Calls([str(place.programs / "calls")]) as calls:
        with Watcher(tool.command(place, calls.pid, OPEN.events), place.scratch, cpu=None) as watcher:
            await_ready(tool, watcher, place, calls, OPEN)
            begun = time.monotonic()
            took_ns = calls.run(OPEN.kind, opens)
        drained_s = time.monotonic() - begun
    account, usage = tool.account(place), watcher.usage
    return {
        "storm_s": took_ns / 1e9,
        "drained_s": drained_s,
        "seen": account.seen,
        "lost": max(0, opens - account.seen) if account.lost is None else account.lost,
        "unaccounted": account.unaccounted,
        "consumer_s": usage.cpu_ns / 1e9,
        "peak_bytes": usage.peak_bytes,
        "ledger": json.loads(place.ledger.read_text()) if place.ledger.exists() else None,
    }
