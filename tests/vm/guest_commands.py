"""Runs inside another kernel: the whole command line at each level and hook that the kernel offers.

``python -m tests.vm.guest_commands BATTERY DIRECTORY``: programs lie in DIRECTORY. One line of JSON is printed for each
level, hook and case, with the state of the JIT. Options choose some of them.
"""

import argparse
import contextlib
import json
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.support.command_line import CommandLine
from tests.support.levels import offered_runs
from tests.vm.command_cases import CASES, remove_probes

JIT: Final = Path("/proc/sys/net/core/bpf_jit_enable")


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen of a case; ``why`` is the reason where it is not ok."""

    kernel: str
    date: str
    level: str
    hook: str
    jit: str
    case: str
    status: str
    why: str = ""
    seconds: float = 0.0


def try_case(line: CommandLine, case: str, jit: str) -> Row:
    """Run one case."""
    began = time.monotonic()
    status, why = "ok", ""
    try:
        why = CASES[case](line) or ""
    except AssertionError as exc:
        status, why = "failed", " ".join(str(exc).split())[:400]
    except Exception as exc:
        traceback.print_exc()
        status, why = "failed", f"{type(exc).__name__}: {exc}"[:400]
    remove_probes()
    date = datetime.now(UTC).date().isoformat()
    seconds = round(time.monotonic() - began, 1)
    return Row(os.uname().release, date, line.level, line.hook, jit, case, status, why, seconds)


def set_jit(state: str) -> bool:
    """Turn the JIT on or off; whether the kernel lets it be so."""
    with contextlib.suppress(OSError):
        JIT.write_text("1" if state == "on" else "0")
    try:
        return JIT.read_text().strip() == ("1" if state == "on" else "0")
    except OSError:
        # Compiled without a JIT.
        return state == "off"


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("battery")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--jit", choices=("on", "off", "both"), default="both")
    parser.add_argument("--run", action="append", metavar="LEVEL:HOOK")
    parser.add_argument("--case", action="append", choices=list(CASES))
    chosen = parser.parse_args()
    for row in rows(chosen):
        print(json.dumps(asdict(row)), flush=True)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for each case of what was chosen."""
    wanted = ("on", "off") if chosen.jit == "both" else (chosen.jit,)
    # A kernel may have no JIT, or nothing but the JIT.
    states = [state for state in wanted if set_jit(state)] or [state for state in ("on", "off") if set_jit(state)]
    for jit in states:
        set_jit(jit)
        for level, hook in offered_runs():
            if chosen.run is None or f"{level}:{hook}" in chosen.run:
                line = CommandLine(chosen.battery, chosen.directory, level, hook)
                yield from (try_case(line, case, jit) for case in chosen.case or CASES)


if __name__ == "__main__":
    main()
