"""What reads the files of traced processes: a process without privileges, with limits of memory and time.

It is given open files, and asked for the names of places in them, one message each way. It opens nothing, and may make
the system calls of ``CALLS`` alone. One that breaks off over a file is followed by another, which begins anew.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from traceleft.tracer import _native
from traceleft.tracer.sandbox.call_filter import allowing
from traceleft.tracer.stacks.elf_symbols import NAME_MAX, ElfError, ElfFile, ElfSymbols, matches
from traceleft.tracer.stacks.places import Place, Places, pack

CALLS: Final = frozenset(
    {
        *("recvmsg", "sendmsg", "sendto", "pread64", "close", "exit_group", "rt_sigreturn", "setitimer", "futex"),
        *("brk", "mmap", "munmap", "mremap", "mprotect", "madvise"),
    }
)
MEMORY_BYTES: Final = 512 << 20
# Of the processor, for one request.
SECONDS: Final = 3.0
FILES_MAX: Final = 256
PLACES_MAX: Final = 8
MESSAGE_MAX: Final = 1 << 18
PERF_MAP_MAX: Final = 64 << 20
WORKERS_MAX: Final = 16

_Number = Annotated[int, msgspec.Meta(ge=0)]
_Name = Annotated[str, msgspec.Meta(max_length=NAME_MAX)]
Named = tuple[_Name, _Number]


class Load(msgspec.Struct, tag=True, frozen=True):
    """Take a file, which comes with this message, under a number. ``kind``: ``elf``, or a ``list`` of functions."""

    serial: int
    file: int
    kind: str = "elf"


class LoadDebug(msgspec.Struct, tag=True, frozen=True):
    """Take a file of debug information, which comes with this message, if it belongs to a file that was loaded."""

    serial: int
    file: int
    checksum: int | None = None


class Name(msgspec.Struct, tag=True, frozen=True):
    """Name places in a file that was loaded."""

    serial: int
    file: int
    places: list[int]


Request = Load | LoadDebug | Name


class Reply(msgspec.Struct, frozen=True):
    """The answer to the request of a serial number; that of 0 is a worker's first word.

    ``is_known``: the file was loaded. ``build_id``, ``link``, ``checksum``: where debug information may be found.
    """

    serial: _Number
    is_known: bool = False
    names: Annotated[list[Named | None], msgspec.Meta(max_length=PLACES_MAX)] = []
    build_id: Annotated[bytes, msgspec.Meta(max_length=64)] = b""
    link: _Name = ""
    checksum: _Number = 0


def nurse(peer: socket.socket) -> None:
    """Keep a worker at its work, as long as its peer is there; a few that broke off are enough."""
    demangle = find_demangler()
    for _ in range(WORKERS_MAX):
        pid = os.fork()
        if pid == 0:
            _work(peer, demangle)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            return


def _work(peer: socket.socket, demangle: Callable[[str], str]) -> None:
    """Serve with limits, and end."""
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Who started us may have ignored it, or held it back.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
        _native.filter_calls(allowing(CALLS))
        Worker(demangle).serve(peer)
    except BaseException:
        os._exit(1)
    os._exit(0)


class Worker:
    """Answers requests by the files that came with them."""

    def __init__(self, demangle: Callable[[str], str]) -> None:
        self._demangle = demangle
        self._files: dict[int, ElfSymbols | Places] = {}
        self._build_ids: dict[int, bytes | None] = {}
        self._fds: dict[int, list[int]] = {}

    def serve(self, peer: socket.socket) -> None:
        """Answer until the peer is gone."""
        peer.send(msgspec.msgpack.encode(Reply(0)))
        decode = msgspec.msgpack.Decoder(Request).decode
        while True:
            data, fds, _, _ = socket.recv_fds(peer, MESSAGE_MAX, 1)
            if not data:
                return
            # What takes longer ends this process.
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            reply = self.answer(decode(data), fds[0] if fds else None)
            signal.setitimer(signal.ITIMER_PROF, 0)
            peer.send(msgspec.msgpack.encode(reply))

    def answer(self, request: Request, fd: int | None) -> Reply:
        """Answer one request; a file whose functions cannot be read is unknown."""
        if isinstance(request, Load) and request.file in self._fds:
            self._forget(request.file)
        if fd is not None:
            self._fds.setdefault(request.file, []).append(fd)
        try:
            if isinstance(request, Name):
                return self._name(request)
            if fd is None:
                return Reply(request.serial)
            return self._load(request, fd) if isinstance(request, Load) else self._load_debug(request, fd)
        except (ElfError, OSError, MemoryError, ValueError, OverflowError):
            return Reply(request.serial)
        finally:
            while len(self._fds) > FILES_MAX:
                self._forget(next(iter(self._fds)))

    def _forget(self, number: int) -> None:
        """Forget a file, which may be loaded again."""
        for fd in self._fds.pop(number):
            os.close(fd)
        self._files.pop(number, None)
        self._build_ids.pop(number, None)

    def _load(self, request: Load, fd: int) -> Reply:
        if request.kind == "list":
            self._files[request.file] = read_list(reader_of(fd))
            return Reply(request.serial, True)
        file = ElfFile(reader_of(fd))
        self._files[request.file] = ElfSymbols(file)
        self._build_ids[request.file] = file.build_id
        if file.has_all_symbols:
            return Reply(request.serial, True)
        link = file.debug_link
        return Reply(
            request.serial,
            True,
            build_id=file.build_id or b"",
            link=link.name[:NAME_MAX] if link and link.name.isprintable() else "",
            checksum=link.checksum if link else 0,
        )

    def _load_debug(self, request: LoadDebug, fd: int) -> Reply:
        symbols, read = self._files.get(request.file), reader_of(fd)
        if not isinstance(symbols, ElfSymbols):
            return Reply(request.serial)
        file = ElfFile(read)
        does_match = matches(file, read, build_id=self._build_ids[request.file], checksum=request.checksum)
        if does_match:
            symbols.add(file)
        return Reply(request.serial, does_match)

    def _name(self, request: Name) -> Reply:
        symbols = self._files.get(request.file)
        if symbols is None:
            return Reply(request.serial)
        found = [self._show(symbols.find(place)) for place in request.places[:PLACES_MAX]]
        return Reply(request.serial, True, found)

    def _show(self, found: Place | None) -> Place | None:
        if found is None:
            return None
        name = self._demangle(found[0]) if found[0].startswith("_Z") else found[0]
        return (name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"), found[1]


def reader_of(fd: int) -> Callable[[int, int], bytes]:
    """Return what reads bytes of a file at a place; none beyond its end, or where no file can have any."""

    def read(offset: int, size: int) -> bytes:
        return os.pread(fd, min(size, PERF_MAP_MAX), offset) if offset >> 63 == 0 else b""

    return read


def read_list(read: Callable[[int, int], bytes]) -> Places:
    """Read a list of functions that were made at run time: lines of start, size (hexadecimal) and name.

    See Documentation/jit-interface.txt of perf, in the kernel's tools/perf.
    """
    names: list[bytes] = []
    functions: list[int] = []
    for line in read(0, PERF_MAP_MAX).splitlines():
        start, _, rest = line.partition(b" ")
        size, _, name = rest.partition(b" ")
        with contextlib.suppress(ValueError):
            place = int(start[:18], 16), int(size[:18], 16)
            if name and all(0 <= each < 1 << 64 for each in place):
                functions.append(pack(*place, len(names)))
                names.append(name)
    # A place that is used again has the name of the later line.
    return Places(functions, lambda key: names[key][:NAME_MAX].decode(errors="backslashreplace"), takes_last=True)


def find_demangler() -> Callable[[str], str]:
    """Return what shows C++ names in plain text, by the C++ library; without one they stay as they are."""
    try:
        demangle, release = ctypes.CDLL("libstdc++.so.6").__cxa_demangle, ctypes.CDLL(None).free
    except (OSError, AttributeError):
        return lambda name: name
    demangle.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    demangle.restype = ctypes.c_void_p
    release.argtypes = [ctypes.c_void_p]

    def show(name: str) -> str:
        text = demangle(name.encode(errors="replace"), None, None, None)
        if not text:
            return name
        try:
            return ctypes.string_at(text).decode(errors="backslashreplace")
        finally:
            release(text)

    return show
