"""How often calls are made on the running machine, counted by the kernel for a moment, without a program.

Two of perf's counters a CPU on one tracepoint: one of all calls, one of the chosen numbers. It takes the moment, and a
grace period (some 35 ms) as the last of them is closed.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import time
from collections.abc import Collection
from typing import Final

from traceleft import tracefs
from traceleft.errors import UnsupportedError
from traceleft.tracer.kernel.rates import Rates

WINDOW_S: Final = 0.03
CPUS_MAX: Final = 16
MACHINE: Final = "x86_64"
# The call's number there; include/uapi/linux/perf_event.h has the rest.
PERF_EVENT_OPEN: Final = 298
TYPE_TRACEPOINT: Final = 2
FLAG_CLOSE_ON_EXEC: Final = 8
IOC_SET_FILTER: Final = 0x40082406
# struct perf_event_attr as of its first version: type, size, config, and what only sampling asks for.
_ATTR: Final = struct.Struct("=IIQ48x")
_COUNT: Final = struct.Struct("=Q")


def measure_rates(numbers: Collection[int], *, window_s: float = WINDOW_S) -> Rates | None:
    """Return how often all calls, and those of these numbers, are entered; None where that cannot be counted.

    Of many CPUs some are looked at, spread over all. Needs CAP_PERFMON, or root, and tracefs.
    """
    if os.uname().machine != MACHINE:
        return None
    cpus = range(os.sysconf("SC_NPROCESSORS_CONF"))
    chosen_cpus = cpus[:: -(-len(cpus) // CPUS_MAX)]
    try:
        with contextlib.ExitStack() as stack:
            pairs = [pair for cpu in chosen_cpus if (pair := _open_pair(stack, cpu, numbers))]
            if not pairs:
                return None
            return _count(pairs, os.sysconf("SC_NPROCESSORS_ONLN") / len(pairs), window_s)
    except (UnsupportedError, OSError, ValueError, struct.error):
        return None


def _count(pairs: Collection[tuple[int, int]], scale: float, window_s: float) -> Rates:
    begun_s, before = time.monotonic(), _read(pairs)
    time.sleep(window_s)
    elapsed_s, after = time.monotonic() - begun_s, _read(pairs)
    calls, chosen = ((late - early) * scale / elapsed_s for early, late in zip(before, after, strict=True))
    # One counter is read a moment after the other.
    return Rates(max(calls, chosen), chosen)


def _read(pairs: Collection[tuple[int, int]]) -> tuple[int, int]:
    counts = [[_COUNT.unpack(os.read(fd, _COUNT.size))[0] for fd in pair] for pair in pairs]
    return sum(all_calls for all_calls, _ in counts), sum(chosen for _, chosen in counts)


def _open_pair(stack: contextlib.ExitStack, cpu: int, numbers: Collection[int]) -> tuple[int, int] | None:
    """Open the counters of a CPU; None where it is offline."""
    place = tracefs.find_tracefs(mount=False) / "events/raw_syscalls/sys_enter/id"
    attr = _ATTR.pack(TYPE_TRACEPOINT, _ATTR.size, int(place.read_text()))
    try:
        of_all = open_counter(stack, attr, cpu)
        of_chosen = open_counter(stack, attr, cpu)
    except OSError as exc:
        if exc.errno == errno.ENODEV:
            return None
        raise
    condition = " || ".join(f"id == {number}" for number in sorted(numbers))
    fcntl.ioctl(of_chosen, IOC_SET_FILTER, condition.encode() + b"\0")
    return of_all, of_chosen


def open_counter(stack: contextlib.ExitStack, attr: bytes, cpu: int) -> int:
    """Open one of perf's counters on a CPU, of a packed struct perf_event_attr; the stack closes it."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    words = (ctypes.c_long(PERF_EVENT_OPEN), attr, *map(ctypes.c_long, (-1, cpu, -1, FLAG_CLOSE_ON_EXEC)))
    fd = int(call(*words))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    stack.callback(os.close, fd)
    return fd
