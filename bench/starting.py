"""How long it takes to begin: a trace of a command that does nothing, and an import."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from bench.session import clear
from bench.tools import BPFTRACE_ENTRY, DEVELOPED, Place

TIMES: Final = 3
"""Turns a round: starts are short and spread wide."""


def commands(place: Place) -> dict[str, list[str]]:
    """Return what is timed, by name."""
    traced = ["trace", "--battery", str(place.battery), "-e", "openat", "-o", str(place.events)]
    bpftrace = f"tracepoint:syscalls:sys_enter_openat {{ {BPFTRACE_ENTRY['openat']} }}"
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import traceleft": [sys.executable, "-c", "import traceleft"],
        "traceleft --version": [*DEVELOPED, "--version"],
        "traceleft trace -e openat -- true": [*DEVELOPED, *traced, "--", "true"],
        "traceleft trace --format json -e openat -- true": [*DEVELOPED, *traced, "--format", "json", "--", "true"],
        "traceleft trace -- true (all syscalls)": [*DEVELOPED, *traced[:3], *traced[5:], "--", "true"],
        "bpftrace -e … -c /bin/true": ["bpftrace", "-e", bpftrace, "-c", "/bin/true", "-o", str(place.events)],
        "strace -e openat true": ["strace", "-e", "openat", "-o", str(place.events), "true"],
        "perf trace -e openat true": ["perf", "trace", "-e", "openat", "-o", str(place.events), "true"],
    }


def measure_starts(place: Place, rounds: int) -> dict[str, Any]:
    """Return, by command, the milliseconds that it took, best, median and worst; or why it cannot run."""
    taken: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for _ in range(rounds * TIMES):
        for name, command in commands(place).items():
            if name not in reasons:
                _time(place, command, taken.setdefault(name, []), reasons, name)
    return {
        name: {"unavailable": reasons[name]} if name in reasons else _spread(figures) for name, figures in taken.items()
    }


def _time(place: Place, command: Sequence[str], taken: list[float], reasons: dict[str, str], name: str) -> None:
    clear(place.scratch)
    begun = time.perf_counter()
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except FileNotFoundError as exc:
        reasons[name] = f"{exc.filename} is not installed"
    except subprocess.CalledProcessError as exc:
        lines = exc.stderr.decode(errors="replace").strip().splitlines()
        reasons[name] = lines[-1] if lines else f"exit status {exc.returncode}"
    else:
        taken.append((time.perf_counter() - begun) * 1e3)


def _spread(taken: Sequence[float]) -> dict[str, float]:
    return {"best_ms": min(taken), "median_ms": statistics.median(taken), "worst_ms": max(taken)}
