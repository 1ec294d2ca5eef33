"""The stacks of a running trace: the kernel's map of them, and what makes names of its addresses in time."""

import contextlib
import errno
import itertools
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from traceleft.errors import UnsupportedError
from traceleft.record_layout import HEADER, STACK_IDS, STACKS
from traceleft.tracer import _native
from traceleft.tracer.decode.stack import Frames, Stack
from traceleft.tracer.kernel.memory import choose_stack_entries
from traceleft.tracer.stacks.file_process import FileProcess
from traceleft.tracer.stacks.sideband import Sideband
from traceleft.tracer.stacks.symbol_process import SymbolProcess
from traceleft.tracer.stacks.symbols import Symbols, import_bcc

FRAMES_MAX: Final = 127
BPF_MAP_TYPE_STACK_TRACE: Final = 7
# A thread of the kernel has no stack in user space.
NO_STACK: Final = -errno.EFAULT
# How a program comes to run at a tracepoint, or at a return.
PROBE_NAMES: Final = (
    *("bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "perf_trace_", "trace_call_bpf"),
    *("kretprobe_trampoline", "__kretprobe_trampoline", "arch_rethook_trampoline"),
)
FRAMES_SYSCTL: Final = Path("/proc/sys/kernel/perf_event_max_stack")

_KEY: Final = struct.Struct("=I")
_HEAD: Final = HEADER.picker("length", "event", "flags", "timestamp", "tgid")
_IDS: Final = STACK_IDS.picker("kernel", "user")


def make_map(entries: int | None) -> int:
    """Make the map that keeps stacks, for so many different ones, and return its fd."""
    count = choose_stack_entries(entries)
    try:
        return _native.map_create(BPF_MAP_TYPE_STACK_TRACE, _KEY.size, 8 * frames_limit(), count)
    except _native.Error as exc:
        raise UnsupportedError("-k", f"this kernel makes no map of stacks: {exc}") from exc


def frames_limit() -> int:
    """Return how many frames a stack has at most: what this kernel allows, or 127."""
    try:
        return max(min(int(FRAMES_SYSCTL.read_text()), FRAMES_MAX), 1)
    except (OSError, ValueError):
        return FRAMES_MAX


class LiveStacks:
    """The stacks of a running trace: a context manager, to be entered before anything is loaded, then begun.

    A stack is read out of the kernel's map once, and named as its record comes, while most processes still live.
    ``tell`` gets a line where names end; nothing is named any more once the trace ``is_over``. ``lost`` counts records
    whose stacks could not be kept: another had its place in the map, or the map was full.
    """

    def __init__(
        self, tell: Callable[[str], object] = lambda line: None, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self.lost = 0
        self._map_fd: int | None = None
        self._fixed_bytes: Mapping[int, int] = {}
        self._value_bytes = 8 * frames_limit()
        self._addresses: dict[int, tuple[int, ...]] = {}
        self._kernel: dict[int, Frames] = {}
        with contextlib.ExitStack() as stack:
            process = stack.enter_context(SymbolProcess(tell, is_over))
            files = stack.enter_context(FileProcess(tell))
            self._sideband = stack.enter_context(Sideband())
            self._symbols = Symbols(self._sideband.spaces, bcc=import_bcc(), process=process, files=files)
            self._stack = stack.pop_all()

    def begin(self, map_fd: int, fixed_bytes: Mapping[int, int]) -> None:
        """Take stacks from a map of the kernel; ``fixed_bytes`` are those of each event's records."""
        self._map_fd = map_fd
        self._fixed_bytes = fixed_bytes
        # Now: programs are among the kernel's functions, and it hides none of them from us yet.
        self._symbols.kernel([0])

    def __enter__(self) -> "LiveStacks":
        return self

    def __exit__(self, *exc: object) -> None:
        """Release all; what was taken before is still found."""
        self._map_fd = None
        self._stack.close()

    def tick(self) -> None:
        """Take what is noted of processes, often enough that none of it is lost."""
        self._sideband.read()

    def take(self, records: _native.Records) -> None:
        """Name the stacks of records that have just come, and count those that are not whole."""
        self._sideband.read()
        for pid, kernel, user, at_ns in self.ids(records):
            stack = self.find(pid, kernel, user, at_ns)
            self.lost += stack.kernel is None or stack.user is None

    def ids(self, records: _native.Records) -> Iterator[tuple[int, int, int, int]]:
        """Yield process, ids and time of the records that carry stacks."""
        return read_ids(records, self._fixed_bytes)

    def find(self, pid: int, kernel: int, user: int, at_ns: int) -> Stack:
        """Return the stack of a record of a process, made at a time of its own clock."""
        return Stack(self._find_kernel(kernel), self._find_user(pid, user, at_ns))

    def _find_kernel(self, number: int) -> Frames | None:
        if number not in self._kernel:
            addresses = self._read(number)
            if addresses is None:
                return None
            self._kernel[number] = leave_probe(self._symbols.kernel(addresses))
        return self._kernel[number]

    def _find_user(self, pid: int, number: int, at_ns: int) -> Frames | None:
        addresses = self._read(number)
        return None if addresses is None else self._symbols.user(pid, addresses, at_ns)

    def _read(self, number: int) -> tuple[int, ...] | None:
        """Return the addresses behind an id, which stay while the map does; None where it has none."""
        if number == NO_STACK:
            return ()
        if number not in self._addresses:
            value = self._look_up(number)
            if value is None:
                return None
            self._addresses[number] = unpack_addresses(value)
        return self._addresses[number]

    def _look_up(self, number: int) -> bytes | None:
        if self._map_fd is None or not 0 <= number < 1 << 32:
            return None
        return _native.map_lookup(self._map_fd, _KEY.pack(number), self._value_bytes)


def read_ids(records: _native.Records, fixed_bytes: Mapping[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield process, ids and time of the records that carry stacks; ``fixed_bytes`` by event id."""
    data = records.data
    for start in memoryview(records.offsets).cast("I"):
        length, event, flags, at_ns, pid = _HEAD.unpack_from(data, start)
        place = fixed_bytes.get(event)
        if flags & STACKS and place is not None and place + _IDS.size <= length:
            yield pid, *_IDS.unpack_from(data, start + place), at_ns


def leave_probe(frames: Frames) -> Frames:
    """Return a kernel's stack without its innermost frames that are a probe's, as far as they have names."""
    own = itertools.takewhile(lambda frame: frame.name is not None and frame.name.startswith(PROBE_NAMES), frames)
    return frames[len(list(own)) :]


def unpack_addresses(value: bytes) -> tuple[int, ...]:
    """Return the addresses of a value of the map, which ends with zeros."""
    addresses: Sequence[int] = struct.unpack(f"={len(value) // 8}Q", value)
    return tuple(addresses[: next((rank for rank, each in enumerate(addresses) if not each), len(addresses))])
