"""What this process gives up once it only reads events: capabilities, new privileges, and system calls.

It holds for every thread, and for good: who has other work for the process does without
(docs/reference/security.md).
"""

import errno
import os
import signal
import stat
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from traceleft.tracer import _native

CAP_DAC_OVERRIDE: Final = 1
CAP_DAC_READ_SEARCH: Final = 2
CAP_KILL: Final = 5
CAP_SYS_PTRACE: Final = 19
CAP_SYS_ADMIN: Final = 21
CAP_BPF: Final = 39

THREADS: Final = Path("/proc/self/task")
# How long other threads have to give up theirs: each does as soon as it runs.
PATIENCE_S: Final = 1.0
LOOK_S: Final = 0.001


def confine(keep: Iterable[int], *, calls: bytes | None) -> list[str]:
    """Keep these capabilities alone, gain no others, and let a filter (if any) refuse system calls, in every thread.

    Return a line for each thing that could not be done.
    """
    mask = mask_of(keep)
    _native.confine(mask)
    notices = []
    if holding := _confine_threads(mask):
        notices.append(f"{len(holding)} of our threads keep their capabilities: they hold back all signals")
    try:
        if calls is not None:
            _native.filter_calls(calls)
    except _native.Error as exc:
        notices.append(f"no system call is refused to us: seccomp fails with {_reason(exc)}")
    return notices


def block_signals() -> None:
    """Leave signals to the main thread, except the one by which this thread is asked to give up its privileges."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {_native.CONFINE_SIGNAL})


def find_map_capability(read: Callable[[], object], keep: Collection[int]) -> tuple[int, ...]:
    """Return what reading a map takes on this kernel, besides ``keep``: nothing, or one capability.

    By trying: where unprivileged BPF is off, kernels before 5.19 or so ask for CAP_BPF, those before 5.8 for
    CAP_SYS_ADMIN. This thread's effective capabilities change for as long.
    """
    effective, _ = _native.capabilities()
    try:
        for more in ((), (CAP_BPF,)):
            _native.set_effective(mask_of((*keep, *more)))
            if _succeeds(read):
                return more
        return (CAP_SYS_ADMIN,)
    finally:
        _native.set_effective(effective)


def may_write(places: Iterable[Path]) -> bool:
    """Tell whether files can be made in these directories, and these files be written, without CAP_DAC_OVERRIDE."""
    effective, _ = _native.capabilities()
    own = os.geteuid()
    try:
        _native.set_effective(0)
        return all(_is_writable(each.stat(), own) for each in places)
    except OSError:
        return False
    finally:
        _native.set_effective(effective)


def _is_writable(status: os.stat_result, own: int) -> bool:
    needed = stat.S_IWUSR | (stat.S_IXUSR if stat.S_ISDIR(status.st_mode) else 0)
    return status.st_uid == own and status.st_mode & needed == needed


def mask_of(capabilities: Iterable[int]) -> int:
    """Return capabilities as bits."""
    return sum(1 << each for each in set(capabilities))


def _succeeds(read: Callable[[], object]) -> bool:
    try:
        read()
    except _native.Error as exc:
        if exc.args[0] != errno.EPERM:
            raise
        return False
    return True


def _confine_threads(mask: int) -> Sequence[int]:
    """Let all other threads do as this one did; return those that have not in time."""
    deadline = time.monotonic() + PATIENCE_S
    asked: set[int] = set()
    while holding := [tid for tid in _list_threads() if _permitted(tid) & ~mask]:
        if time.monotonic() >= deadline:
            return holding
        for tid in holding:
            if tid not in asked:
                _native.confine_other(tid)
                asked.add(tid)
        time.sleep(LOOK_S)
    return []


def _list_threads() -> list[int]:
    return [int(each) for each in os.listdir(THREADS)]


def _permitted(tid: int) -> int:
    """Return the permitted capabilities of a thread of ours; 0 for one that has ended."""
    try:
        lines = (THREADS / str(tid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapPrm:")), 0)


def _reason(error: _native.Error) -> str:
    return errno.errorcode.get(error.args[0], str(error.args[0]))
