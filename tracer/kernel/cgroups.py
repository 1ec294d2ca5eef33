"""Paths of cgroups by the ids that records carry."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from traceleft.errors import UnsupportedError
from traceleft.tracer import _native

CGROUP_REMEDY: Final = "give a directory of a mounted cgroup v2 hierarchy"
WAIT_S: Final = 1.0
KNOWN_MAX: Final = 1 << 16


def find_cgroup_mount(mounts: str | os.PathLike[str] = "/proc/self/mounts") -> Path | None:
    """Return where the second version's hierarchy is mounted, None where it is not."""
    try:
        rows = [line.split() for line in Path(mounts).read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return None
    return next((Path(_unescape(row[1])) for row in rows if len(row) > 2 and row[2] == "cgroup2"), None)


@contextlib.contextmanager
def open_cgroup(path: Path) -> Iterator[int]:
    """Yield a file descriptor of a cgroup's directory. UnsupportedError, with the remedy, where it cannot be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        reason = os.strerror(exc.errno or 0).lower()
        raise UnsupportedError(f"cgroup {path}", f"{reason}; {CGROUP_REMEDY}") from exc
    try:
        yield fd
    finally:
        os.close(fd)


def put_cgroup(cgroups: int, path: str | os.PathLike[str]) -> None:
    """Put a cgroup into the kernel's map of that fd; UnsupportedError, with the remedy, for what is not one."""
    try:
        with open_cgroup(Path(path)) as fd:
            _native.map_update(cgroups, bytes(4), fd.to_bytes(4, sys.byteorder))
    except _native.Error as exc:
        raise UnsupportedError(f"cgroup {path}", CGROUP_REMEDY) from exc


class CgroupPaths:
    """Finds the paths of cgroups, below where they are mounted (``/`` is the root), while the cgroups are there.

    An id is the inode of the cgroup's directory. They are all looked through when an unknown one comes, at most once
    a second; what was found stays known.
    """

    def __init__(self, mount: Path | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._mount = find_cgroup_mount() if mount is None else mount
        self._clock = clock
        self._known: dict[int, str] = {}
        self._next_look = clock()

    def find(self, ids: Collection[int]) -> dict[int, str]:
        """Return the paths of those among the ids that are known by now."""
        now = self._clock()
        if self._mount is not None and now >= self._next_look and any(each and each not in self._known for each in ids):
            self._next_look = now + WAIT_S
            for number, path in _walk(self._mount):
                if len(self._known) < KNOWN_MAX:
                    self._known.setdefault(number, path)
        return {each: self._known[each] for each in ids if each in self._known}


def _walk(mount: Path) -> Iterator[tuple[int, str]]:
    """Yield inode and path of every directory below a mount, and of itself."""
    root = os.fspath(mount)
    for directory, _, _ in os.walk(root):
        try:
            number = os.stat(directory, follow_symlinks=False).st_ino
        except OSError:
            continue
        path = directory[len(root) :] or "/"
        yield number, path


def _unescape(text: str) -> str:
    """Undo the octal escapes of /proc/self/mounts."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
