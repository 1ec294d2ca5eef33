"""`-- CMD`: a command that waits until it is traced."""

import contextlib
import errno
import os
import shutil
import signal
import stat
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from traceleft.errors import CommandError
from traceleft.tracer.sandbox.ender import Ender

# Python ignores these; a command of its own would expect their defaults.
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)
# What we handle ourselves, where it is not ignored.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ERRNO: Final = struct.Struct("=i")
_SIGNAL_BASE: Final = 128
# A child that executes nothing ends at once; this is for a busy machine.
NEVER_BEGUN_S: Final = 10.0


def find_command(name: str) -> str:
    """Return the path that `name` is executed by: itself if it has a slash, else the first match in PATH."""
    if not name or "\0" in name:
        raise CommandError("is not a valid name of a command", command=repr(name))
    if "/" not in name:
        found = shutil.which(name)
        if found is None:
            raise CommandError("not found in PATH; give its path, or install it", command=name)
        return found
    try:
        mode = Path(name).stat().st_mode
    except OSError as exc:
        raise CommandError(f"cannot be executed: {_reason(exc.errno)}", command=name) from exc
    if not stat.S_ISREG(mode) or not os.access(name, os.X_OK):
        raise CommandError("cannot be executed: it is not an executable file", command=name)
    return name


class Command:
    """A child of ours that executes a command once it is released.

    It keeps our standard streams, environment, directory and signal mask. close() ends it if it still runs, leave()
    lets it go on. ``has_ender``: a process of its own signals it, as this one is about to give up the privilege to.
    """

    def __init__(self, arguments: Sequence[str], *, has_ender: bool = False) -> None:
        if not arguments:
            raise CommandError("give a command after --", command="--")
        self._path = find_command(arguments[0])
        self._status: int | None = None
        self.was_sent_sigterm = False
        """Whether it was sent SIGTERM, or has ended before that."""
        go_read, self._go = os.pipe()
        self._failure, failure_write = os.pipe()
        # A signal in between would run our handler in the child as well.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _run_child(self._path, list(arguments), go_read, failure_write, mask, (self._go, self._failure))
        except BaseException:
            self._close_pipes()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(go_read)
            os.close(failure_write)
        self._ender: Ender | None = None
        if has_ender:
            try:
                self._ender = Ender()
            except BaseException:
                self.leave()
                raise

    def release(self) -> None:
        """Let the command begin; CommandError if the kernel does not execute it."""
        os.write(self._go, b"g")
        failure = os.read(self._failure, _ERRNO.size)
        self._close_pipes()
        if failure:
            self._wait(0)
            reason = _reason(_ERRNO.unpack(failure)[0])
            raise CommandError(f"cannot be executed: {reason}", command=self._path)

    def poll(self) -> int | None:
        """Return the command's status as a shell gives it (128 + N for signal N), None while it runs."""
        if self._status is None:
            self._wait(os.WNOHANG)
        return self._status

    def send_signal(self, number: int) -> None:
        """Send it a signal, stopped or not, if it still runs."""
        send = os.kill if self._ender is None else self._ender.send
        if self.poll() is None:
            # Where it cannot be signalled it still runs, which is reported.
            with contextlib.suppress(OSError):
                for each in (signal.SIGCONT, number):
                    send(self.pid, each)

    def leave(self) -> None:
        """Let the command go on; one that was not released never begins, and is waited for."""
        is_held = self._go >= 0
        self._close_pipes()
        if is_held:
            self.wait(NEVER_BEGUN_S)

    def close(self, *, patience_s: float = 0, grace_s: float = 1.0) -> None:
        """End the command if it still runs after `patience_s`, and wait `grace_s` for that; may be called again."""
        self._close_pipes()
        self.wait(patience_s)
        self.was_sent_sigterm = True
        self.send_signal(signal.SIGTERM)
        self.wait(grace_s)

    def close_ender(self) -> None:
        """End what signals the command for us, which is signalled no more; may be called again."""
        if self._ender is not None:
            self._ender.close()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the command's end, but no longer than some seconds."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.poll() is None and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.005 if deadline is not None else 0.05)

    def _close_pipes(self) -> None:
        for name in ("_go", "_failure"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)

    def _wait(self, options: int) -> None:
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:
            # Someone else waited for it: its status is gone.
            self._status = 0
            return
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self._status = code if code >= 0 else _SIGNAL_BASE - code


def _run_child(
    path: str, arguments: list[str], go: int, failure: int, mask: Iterable[int], close: tuple[int, ...]
) -> NoReturn:
    """Wait for the parent's word and execute, with this mask of signals; never returns, whatever happens."""
    try:
        for fd in close:
            os.close(fd)
        handled = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        for number in (*_IGNORED_BY_PYTHON, *handled):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if os.read(go, 1):
            os.execv(path, arguments)
    except OSError as exc:
        os.write(failure, _ERRNO.pack(exc.errno or errno.EIO))
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(failure, _ERRNO.pack(errno.EINVAL))
    finally:
        os._exit(127)


def _reason(number: int | None) -> str:
    return os.strerror(number or errno.EIO).lower()
