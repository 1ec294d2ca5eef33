"""Kprobes on syscalls: the functions that there are, and what dead tracers left in tracefs."""

import contextlib
import os
import re
from pathlib import Path
from typing import Final

from traceleft import tracefs
from traceleft.tracer.kernel import PROC, is_initial_pid_namespace

PREFIXES: Final = ("__x64_sys_", "SyS_", "sys_")
# What libbpf calls the kprobes that it makes through tracefs, where the kernel has no PMU for them (below 4.17).
LEFTOVER: Final = re.compile(r"[pr][0-9]*:(?:kprobes/)?(libbpf_([0-9]{1,10})_[^ ]{1,200}) ")
KPROBE_EVENTS: Final = "kprobe_events"


def read_syscall_symbols(path: Path = PROC / "kallsyms") -> frozenset[str]:
    """Return the kernel's functions that may be syscalls; none where it does not tell."""
    found = set()
    with contextlib.suppress(OSError), path.open(errors="replace") as lines:
        for line in lines:
            # "<address> <type> <name>", and "[module]" behind a module's.
            words = line.split()
            if len(words) == 3 and words[2].startswith(PREFIXES):
                found.add(words[2])
    return frozenset(found)


def find_leftovers(text: str) -> list[str]:
    """Return the names of libbpf's kprobes in `kprobe_events` whose makers have ended."""
    found = (LEFTOVER.match(line) for line in text.splitlines())
    return [match[1] for match in found if match and not (PROC / match[2]).exists()]


def remove_leftovers() -> None:
    """Remove the kprobes that tracers left which were killed; one that is in use the kernel keeps.

    Where pids are not the kernel's, nobody can tell whose they are.
    """
    place = next((each / KPROBE_EVENTS for each in tracefs.PLACES if (each / KPROBE_EVENTS).exists()), None)
    if place is None or not is_initial_pid_namespace():
        return
    with contextlib.suppress(OSError):
        for name in find_leftovers(place.read_text(errors="replace")):
            with contextlib.suppress(OSError):
                _write_line(place, f"-:kprobes/{name}")


def _write_line(path: Path, line: str) -> None:
    # Only opened to append: to truncate the file removes everybody's.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(fd, line.encode() + bytes([10]))
    finally:
        os.close(fd)
