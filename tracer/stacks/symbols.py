"""Names of places in code: the kernel's own list for the kernel, a process without privileges for files.

The only module that imports bcc, whose symbol cache reads the kernel's list where the distribution's bcc is installed.
"""

import os
import time
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from traceleft.terminal import printable
from traceleft.tracer.decode.stack import Frame, Frames
from traceleft.tracer.stacks import mapped_files
from traceleft.tracer.stacks.mapped_files import VDSO, Files, Stamp, stamp_of
from traceleft.tracer.stacks.mappings import Mapping, Space, Spaces
from traceleft.tracer.stacks.places import Place, Places, pack
from traceleft.tracer.stacks.symbol_process import SymbolProcess

KALLSYMS: Final = Path("/proc/kallsyms")
CODE_TYPES: Final = "tTwW"
MODULES_MAX: Final = 4096
NAMES_MAX: Final = 1 << 18
# How often the list of functions that a process makes at run time is looked at again.
LIST_S: Final = 1.0

T = TypeVar("T")


def import_bcc() -> Any:
    """Return the distribution's bcc, None where it is not installed or does not serve."""
    try:
        import bcc
    except (ImportError, OSError, AttributeError):
        return None
    # The package of that name on PyPI is another.
    return bcc if hasattr(bcc, "SymbolCache") and hasattr(bcc, "libbcc") else None


class Symbols:
    """Names frames of the kernel and of processes, as long as ``spaces`` know what these had mapped.

    Without a ``process`` that reads files, places in processes have their module and address. ``files`` opens them.
    """

    def __init__(
        self, spaces: Spaces, *, bcc: Any = None, process: SymbolProcess | None = None, files: Files = mapped_files
    ) -> None:
        self._files = files
        self._spaces = spaces
        self._bcc = bcc
        self._process = process
        self._modules: dict[tuple[str, int, int], _File] = {}
        self._lists: dict[tuple[int, int], _Module] = {}
        self._numbers = 0
        self._names = 0

    def kernel(self, addresses: Sequence[int]) -> Frames:
        """Return the frames of a stack in the kernel, whose list of functions is read as this is first called."""
        return tuple(self._kernel_frame(address) for address in addresses)

    def user(self, pid: int, addresses: tuple[int, ...], at_ns: int) -> Frames:
        """Return the frames of a process's stack at a time."""
        space = self._spaces.find(pid, at_ns)
        found = space.found.get(addresses)
        if found is None:
            mappings = [space.find(address, at_ns) for address in addresses]
            self._ask(pid, space, list(zip(addresses, mappings, strict=True)))
            frames = tuple(
                self._user_frame(pid, space, address, mapping)
                for address, mapping in zip(addresses, mappings, strict=True)
            )
            space.found[addresses] = found = frames
        return found

    @cached_property
    def _find_kernel(self) -> Callable[[int], Place | None]:
        return _read_kernel(self._bcc)

    def _kernel_frame(self, address: int) -> Frame:
        place = self._find_kernel(address)
        return Frame(address) if place is None else Frame(address, *place)

    def _user_frame(self, pid: int, space: Space, address: int, mapping: Mapping | None) -> Frame:
        if mapping is None:
            return Frame(address)
        module, place = self._place(pid, space, address, mapping)
        named = None if module is None else module.names.get(place)
        if named is None:
            at = address - mapping.start + mapping.offset
            return Frame(address, None, at, mapping.path) if mapping.path else Frame(address)
        return Frame(address, *named, mapping.path or None)

    def _ask(self, pid: int, space: Space, addresses: Sequence[tuple[int, Mapping | None]]) -> None:
        """Have the names of these addresses ready, each file asked once."""
        if self._process is None:
            return
        if self._names > NAMES_MAX:
            self._forget()
        wanted: dict[_Module, list[int]] = {}
        for address, mapping in addresses:
            if mapping is not None:
                module, place = self._place(pid, space, address, mapping)
                if module is not None and place not in module.names:
                    wanted.setdefault(module, []).append(place)
        for module, places in wanted.items():
            found = module.ask(self._process, list(dict.fromkeys(places)))
            self._names += len(found)
            module.names.update(found)

    def _place(self, pid: int, space: Space, address: int, mapping: Mapping) -> "tuple[_Module | None, int]":
        """Return what names an address, and the place in it; None where no file does."""
        if self._process is None:
            return None, 0
        if mapping.path.startswith("/") or mapping.path == VDSO:
            return self._file(pid, space, mapping), address - mapping.start + mapping.offset
        if self._spaces.latest(pid) is not space:
            return None, 0
        return self._lists.setdefault((pid, space.since_ns), _List(self._next_number, pid, self._files)), address

    def _file(self, pid: int, space: Space, mapping: Mapping) -> "_File":
        """Return the file of a mapping; one that was written over since, as each program finds out once, is another."""
        key = mapping.path, mapping.device, mapping.inode
        file = self._modules.get(key)
        if file is None or file.is_for_another(pid) or (key not in space.files and file.has_changed()):
            file = self._modules[key] = _File(self._next_number, pid, self._files, mapping)
        space.files.add(key)
        return file

    def _next_number(self) -> int:
        self._numbers += 1
        if len(self._modules) + len(self._lists) > MODULES_MAX:
            self._forget()
        return self._numbers

    def _forget(self) -> None:
        """Make room: names are asked for again, those that were given out stay."""
        self._modules.clear()
        self._lists.clear()
        self._names = 0


class _State(Enum):
    """Whether a module can be read."""

    READABLE = "readable"
    UNREADABLE = "unreadable"
    # Its process could not open it; another one may.
    ABSENT = "absent"
    # Its reading has ended a worker: it is not given to another one.
    POISON = "poison"


