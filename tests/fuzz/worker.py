"""Runs cases of one kind, and tells of each over a pipe: see ``harness``."""

import faulthandler
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import click

from tests.fuzz.kinds import Case, all_kinds
from traceleft.errors import TraceleftError

# What a case may take beyond what the process had before.
MEMORY_BYTES: Final = 512 << 20
# Address space is reserved far beyond what is used, by threads above all.
SPACE_BYTES: Final = 3 << 30
ALLOWED: Final = (TraceleftError, click.ClickException)
_UNITS: Final = 1024


def main(name: str, directory: str, seed: str, first: str, stop: str, pipe: str, cpu_s: str) -> None:
    """Run the cases from ``first`` to ``stop``."""
    fd = int(pipe)
    prepare, _ = all_kinds()[name]
    place = Path(directory) / "case"
    place.mkdir(exist_ok=True)
    case = prepare(place)
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)
    warnings.simplefilter("error", SyntaxWarning)
    before = _status("VmRSS")
    space = _status("VmSize") + SPACE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (space, space))

    def tell(text: str) -> None:
        os.write(fd, f"{text}\n".encode(errors="backslashreplace"))

    for number in range(int(first), int(stop)):
        tell(f"start {number}")
        _forget_peak()
        _run(case, Random(f"{seed} {name} {number}"), float(cpu_s), tell)
        peak = _status("VmHWM") - before
        tell(f"peak {peak}")
        if peak > MEMORY_BYTES:
            tell(f"found memory|{peak >> 20} MiB")
            before = max(before, _status("VmRSS"))
    tell("end")


def _run(case: Case, random: Random, cpu_s: float, tell: Callable[[str], None]) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        case(random)
    except ALLOWED:
        tell("refused")
    except BaseException as error:
        last = traceback.format_exception(error, limit=-8)
        text = "".join(last)[-3000:].replace("\n", "\x1f")
        tell(f"found {type(error).__name__}|{text}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """Return a figure of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text().split("\n")
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * _UNITS


if __name__ == "__main__":
    main(*sys.argv[1:])
