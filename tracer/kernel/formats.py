"""Formats of the running kernel, and the release of a battery that they speak for."""

import hashlib
import os
from functools import cache
from pathlib import Path

from traceleft import tracefs
from traceleft.battery import Battery, Selection
from traceleft.errors import UnsupportedError


def select_running(battery: Battery) -> Selection:
    """Choose the release of a battery that serves the running kernel, by its name and by its formats."""
    return battery.select(os.uname().release, kernel_format=kernel_format)


@cache
def kernel_format(event: str) -> str | None:
    """Return the digest of an event's format on this kernel, as a schema has it; None where that cannot be read."""
    category, _, name = event.rpartition(":")
    places = [(category, name)] if category else [("syscalls", f"sys_{end}_{name}") for end in ("enter", "exit")]
    if not has_formats():
        return None
    try:
        return digest_format(*(read_format(*place) for place in places))
    except OSError:
        return None


@cache
def has_formats() -> bool:
    """Tell whether this kernel shows formats of syscalls to this process."""
    try:
        return any((tracefs.find_tracefs() / "events/syscalls").iterdir())
    except (UnsupportedError, OSError):
        return False


def read_format(category: str, event: str) -> str:
    """Return the text of an event's format on this kernel; OSError where it has none."""
    path = _events() / Path(category).name / Path(event).name / "format"
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def digest_format(*texts: str) -> str:
    """Digest format texts less their ID lines, which number the events of one boot, as the generator does."""
    digest = hashlib.sha256()
    for text in texts:
        lines = [line for line in text.split("\n") if not line.startswith("ID:")]
        digest.update("\n".join(lines).encode(errors="surrogatepass") + bytes(1))
    return f"sha256:{digest.hexdigest()}"


@cache
def _events() -> Path:
    return tracefs.find_tracefs() / "events"
