"""What a call costs each hook of ours, traced and not: where the figures of ``tracer/session/costs.py`` come from.

``python -m bench.hooks [ROUNDS]`` as root; prints the nanoseconds that were added to a getppid, by the best burst of
all rounds.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.process import WATCH_CPU, Calls
from bench.programs import compile_programs
from traceleft import DetailOptions, FilterOptions, ProbeOptions
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.generator import generate
from traceleft.tracer import Tracer
from traceleft.tracer.kernel.levels import offered_levels

EVENTS: Final = "getppid,getpgid,execve"
TIMES: Final = 10_000
# All traced calls of a case fit into the buffer: nobody reads.
BURSTS: Final = 10
HOOKS: Final = ("raw_tracepoint", "tracepoint")
ENTRIES: Final[dict[str, Any]] = {"exits": {}, "exits and entries": {"details": DetailOptions(durations=True)}}


@dataclass(frozen=True, slots=True)
class Case:
    """One way to trace: an event, of whom, by which hook, with what else."""

    event: str
    scope: str
    hook: str
    options: dict[str, Any] = field(default_factory=dict)
    what: str = "exits"

    def __str__(self) -> str:
        return f"{'traced' if self.event == 'getppid' else 'not chosen'}, {self.scope}, {self.what}, {self.hook}"


def list_cases(other_pid: int) -> Iterator[Case]:
    """Yield what is measured; `other_pid` is a process that makes no calls."""
    scopes: dict[str, dict[str, Any]] = {
        "one process": {"pids": [other_pid]},
        "processes": {"pids": [other_pid], "follow": True},
        "some of all": {"filters": FilterOptions(comm="nobody")},
        "all": {},
    }
    for hook in HOOKS:
        for what, entries in ENTRIES.items():
            yield Case("getppid", "all", hook, entries, what)
            for scope, options in scopes.items():
                yield Case("getpgid", scope, hook, {**options, **entries}, what)
        yield Case("execve", "all", hook, {}, "an exec")


def main() -> None:
    """Measure in turns and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.sched_setaffinity(0, {WATCH_CPU})
    with tempfile.TemporaryDirectory() as directory:
        compile_programs(Path(directory))
        battery = make_battery(Path(directory))
        program = [str(Path(directory) / "calls")]
        with Calls(program) as calls, Calls(program, cpu=WATCH_CPU) as other:
            report(battery, calls, list(list_cases(other.pid)), rounds)


def make_battery(directory: Path) -> Battery:
    """Return a battery of the events that are traced, of the sources as they are."""
    generate(None, expressions=[EVENTS], output=directory / "generated")
    build(directory / "generated", directory / "battery", levels=[next(iter(offered_levels()))])
    return Battery.open(directory / "battery")


def report(battery: Battery, calls: Calls, cases: list[Case], rounds: int) -> None:
    """Let the cases have their turns, and print a line for each."""
    bare: list[float] = []
    under: dict[str, list[float]] = {str(case): [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            bare.append(best(calls))
            with Tracer(battery, events=[case.event], probes=ProbeOptions(hook=case.hook), **case.options):
                under[str(case)].append(best(calls))
    print(f"{'untraced':<55} {min(bare):6.1f}")
    for name, found in under.items():
        print(f"{name:<55} {min(found) - min(bare):6.1f}")


def best(calls: Calls) -> float:
    """Return the nanoseconds of a call in the best burst."""
    return min(calls.run("getppid", TIMES) for _ in range(BURSTS)) / TIMES


if __name__ == "__main__":
    main()
