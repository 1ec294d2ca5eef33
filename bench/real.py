"""Real programs under tools that follow children, and a server with threads under load."""

import subprocess
from collections.abc import Sequence
from typing import Any, Final

from bench import tools
from bench.costs import measure_case
from bench.process import WATCH_CPU, WORK_CPU, pinned
from bench.session import Loop, NotAvailableError, alternate, clear, read_account
from bench.tools import HERE, Place, Tool

REPEATED: Final = 5
COMMANDS: Final[dict[str, list[str]]] = {
    "python start-up": ["python3", "-c", "import json, http.client"],
    "git status": ["git", "-C", str(HERE.parent), "status", "--short"],
}
FOLLOWERS: Final = (tools.FOLLOW_JSON, tools.FOLLOW_STRACE, tools.STRACE_SECCOMP, tools.FOLLOW_PERF)
SERVER_TOOLS: Final = (tools.FLOOR, tools.OURS, tools.OURS_JSON, tools.STRACE_THREADS, tools.PERF_TRACE)
SERVER_THREADS: Final = 4
SERVER_BURSTS: Final = 10
# A round of each connection: the server receives and sends once.
REQUESTS: Final = Loop("requests", SERVER_THREADS, 200, counted=2 * SERVER_THREADS)


def measure_real(place: Place, rounds: int) -> dict[str, Any]:
    """Return what a run of each command takes (milliseconds), and what a request of the server costs more."""
    program = [str(place.programs / "server"), str(SERVER_THREADS)]
    return {
        "commands": {title: _measure_command(place, command, rounds) for title, command in COMMANDS.items()},
        "server": measure_case(place, program, REQUESTS, alternate(rounds, SERVER_TOOLS), bursts=SERVER_BURSTS),
    }


def _measure_command(place: Place, command: Sequence[str], rounds: int) -> dict[str, Any]:
    bare: list[float] = []
    found: dict[str, Any] = {}
    for tool in alternate(rounds, FOLLOWERS):
        bare.append(_repeat(place, command, None))
        try:
            took, account = _repeat(place, command, tool), read_account(tool, place)
        except NotAvailableError as exc:
            found[tool.name] = {"unavailable": str(exc)}
            continue
        before = found.get(tool.name)
        figures = {"best_ms": took, "seen": account.seen, "lost": account.lost, "unaccounted": account.unaccounted}
        found[tool.name] = figures if before is None or took < before["best_ms"] else before
    return {"bare_ms": min(bare), "tools": found}


def _repeat(place: Place, command: Sequence[str], tool: Tool | None) -> float:
    """Return the milliseconds of the quickest of some runs of a command."""
    clear(place.scratch)
    reason = tool.missing() if tool else None
    if reason:
        raise NotAvailableError(reason)
    watcher = pinned(WATCH_CPU, tool.command(place, None, ())) if tool else []
    work = pinned(WORK_CPU, [str(place.programs / "repeat"), str(REPEATED), *command])
    result = subprocess.run([*watcher, *work], capture_output=True, text=True)
    if result.returncode:
        raise NotAvailableError((result.stderr.strip().splitlines() or ["no message"])[-1])
    return int(result.stdout) / 1e6