class _Module:
    """What names places, and the names that are known; None for a place that has none."""

    def __init__(self, next_number: Callable[[], int], pid: int, files: Files) -> None:
        self.names: dict[int, Place | None] = {}
        self._files = files
        self._next_number = next_number
        self._pid = pid
        self._number = 0
        self._generation = -1
        self._state = _State.READABLE

    def ask(self, process: SymbolProcess, places: Sequence[int]) -> dict[int, Place | None]:
        """Return what places are called; all nameless where the file cannot be read."""
        found = self._ask(process, places)
        if found is None and not self._is_broken and self._generation == process.generation:
            # It had to make room for others there.
            self._generation = -1
            found = self._ask(process, places)
        return dict(zip(places, map(_printed, found or [None] * len(places)), strict=True))

    @property
    def _is_broken(self) -> bool:
        return self._state is not _State.READABLE

    def _ask(self, process: SymbolProcess, places: Sequence[int]) -> Sequence[Place | None] | None:
        if not self._is_broken and self._needs_load(process):
            self._number = self._number or self._next_number()
            self._guard(process, lambda: self._read(process))
            self._generation = process.generation
        return None if self._is_broken else self._guard(process, lambda: process.name(self._number, places))

    def _guard(self, process: SymbolProcess, ask: Callable[[], T]) -> T:
        """Ask something, and notice whether that ended the worker."""
        before = process.failures
        answer = ask()
        if process.failures > before:
            self._state = _State.POISON
        return answer

    def _read(self, process: SymbolProcess) -> None:
        self._state = self._load(process, self._number)

    def _needs_load(self, process: SymbolProcess) -> bool:
        return self._generation != process.generation

    def _load(self, process: SymbolProcess, number: int) -> _State:
        """Hand the file over; return whether its functions can be read."""
        raise AssertionError


class _File(_Module):
    """The file of a mapping, with its debug information if there is any."""

    def __init__(self, next_number: Callable[[], int], pid: int, files: Files, mapping: Mapping) -> None:
        super().__init__(next_number, pid, files)
        self._mapping = mapping
        self._opened: tuple[str, Stamp] | None = None

    def is_for_another(self, pid: int) -> bool:
        """Whether its first process could not open it, so that another one that has it mapped may be asked."""
        return self._state is _State.ABSENT and pid != self._pid

    def has_changed(self) -> bool:
        """Whether it was written over since it was read."""
        return self._opened is not None and self._opened[0] != "" and self._files.is_changed(*self._opened)

    def _load(self, process: SymbolProcess, number: int) -> _State:
        with self._files.open_mapped(self._pid, self._mapping) as opened:
            self._opened = None if opened is None else (opened.path, opened.stamp)
            if opened is None:
                return _State.ABSENT
            reply = process.load(number, opened.fd)
        if reply is None:
            return _State.UNREADABLE
        if reply.build_id or reply.link:
            with self._files.open_debug(self._mapping.path, reply.build_id, reply.link) as fd:
                if fd is not None:
                    process.load_debug(number, fd, checksum=reply.checksum if reply.link else None)
        return _State.READABLE


class _List(_Module):
    """The functions that a process makes at run time, as it lists them itself."""

    def __init__(self, next_number: Callable[[], int], pid: int, files: Files) -> None:
        super().__init__(next_number, pid, files)
        self._due = 0.0
        self._stamp: Stamp | None = None

    def ask(self, process: SymbolProcess, places: Sequence[int]) -> dict[int, Place | None]:
        """Return what places are called; one without a name may get one later."""
        if self._state is _State.UNREADABLE and time.monotonic() >= self._due:
            self._state = _State.READABLE
        found = super().ask(process, places)
        return {place: each for place, each in found.items() if each is not None}

    def _needs_load(self, process: SymbolProcess) -> bool:
        return super()._needs_load(process) or time.monotonic() >= self._due

    def _load(self, process: SymbolProcess, number: int) -> _State:
        begun = time.monotonic()
        is_new = self._generation != process.generation
        with self._files.open_function_list(self._pid) as fd:
            stamp = None if fd is None else stamp_of(os.fstat(fd))
            is_same = not is_new and stamp is not None and stamp == self._stamp
            is_read = is_same or (fd is not None and process.load(number, fd, kind="list") is not None)
        self._stamp = stamp if is_read else None
        # A long list costs the reader no more than a tenth of its time.
        self._due = time.monotonic() + max(LIST_S, 10 * (time.monotonic() - begun))
        return _State.READABLE if is_read else _State.UNREADABLE


def _printed(place: Place | None) -> Place | None:
    return None if place is None else (printable(place[0]), place[1])


def _read_kernel(bcc: Any) -> Callable[[int], Place | None]:
    """Read the kernel's list of functions, which hides their addresses from who has lost CAP_SYSLOG."""
    if bcc is None:
        return _kernel_places().find
    cache = bcc.SymbolCache(-1)

    def find(address: int) -> Place | None:
        name, offset, _ = cache.resolve(address, False)
        return None if name is None else (printable(name.decode(errors="backslashreplace")), offset)

    # It reads the list as it is first asked.
    find(0)
    return find


def _kernel_places() -> Places:
    """Read the kernel's list; empty where it hides the addresses (kernel.kptr_restrict)."""
    names: list[str] = []
    functions: list[int] = []
    try:
        lines = KALLSYMS.read_text(errors="backslashreplace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        address, kind, name = line.split(maxsplit=3)[:3]
        if kind in CODE_TYPES and (start := int(address, 16)):
            functions.append(pack(start, 0, len(names)))
            names.append(name)
    return Places(functions, names.__getitem__)
