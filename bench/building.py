"""How long it takes to generate and build all syscalls of the running kernel, at one level."""

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from bench.process import telling_line
from bench.tools import DEVELOPED, Place
from traceleft.tracefs import find_tracefs

LEVEL: Final = "5.8"
CHANGED: Final = "syscalls/sys_enter_openat/format"


def copy_formats(directory: Path) -> None:
    """Copy the running kernel's formats of syscalls."""
    events = find_tracefs() / "events"
    for path in sorted(events.glob("syscalls/sys_*/format")):
        copy = directory / path.relative_to(events)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())


def change_format(path: Path) -> None:
    """Give an argument another name, as kernels do over time."""
    text = path.read_text()
    path.write_text(re.sub(r"(field:[^;]*)\bmode;", r"\1openmode;", text))


def measure_builds(place: Place, rounds: int) -> dict[str, Any]:
    """Return seconds and what was compiled: cold, unchanged, one format changed; one round, whatever `rounds` says."""
    work = place.scratch.parent / "building"
    shutil.rmtree(work, ignore_errors=True)
    copy_formats(work / "formats")
    found = {"cold": _build(work), "unchanged": _build(work)}
    change_format(work / "formats" / CHANGED)
    found["one format changed"] = _build(work)
    shutil.rmtree(work)
    return found


def _build(work: Path) -> dict[str, Any]:
    formats, generated, battery = work / "formats", work / "generated", work / "battery"
    begun = time.perf_counter()
    _run(["generate", "--formats", str(formats), "-o", str(generated)])
    said = _run(["build", str(generated), "-o", str(battery), "--level", LEVEL])
    return {"seconds": time.perf_counter() - begun, "said": said.split(": ", 1)[-1]}


def _run(arguments: list[str]) -> str:
    result = subprocess.run([*DEVELOPED, *arguments], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"bench: traceleft {arguments[0]}: {telling_line(result.stderr)}")
    return (result.stdout + result.stderr).strip().splitlines()[-1]
