"""Files that traced processes have mapped, opened by one who trusts neither their names nor what they are.

A name may lead to a FIFO, a device or another file by now. Nothing but a regular file is opened, and of mappings only
the very one that was mapped. Their bytes are for ``symbol_worker`` to read.
"""

import contextlib
import ctypes
import mmap
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from traceleft.tracer.stacks.mappings import PROC, Mapping

DEBUG_DIRECTORY: Final = Path("/usr/lib/debug")
VDSO: Final = "[vdso]"
VDSO_MAX: Final = 1 << 16

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file, the path that led to it, and what tells one content of it from another."""

    fd: int
    path: str
    stamp: Stamp


class Files(Protocol):
    """What opens files of traced processes: this module, or a process of its own (``file_process``)."""

    def open_mapped(self, pid: int, mapping: Mapping) -> contextlib.AbstractContextManager[Opened | None]:
        """Give the file that was mapped; None where it is not there."""
        ...

    def open_debug(self, path: str, build_id: bytes, link: str) -> contextlib.AbstractContextManager[int | None]:
        """Give the file of debug information of the file at a path."""
        ...

    def open_function_list(self, pid: int) -> contextlib.AbstractContextManager[int | None]:
        """Give the list of functions that a process makes at run time."""
        ...

    def is_changed(self, path: str, stamp: Stamp) -> bool:
        """Tell whether what lies at a path now is known to be another than it was."""
        ...


@contextlib.contextmanager
def open_mapped(pid: int, mapping: Mapping) -> Iterator[Opened | None]:
    """Yield the file that was mapped, by its name here or where its process sees it; None where it is not there."""
    with contextlib.ExitStack() as stack:
        if mapping.path == VDSO:
            fd = stack.enter_context(_closing(_copy_vdso()))
            yield None if fd is None else Opened(fd, "", stamp_of(os.fstat(fd)))
            return
        for path in (mapping.path, f"{PROC}/{pid}/root{mapping.path}") if mapping.path.startswith("/") else ():
            fd = stack.enter_context(_closing(open_regular(path, lambda fd: is_mapped(fd, mapping))))
            if fd is not None:
                yield Opened(fd, path, stamp_of(os.fstat(fd)))
                return
        yield None


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what tells one content of a file from another: it may be written over in place."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_changed(path: str, stamp: Stamp) -> bool:
    """Tell whether what lies at a path now is known to be another than it was."""
    try:
        return stamp_of(os.stat(path)) != stamp
    except OSError:
        return False


@contextlib.contextmanager
def open_debug(path: str, build_id: bytes, link: str) -> Iterator[int | None]:
    """Yield the file of debug information of the file at a path; whether it belongs to it, its reader tells.

    It is looked for as debuggers do: by build id, then by the name that the file itself gives.
    """
    name = build_id.hex()
    directory = os.path.dirname(path)
    places = [DEBUG_DIRECTORY / ".build-id" / name[:2] / f"{name[2:]}.debug"] if len(name) > 2 else []
    if link and os.path.basename(link) == link and link not in (".", ".."):
        near = [os.path.join(directory, link), os.path.join(directory, ".debug", link)]
        places += map(Path, [*near, f"{DEBUG_DIRECTORY}{directory}/{link}"])
    with contextlib.ExitStack() as stack:
        found = (stack.enter_context(_closing(open_regular(os.fspath(place)))) for place in places)
        yield next((fd for fd in found if fd is not None), None)


@contextlib.contextmanager
def open_function_list(pid: int) -> Iterator[int | None]:
    """Yield the list of functions that a process makes at run time (``/tmp/perf-PID.map``); None without one."""
    with _closing(open_regular(f"{PROC}/{pid}/root/tmp/perf-{_inner_pid(pid)}.map")) as fd:
        yield fd


def open_regular(path: str, is_wanted: Callable[[int], bool] = lambda fd: True) -> int | None:
    """Open a regular file that is wanted, for reading; None where that cannot be. Nothing else is ever opened."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return None
        fd = os.open(f"{PROC}/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(place)
    if is_wanted(fd):
        return fd
    os.close(fd)
    return None


def is_mapped(fd: int, mapping: Mapping) -> bool:
    """Tell whether a file is the very one that was mapped, by its device and inode."""
    status = os.fstat(fd)
    if status.st_ino == mapping.inode and mapping.device in (0, status.st_dev):
        return True
    # Some file systems (btrfs, overlayfs) show another device, or inode, for what is mapped than for the file.
    with contextlib.suppress(OSError, ValueError):
        before = _count_mapped(mapping)
        with mmap.mmap(fd, 1, mmap.MAP_PRIVATE, mmap.PROT_READ):
            return _count_mapped(mapping) > before
    return False


def _count_mapped(mapping: Mapping) -> int:
    """Return how often this process has mapped what was mapped there."""
    device = f"{os.major(mapping.device):02x}:{os.minor(mapping.device):02x}"
    wanted = re.compile(rf"^\S+ \S+ \S+ {device} {mapping.inode}\s", re.MULTILINE)
    return len(wanted.findall((PROC / "self/maps").read_text(errors="replace")))


@contextlib.contextmanager
def _closing(fd: int | None) -> Iterator[int | None]:
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _copy_vdso() -> int | None:
    """Return a file of the code that the kernel gives each 64-bit process: ours is as good as another's."""
    try:
        lines = (PROC / "self/maps").read_text(errors="replace").splitlines()
        start, end = next(
            (int(part, 16) for part in line.split()[0].split("-")) for line in lines if line.endswith(VDSO)
        )
        fd = os.memfd_create("vdso", os.MFD_CLOEXEC)
    except (OSError, StopIteration, ValueError):
        return None
    # Not by /proc/self/mem, which is closed to a process that its file gave capabilities.
    os.write(fd, ctypes.string_at(start, min(end - start, VDSO_MAX)))
    return fd


def _inner_pid(pid: int) -> int:
    """Return a process's number as it sees itself, in its namespace."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (PROC / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid
