"""Runs inside a guest on the user land of scripts/clean_target.sh, with its Python and nothing of ours but the wheel:
tells what is there and what is not, traces, and looks for what that changed.

``python3 clean_guest.py DIRECTORY RUN...``: ``battery.tar.xz`` lies in DIRECTORY; for each run (``<level>-<hook>``)
``<run>.json`` and ``<run>.ledger`` go there, and ``found.json`` for the rest.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

BATTERY: Final = Path("/root/battery")
COMMAND: Final = ("/bin/sh", "-c", "cat /etc/hostname")
TOOLS: Final = ("traceleft", "sh", "clang", "gcc", "cc", "llc", "ld", "bpftool", "pip")
MODULES: Final = ("click", "msgspec", "rich", "traceleft.tracer", "jinja2", "pycparser", "elftools", "bcc", "pip")
PATHS: Final = (
    "/sys/kernel/tracing/events",
    "/usr/include/linux",
    "/usr/include/bpf",
    "/usr/src",
    "/lib/modules",
    "/boot/config",
    "/sys/kernel/btf/vmlinux",
)


def is_program(name: str) -> bool:
    """Tell whether a program starts."""
    try:
        subprocess.run([name, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return True


def is_module(name: str) -> bool:
    """Tell whether a module can be imported."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def has_entries(name: str) -> bool:
    """Tell whether there is such a file, or a directory with something in it."""
    path = Path(name)
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def list_files() -> dict[str, tuple[int, int]]:
    """Return size and time of the last change of all files of the root file system, and what is pinned.

    Of directories it is the time of their last entry: the overlay copies those above a new file, which does not count.
    """
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()} - {"/", "/sys/fs/bpf"}
    found = {}
    # Not through the directories between: sysfs is large.
    for top in ("/", "/sys/fs/bpf"):
        for directory, subdirectories, files in os.walk(top):
            subdirectories[:] = [name for name in subdirectories if os.path.join(directory, name) not in mounts]
            for path in (directory, *(os.path.join(directory, name) for name in files)):
                status = os.lstat(path)
                is_directory = path == directory
                found[path] = (0, status.st_mtime_ns) if is_directory else (status.st_size, status.st_ctime_ns)
    return found


def run(arguments: Sequence[object]) -> dict[str, object]:
    """Run traceleft; what came of it."""
    command = ["traceleft", *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return {"status": done.returncode, "out": done.stdout, "err": done.stderr}


def trace(directory: Path, name: str) -> dict[str, object]:
    """Trace the command at one level and hook."""
    level, _, hook = name.partition("-")
    chosen = ["--battery", BATTERY, "--level", level, "--attach", hook, "-e", "openat,execve", "-f"]
    output = ["--format", "json", "-o", directory / f"{name}.json", "--ledger", directory / f"{name}.ledger"]
    return run(["trace", *chosen, *output, "--", *COMMAND])


def main(directory: Path, runs: Sequence[str]) -> None:
    """Do all that there is to do, and write down what was found."""
    before = list_files()
    found: dict[str, object] = {
        "python": sys.version,
        "programs": [name for name in TOOLS if is_program(name)],
        "modules": [name for name in MODULES if is_module(name)],
        "paths": [name for name in PATHS if has_entries(name)],
        "unpack": run(["battery", "unpack", directory / "battery.tar.xz", "-o", BATTERY]),
        "verify": run(["battery", "verify", BATTERY]),
        "doctor": run(["doctor", "--battery", BATTERY, "--json"]),
        "traces": {name: trace(directory, name) for name in runs},
        "kprobes": Path("/sys/kernel/tracing/kprobe_events").read_text(),
    }
    after = list_files()
    found["changed"] = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    (directory / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
