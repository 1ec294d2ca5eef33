"""Where the kernel shows its event formats."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from traceleft.errors import UnsupportedError

MAX_BYTES: Final = 1 << 20
PLACES: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
MOUNTS: Final = Path("/proc/self/mounts")

_FIELD = re.compile(
    r"^\s{0,8}field:[^;\n]{0,512}?(\w{1,128})(?:\[[^\];\n]{0,64}\])?;\s{0,8}offset:(\d{1,5});\s{0,8}size:(\d{1,5});",
    re.MULTILINE | re.ASCII,
)


def find_tracefs(*, mount: bool = True) -> Path:
    """Return the directory that tracefs is mounted at, as seen by this process.

    Mounts it at /sys/kernel/tracing if it is nowhere and `mount` is true, which needs root. UnsupportedError names the
    remedy.
    """
    for place in (*PLACES, *_mounted_places()):
        if _is_readable(place):
            return place
    if mount and PLACES[0].is_dir():
        import subprocess

        run = subprocess.run(["mount", "-t", "tracefs", "nodev", str(PLACES[0])], capture_output=True, check=False)
        if run.returncode == 0 and _is_readable(PLACES[0]):
            return PLACES[0]
    raise UnsupportedError(
        "tracefs", f"cannot be read; as root: mount -t tracefs nodev {PLACES[0]}, or pass formats with --formats"
    )


def field_offsets(format_text: str) -> dict[str, tuple[int, int]]:
    """Return (offset, size) in bytes of each field of an event's format."""
    text = format_text[:MAX_BYTES].partition("\nprint fmt:")[0]
    return {match[1]: (int(match[2]), int(match[3])) for match in _FIELD.finditer(text)}


def _is_readable(place: Path) -> bool:
    try:
        return any((place / "events").iterdir())
    except OSError:
        return False


def _mounted_places() -> Iterable[Path]:
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ()
    return [Path(fields[1]) for line in lines if len(fields := line.split(" ")) > 2 and fields[2] == "tracefs"]
