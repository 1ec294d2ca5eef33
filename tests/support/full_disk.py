"""A file system without room, as root alone can mount one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def full_disk(place: Path) -> Iterator[Path]:
    """Mount a full file system at a directory, which is made, for as long as the context lasts."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True, timeout=120)
    try:
        with suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        yield place
    finally:
        subprocess.run(["umount", place], check=True, timeout=120)
