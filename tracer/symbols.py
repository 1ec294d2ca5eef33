"""Names of places in code: by bcc's symbol cache where the distribution's bcc is installed.

Without bcc the kernel's own list names its functions, and places in user space have their module and address. The only
module that imports bcc.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from traceleft.tracer.mappings import Mapping, Space, Spaces
from traceleft.tracer.stacks import Frame, Frames, printable

KALLSYMS: Final = Path("/proc/kallsyms")
PROC: Final = Path("/proc")
CODE_TYPES: Final = "tTwW"
CACHES_MAX: Final = 64
MODULES_MAX: Final = 4096

Place = tuple[str, int]
"""A function's name and the bytes from its start."""


def import_bcc() -> Any:
    """Return the distribution's bcc, None where it is not installed or does not serve."""
    try:
        import bcc
    except (ImportError, OSError, AttributeError):
        return None
    # The package of that name on PyPI is another.
    return bcc if hasattr(bcc, "SymbolCache") and hasattr(bcc, "libbcc") else None


class Symbols:
    """Names frames of the kernel and of processes, as long as ``spaces`` know what these had mapped."""

    def __init__(self, spaces: Spaces, *, bcc: Any = None) -> None:
        self._spaces = spaces
        self._bcc = bcc
        self._modules: dict[tuple[str, int], Callable[[int], Place | None]] = {}
        self._caches: dict[tuple[int, int], Any] = {}

    def kernel(self, addresses: Sequence[int]) -> Frames:
        """Return the frames of a stack in the kernel."""
        return tuple(self._kernel_frame(address) for address in addresses)

    def user(self, pid: int, addresses: tuple[int, ...], at_ns: int) -> Frames:
        """Return the frames of a process's stack at a time."""
        space = self._spaces.find(pid, at_ns)
        found = space.found.get(addresses)
        if found is None:
            frames = tuple(self._user_frame(pid, space, address, at_ns) for address in addresses)
            space.found[addresses] = found = frames
        return found

    def close(self) -> None:
        """Release what bcc keeps of processes."""
        for (pid, _), cache in self._caches.items():
            self._bcc.libbcc.lib.bcc_free_symcache(cache.cache, pid)
        self._caches.clear()

    def _kernel_frame(self, address: int) -> Frame:
        place = self._find_kernel(address)
        return Frame(address) if place is None else Frame(address, *place)

    @cached_property
    def _find_kernel(self) -> Callable[[int], Place | None]:
        if self._bcc is None:
            return _Table.of_kernel().find
        cache = self._bcc.SymbolCache(-1)

        def find(address: int) -> Place | None:
            name, offset, _ = cache.resolve(address, False)
            return None if name is None else (show_name(name), offset)

        return find

    def _user_frame(self, pid: int, space: Space, address: int, at_ns: int) -> Frame:
        mapping = space.find(address, at_ns)
        if mapping is None:
            return Frame(address)
        place = address - mapping.start + mapping.offset
        named = self._module(pid, mapping)(place)
        if named is None and self._bcc is not None and self._is_current(pid, space):
            named = self._ask_process(pid, space, address)
        module = mapping.path or None
        if named is None:
            return Frame(address, None, place, module) if module else Frame(address)
        return Frame(address, *named, module)

    def _is_current(self, pid: int, space: Space) -> bool:
        return self._spaces.latest(pid) is space

    def _module(self, pid: int, mapping: Mapping) -> Callable[[int], Place | None]:
        """Return what names places of a mapping's file."""
        key = mapping.path, mapping.inode
        if key not in self._modules:
            path = find_file(pid, mapping) if self._bcc is not None else None
            if len(self._modules) >= MODULES_MAX:
                self._modules.clear()
            self._modules[key] = _Module(self._bcc.libbcc.lib, path).find if path else _find_nothing
        return self._modules[key]

    def _ask_process(self, pid: int, space: Space, address: int) -> Place | None:
        """Name what lies in no file, as code does that was made at run time."""
        key = pid, space.since_ns
        if key not in self._caches:
            if len(self._caches) >= CACHES_MAX:
                self.close()
            self._caches[key] = self._bcc.SymbolCache(pid)
        name, offset, _ = self._caches[key].resolve(address, True)
        return None if name is None else (show_name(name), offset)


