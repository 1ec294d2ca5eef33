"""Kprobes on syscalls: the functions that there are, return probes, and what dead tracers left behind."""

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from traceleft import tracefs
from traceleft.tracer import _native
from traceleft.tracer.kernel.features import PROC, is_initial_pid_namespace

PREFIXES: Final = ("__x64_sys_", "SyS_", "sys_")
# Our return probes, and libbpf's probes where the kernel has no PMU for them (below 4.17): its kprobes lie in a group
# of another name than its return probes.
LEFTOVER: Final = re.compile(r"[pr][0-9]*:((?:kprobes|kretprobes)/(?:libbpf|traceleft)_([0-9]{1,10})_[^ ]{1,200}) ")
KPROBE_EVENTS: Final = "kprobe_events"
# What tracefs says of itself, and how it says there that a return probe takes a number of calls (since v4.12,
# 696ced4fb1d7). Older kernels do not refuse the number: they ignore it and the name, and make a probe that stays.
README: Final = "README"
TAKES_NUMBER: Final = "r[maxactive]"
FUNCTIONS: Final = "available_filter_functions"
# Calls in flight that a return probe can follow: by itself it follows two a CPU, ten at least. 4096 is the kernel's
# own limit (KRETPROBE_MAXACTIVE_MAX); each takes some hundred bytes.
BRIEF_MAX: Final = 128
BLOCKING_MAX: Final = 4096
_BLOCKING_NAMES: Final = (
    "accept accept4 clock_nanosleep connect epoll_pwait epoll_pwait2 epoll_wait fcntl flock fsync futex futex_wait "
    "futex_waitv io_getevents io_pgetevents io_uring_enter ioctl mq_timedreceive mq_timedsend msgrcv msgsnd "
    "nanosleep open openat pause poll ppoll pread64 preadv preadv2 pselect6 read readv recvfrom recvmmsg recvmsg "
    "rt_sigsuspend rt_sigtimedwait select semop semtimedop sendmmsg sendmsg sendto splice vfork wait4 waitid write "
    "writev"
)
BLOCKING: Final = frozenset(_BLOCKING_NAMES.split())
_serial = itertools.count(1)


def read_syscall_symbols(path: Path = PROC / "kallsyms") -> frozenset[str]:
    """Return the kernel's functions that may be syscalls; none where it does not tell."""
    found = set()
    with contextlib.suppress(OSError), path.open(errors="replace") as lines:
        for line in lines:
            # "<address> <type> <name>", and "[module]" behind a module's.
            words = line.split()
            if len(words) == 3 and words[2].startswith(PREFIXES):
                found.add(words[2])
    return frozenset(found)


def find_leftovers(text: str) -> list[str]:
    """Return GROUP/NAME of each probe in `kprobe_events` that libbpf or we made and whose maker has ended."""
    found = (LEFTOVER.match(line) for line in text.splitlines())
    return [match[1] for match in found if match and not (PROC / match[2]).exists()]


def find_refused(symbols: Iterable[str], events: Path | None = None) -> frozenset[str]:
    """Return the functions among these on which this kernel sets no kprobe; none where that cannot be tried.

    The kernel takes only what ftrace knows (trace_kprobe.c, since v4.20), but also by other names of the same place. So
    what ftrace does not name is tried. ``events`` is `kprobe_events` of tracefs, where it is mounted if not given.
    """
    events = events or _find_events()
    if events is None:
        return frozenset()
    try:
        known = {line.split()[0] for line in (events.parent / FUNCTIONS).read_text().splitlines() if line}
    except OSError:
        return frozenset()
    return frozenset(symbol for symbol in sorted({*symbols} - known) if known and not _takes_kprobe(events, symbol))


def _takes_kprobe(events: Path, symbol: str) -> bool:
    name = f"traceleft_{os.getpid()}_{next(_serial)}_{symbol}"
    return _write_lines(events, [f"p:kprobes/{name} {symbol}"]) and _write_lines(events, [f"-:kprobes/{name}"])


class ReturnProbes:
    """Return probes made through tracefs, where it takes how many calls they follow at once; else libbpf's.

    What they miss all the same the programs count: `kprobe_profile` leaves it out below 6.0 or so, and takes a read at
    an unmapped page for one below 5.14.

    Any thread may attach; close() once all links are detached. ``events`` is `kprobe_events` of tracefs, where it is
    mounted if not given.
    """

    def __init__(self, events: Path | None = None) -> None:
        events = events or _find_events()
        self._events = events if events is not None and _takes_number(events) else None
        self._made: list[str] = []
        self._lock = threading.Lock()

    def attach(self, loaded: _native.Object, program: str, symbol: str, *, event: str) -> _native.Link:
        """Attach a program to a function's return."""
        name = f"traceleft_{os.getpid()}_{next(_serial)}_{symbol}"
        if self._events is None:
            return loaded.attach_kprobe(program, symbol, True)
        with self._lock:
            # Noted first: a signal may end us at any moment, and to remove what was not made does no harm.
            self._made.append(name)
        most = BLOCKING_MAX if event in BLOCKING else BRIEF_MAX
        if not _write_lines(self._events, [f"r{most}:kprobes/{name} {symbol}"]):
            return loaded.attach_kprobe(program, symbol, True)
        return loaded.attach_tracepoint(program, "kprobes", name)

    def close(self) -> None:
        """Remove the probes; may be called again."""
        with self._lock:
            made, self._made = self._made, []
        if self._events is not None and made:
            _write_lines(self._events, [f"-:kprobes/{name}" for name in made])


def remove_leftovers(events: Path | None = None) -> None:
    """Remove the probes that killed tracers left behind; the kernel keeps one that is in use.

    Where pids are not the kernel's, the makers cannot be known. ``events`` is `kprobe_events` of tracefs, where it is
    mounted if not given.
    """
    place = events or _find_events()
    if place is None or not is_initial_pid_namespace():
        return
    with contextlib.suppress(OSError):
        names = find_leftovers(place.read_text(errors="replace"))
        _write_lines(place, [f"-:{name}" for name in names])


def _takes_number(events: Path) -> bool:
    try:
        return TAKES_NUMBER in (events.parent / README).read_text(errors="replace")
    except OSError:
        return False


def _find_events() -> Path | None:
    return next((each / KPROBE_EVENTS for each in tracefs.PLACES if os.path.exists(each / KPROBE_EVENTS)), None)


def _write_lines(path: Path, lines: Iterable[str]) -> bool:
    """Give the kernel each line in a write of its own; whether it took them all."""
    took_all = True
    try:
        # Only to append: truncated, the file removes everybody's.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        for line in lines:
            try:
                os.write(fd, line.encode() + bytes([10]))
            except OSError:
                took_all = False
    finally:
        os.close(fd)
    return took_all
