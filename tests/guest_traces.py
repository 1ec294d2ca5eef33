"""Runs inside another kernel: traces programs at each level and hook, and writes down what came out.

``python -m tests.guest_traces BATTERY DIRECTORY``: programs lie in DIRECTORY, ``<trace>-<level>-<hook>.json`` and
``.ledger`` go there.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import border, compat
from tests.levels import RUNS
from traceleft.battery import Battery
from traceleft.tracer import Tracer
from traceleft.tracer.jsonl import to_json_line

EVENTS: Final = (
    "execve,openat,open,read,newfstatat,close,rename,writev,readlinkat,socket,connect,getsockname,getpeername,socketpair,"
    "sendmsg,poll,recvfrom,newuname,nanosleep,clock_nanosleep,mmap,munmap,clone,wait4,exit_group"
)
# So few that each has tracepoints of its own where the hook is tracepoint.
FEW: Final = "execve,openat,connect,exit_group"


@dataclass(frozen=True, slots=True)
class Trace:
    """What is traced of one command; words of it that are programs are looked up in the directory."""

    name: str
    events: str
    command: tuple[str, ...]
    follow: bool = False


TRACES: Final = (
    Trace("many", EVENTS, ("hooks",), follow=True),
    Trace("few", FEW, ("hooks",), follow=True),
    Trace("border", border.EVENTS, ("live_border",)),
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
        battery, level=level, hook=hook, events=[trace.events], command=command, follow=trace.follow, text_limit=64
    ) as tracer:
        lines = [to_json_line(event) for event in tracer]
    target = place / f"{trace.name}-{level}-{hook}"
    target.with_name(f"{target.name}.json").write_bytes(b"".join(lines))
    target.with_name(f"{target.name}.ledger").write_text(json.dumps(tracer.ledger.to_json()))


def main(battery: str, directory: str) -> None:
    """Run every trace with every level and hook."""
    opened = Battery.open(battery)
    for level, hook in RUNS:
        for trace in TRACES:
            run(opened, Path(directory), trace, level, hook)


if __name__ == "__main__":
    main(*sys.argv[1:])