def _find_nothing(place: int) -> None:
    return None


def show_name(name: bytes) -> str:
    """Return a symbol's name as text without control characters."""
    return printable(name.decode(errors="backslashreplace"))


def find_file(pid: int, mapping: Mapping) -> str | None:
    """Return a path to the very file that was mapped, from here or from where the process sees it; None without one."""
    if not mapping.path.startswith("/"):
        return None
    for path in (mapping.path, f"{PROC}/{pid}/root{mapping.path}"):
        try:
            if os.stat(path).st_ino == mapping.inode:
                return path
        except OSError:
            continue
    return None


class _Table:
    """Functions by where they begin; ``size`` 0 reaches to the next. Of several names of one the plainest is taken."""

    def __init__(self, symbols: list[tuple[int, int, str]]) -> None:
        symbols.sort(key=_rank)
        self._starts = [start for start, _, _ in symbols]
        self._symbols = symbols

    @classmethod
    def of_kernel(cls) -> "_Table":
        """Read the kernel's list; empty where it hides the addresses (kernel.kptr_restrict)."""
        symbols = []
        try:
            lines = KALLSYMS.read_text(errors="backslashreplace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            address, kind, name = line.split(maxsplit=3)[:3]
            if kind in CODE_TYPES and (start := int(address, 16)):
                symbols.append((start, 0, name))
        return cls(symbols)

    def find(self, place: int) -> Place | None:
        rank = bisect_right(self._starts, place) - 1
        # Names of one place lie side by side; the first that reaches so far is taken.
        while rank >= 0:
            start, size, name = self._symbols[rank]
            if not size or place < start + size:
                return name, place - start
            if rank and self._starts[rank - 1] != start:
                return None
            rank -= 1
        return None


def _rank(symbol: tuple[int, int, str]) -> tuple[int, int, int, str]:
    start, _, name = symbol
    return start, len(name.lstrip("_")) - len(name), -len(name), name


class _Module:
    """The functions of one file, as bcc reads them (with the debug file that belongs to it), when first asked for."""

    def __init__(self, lib: Any, path: str) -> None:
        self._lib = lib
        self._path = os.fsencode(path)

    def find(self, place: int) -> Place | None:
        """Name a place in the file."""
        for address, size, offset in self._segments:
            if offset <= place < offset + size:
                found = self._table.find(place - offset + address)
                return None if found is None else (self._demangle(found[0]), found[1])
        return None

    @cached_property
    def _segments(self) -> list[tuple[int, int, int]]:
        import ctypes

        segments: list[tuple[int, int, int]] = []
        number = ctypes.c_uint64
        kind = ctypes.CFUNCTYPE(ctypes.c_int, number, number, number, ctypes.c_void_p)

        def take(address: int, size: int, offset: int, _: object) -> int:
            segments.append((address, size, offset))
            return 0

        self._lib.bcc_elf_foreach_load_section(self._path, kind(take), None)
        return segments

    @cached_property
    def _table(self) -> _Table:
        import ctypes

        symbols: list[tuple[int, int, str]] = []
        number = ctypes.c_uint64
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, number, number, ctypes.c_void_p)
        from bcc.libbcc import bcc_symbol_option

        # Functions, and those that are chosen when the program starts (STT_FUNC, STT_GNU_IFUNC).
        option = bcc_symbol_option(1, 1, 0, 1 << 2 | 1 << 10)

        def take(name: bytes, address: int, size: int, _: object) -> int:
            if name and address:
                symbols.append((address, size or 1, show_name(name)))
            return 0

        self._lib.bcc_elf_foreach_sym(self._path, kind(take), ctypes.byref(option), None)
        return _Table(symbols)

    def _demangle(self, name: str) -> str:
        if not name.startswith("_Z"):
            return name
        import ctypes

        demangle = getattr(self._lib, "__cxa_demangle", None)
        if demangle is None:
            return name
        demangle.restype = ctypes.c_void_p
        text = demangle(name.encode(), None, None, None)
        if not text:
            return name
        try:
            return show_name(ctypes.string_at(text))
        finally:
            release = ctypes.CDLL(None).free
            release.argtypes = [ctypes.c_void_p]
            release(text)
