"""Runs inside another kernel: traces programs at each level and hook, and writes down what came out.

``python -m tests.vm.guest_traces BATTERY DIRECTORY``: programs lie in DIRECTORY, ``<trace>-<level>-<hook>.json`` and
``.ledger`` go there, ``rolled-up-<level>.json`` where the kernel rolls up, and ``.error`` in place of ``.json`` where a
trace failed. Levels and hooks are those that the kernel offers.
"""

import json
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.support import border, cold, compat, identity
from tests.support.levels import offered_runs
from traceleft import CountOptions, DetailOptions, ProbeOptions, StackOptions
from traceleft.aggregator.rollups.histogram import bucket_of
from traceleft.battery import Battery
from traceleft.tracer import Tracer
from traceleft.tracer.decode.event import Event
from traceleft.tracer.kernel.levels import LEVELS
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.session.kernel_rollup import Cell, KernelRollup

EVENTS: Final = (
    "execve,openat,open,read,newfstatat,close,rename,writev,readlinkat,socket,connect,getsockname,getpeername,socketpair,"
    "sendmsg,poll,recvfrom,newuname,nanosleep,clock_nanosleep,mmap,munmap,clone,wait4,exit_group"
)
# So few that each has tracepoints of its own where the hook is tracepoint.
FEW: Final = "execve,openat,connect,exit_group"


# What the program of known stacks calls, as execve before that begins it.
STACKED: Final = "getppid,openat,write,exit_group"


@dataclass(frozen=True, slots=True)
class Trace:
    """What is traced of one command; words of it that are programs are looked up in the directory.

    ``is_optional``: events that the kernel cannot tell are left out.
    """

    name: str
    events: str
    command: tuple[str, ...]
    follow: bool = False
    is_optional: bool = False


TRACES: Final = (
    Trace("many", EVENTS, ("hooks",), follow=True),
    Trace("few", FEW, ("hooks",), follow=True),
    Trace("border", border.EVENTS, ("live_border",)),
    *(Trace(f"cold-{mode}", "execve,execveat", ("live_cold_exec", mode, "cold", "/tmp")) for mode in cold.GUEST_MODES),
    Trace("told", "kill,signal,process_exit", ("live_signals",), follow=True, is_optional=True),
    Trace("identity", identity.EVENTS, ("live_identity",), follow=True),
    *(
        Trace(f"compat-{name}-{kind}", events, command)
        for name, command in compat.COMMANDS.items()
        for kind, events in (("few", compat.FEW), ("many", compat.MANY))
    ),
)


def run(battery: Battery, place: Path, trace: Trace, level: str, hook: str) -> None:
    """Trace one command."""
    command = [str(place / word) if (place / word).exists() else word for word in trace.command]
    with Tracer(
        battery,
        events=[trace.events],
        command=command,
        follow=trace.follow,
        details=DetailOptions(text_limit=64, environment=True),
        probes=ProbeOptions(level=level, hook=hook, required=[] if trace.is_optional else None),
    ) as tracer:
        lines = [to_json_line(event) for event in tracer]
    target = place / f"{trace.name}-{level}-{hook}"
    target.with_name(f"{target.name}.json").write_bytes(b"".join(lines))
    target.with_name(f"{target.name}.ledger").write_text(json.dumps(tracer.ledger.to_json()))


def take_stacks(battery: Battery, place: Path, level: str, hook: str) -> None:
    """Trace calls whose stacks are known."""
    with Tracer(
        battery,
        events=[STACKED],
        command=[str(place / "stacks")],
        stacks=StackOptions(),
        probes=ProbeOptions(level=level, hook=hook),
    ) as tracer:
        lines = [to_json_line(event) for event in tracer]
    (place / f"stacks-{level}-{hook}.json").write_bytes(b"".join(lines))


def roll_up(battery: Battery, place: Path, level: str) -> None:
    """Roll one command's calls up in the kernel and, of the events of the same trace, here."""
    rollup = KernelRollup(("event", "comm", "error"), durations=True, buckets=True, only=False)
    command = [str(place / "hooks")]
    with Tracer(
        battery,
        events=[EVENTS],
        command=command,
        follow=True,
        details=DetailOptions(unfinished=False),
        counts=CountOptions(rollup=rollup),
        probes=ProbeOptions(level=level, hook="raw_tracepoint"),
    ) as tracer:
        events = list(tracer)
    found = {"kernel": show_cells(tracer.rolled_up.groups.items()), "events": show_cells(map(read_cell, events))}
    (place / f"rolled-up-{level}.json").write_text(json.dumps(found))


def read_cell(event: Event) -> tuple[tuple[str | None, ...], Cell]:
    """Return one event's group and what it adds there."""
    key, failed, duration_ns = (event.event, event.comm, event.error), event.error is not None, event.duration_ns
    if duration_ns is None:
        return key, Cell(1, failed)
    return key, Cell(1, failed, 1, duration_ns, duration_ns, duration_ns, 0, 0, {bucket_of(duration_ns): 1})


def show_cells(cells: Iterable[tuple[tuple[str | int | None, ...], Cell]]) -> dict[str, list[object]]:
    """Return cells by group, those of one group added up, as JSON has them."""
    added: dict[str, Cell] = {}
    for key, cell in cells:
        added[str(key)] = added.get(str(key), Cell()) + cell
    return {key: list(asdict(cell).values()) for key, cell in added.items()}


def attempt(target: Path, what: Callable[[], None]) -> None:
    """Do something that writes ``target``.json; write ``target``.error where it fails, so that the others are done."""
    try:
        what()
    except Exception:
        target.with_name(f"{target.name}.error").write_text(traceback.format_exc())


def main(battery: str, directory: str) -> None:
    """Run every trace with every level and hook that the kernel offers."""
    opened, place = Battery.open(battery), Path(directory)
    for level, hook in offered_runs():
        for trace in TRACES:
            attempt(place / f"{trace.name}-{level}-{hook}", partial(run, opened, place, trace, level, hook))
        if not LEVELS[level].is_stack:
            attempt(place / f"stacks-{level}-{hook}", partial(take_stacks, opened, place, level, hook))
        if hook == "raw_tracepoint":
            attempt(place / f"rolled-up-{level}", partial(roll_up, opened, place, level))


if __name__ == "__main__":
    main(*sys.argv[1:])
