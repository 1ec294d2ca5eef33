"""Whole batteries: every byte covered by a digest, nothing but what the manifest names."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from traceleft.battery.manifest import one_line
from traceleft.battery.signature import FILE as SIGNATURE
from traceleft.battery.signature import read_signature
from traceleft.battery.store import Battery, describe, object_path, schema_path
from traceleft.errors import BatteryError

MANIFEST: Final = "manifest.json"
FILES_MAX: Final = 200_000


def verify_battery(path: Path) -> Battery:
    """Open a battery and hold every file of it against its digest; a signature is held against the manifest only.

    Raises BatteryError, of one line, for the first thing that is not as it should be: damaged, missing, or not listed.
    """
    battery = verify_contents(path)
    if os.path.lexists(path / SIGNATURE):
        read_signature(battery)
    return battery


def verify_contents(path: Path) -> Battery:
    """Open a battery and hold all but a signature against its digest, as ``verify_battery`` does."""
    battery = Battery.read(path)
    wanted = named_files(battery)
    for found in _walk(path):
        if found not in wanted and found != path / SIGNATURE:
            name = one_line(found.relative_to(path))
            raise BatteryError(f"{name}: the manifest names no such file; remove it", path=str(path))
    for digest in sorted(battery.manifest.objects):
        battery.object_bytes(digest)
    for release in battery.releases:
        battery.schema_bytes(release)
    return battery


def named_files(battery: Battery) -> frozenset[Path]:
    """Return the files that a battery consists of, its signature left out."""
    objects = (object_path(battery.path, digest) for digest in battery.manifest.objects)
    schemas = (schema_path(battery.path, release.schema) for release in battery.manifest.releases.values())
    return frozenset({battery.path / MANIFEST, *objects, *schemas})


def _walk(path: Path) -> Iterator[Path]:
    """Yield all that lies in a battery but its directories. What is neither file nor directory is refused."""
    count = 0
    waiting = [path]
    try:
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in sorted(entries, key=lambda each: each.name):
                    count += 1
                    if count > FILES_MAX:
                        raise BatteryError(f"more than {FILES_MAX} files: no battery of traceleft", path=str(path))
                    found = Path(entry.path)
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode):
                        waiting.append(found)
                    elif stat.S_ISREG(mode):
                        yield found
                    else:
                        name = one_line(found.relative_to(path))
                        raise BatteryError(f"{name}: not a file or a directory; remove it", path=str(path))
    except OSError as exc:
        raise BatteryError(describe(exc), path=str(path)) from exc
