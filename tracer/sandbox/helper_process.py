"""Processes of ours that do one thing, with no more privileges than it takes, for as long as their maker lives."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final, NoReturn

from traceleft.tracer.sandbox import privileges as sandbox

NOBODY: Final = 65534
GRACE_S: Final = 1.0
# A terminal's signals are for the process that started us.
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


def fork_helper(
    run: Callable[[], object], *, fds: Collection[int], keep: Iterable[int] = (), calls: bytes | None = None
) -> int:
    """Fork a process that runs a function and ends; return its pid, for the caller to wait for.

    It has these file descriptors and no others, keeps these capabilities and no others, and may make the system calls
    that a filter allows (None: it is for ``run`` to restrict them). Without capabilities it is the user ``nobody``.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        pid = os.fork()
        if pid == 0:
            _run(run, frozenset(fds), frozenset(keep), calls, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def fork_peer(
    serve: Callable[[socket.socket], object], *, keep: Iterable[int] = (), calls: bytes | None = None
) -> tuple[socket.socket, int]:
    """Fork a helper that serves a socket; return our end of it, which keeps messages apart, and its pid."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        return ours, fork_helper(lambda: serve(theirs), fds=(theirs.fileno(),), keep=keep, calls=calls)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()


def wait_briefly(pid: int) -> None:
    """Wait for a helper that has nothing more to do; one that hangs in a dead file system is left to itself."""
    deadline = time.monotonic() + GRACE_S
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.001)


def give_up_user() -> None:
    """Become ``nobody``, where this process may: files of others can no longer be opened."""
    with contextlib.suppress(OSError):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _run(
    run: Callable[[], object],
    fds: frozenset[int],
    keep: frozenset[int],
    calls: bytes | None,
    mask: Iterable[signal.Signals | int],
) -> NoReturn:
    status = 1
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with contextlib.suppress(OSError):
            os.setsid()
        _close_others(fds)
        if not keep:
            give_up_user()
        sandbox.confine(keep, calls=calls)
        run()
        status = 0
    except BaseException:
        # Nobody could read a traceback.
        status = 1
    finally:
        os._exit(status)


def _close_others(fds: frozenset[int]) -> None:
    """Close all files but these, and let the standard ones lead nowhere."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in {0, 1, 2} - fds - {null}:
        os.dup2(null, fd)
    if null > 2:
        os.close(null)
