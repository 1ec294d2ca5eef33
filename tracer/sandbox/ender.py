"""What signals a command of ours that runs as another user, when this process has given up the privilege to."""

import contextlib
import errno
import os
import struct
from typing import Final

from traceleft.tracer.sandbox.call_filter import allowing
from traceleft.tracer.sandbox.helper_process import fork_helper
from traceleft.tracer.sandbox.privileges import CAP_KILL

# What an interpreter needs to read, to signal, to answer and to end.
CALLS: Final = frozenset(
    {"read", "write", "kill", "exit_group", "rt_sigreturn", "futex", "brk", "mmap", "munmap", "mremap", "madvise"}
)
_REQUEST: Final = struct.Struct("=ii")
_ANSWER: Final = struct.Struct("=i")


class Ender:
    """A process of its own that keeps CAP_KILL, and signals when it is asked to; it ends with its maker.

    The caller answers for the pid: that of a child which was not waited for cannot be another process's.
    """

    def __init__(self) -> None:
        request_read, self._request = os.pipe()
        self._answer, answer_write = os.pipe()
        try:
            self._pid = fork_helper(
                lambda: _serve(request_read, answer_write),
                fds=(request_read, answer_write),
                keep=(CAP_KILL,),
                calls=allowing(CALLS),
            )
        except BaseException:
            os.close(self._request)
            os.close(self._answer)
            raise
        finally:
            os.close(request_read)
            os.close(answer_write)

    def send(self, pid: int, number: int) -> None:
        """Send a signal to a process; OSError as os.kill has it."""
        try:
            os.write(self._request, _REQUEST.pack(pid, number))
            answer = os.read(self._answer, _ANSWER.size)
        except BrokenPipeError:
            answer = b""
        found = _ANSWER.unpack(answer)[0] if len(answer) == _ANSWER.size else errno.EPERM
        if found:
            raise OSError(found, os.strerror(found))

    def close(self) -> None:
        """End the process; may be called again."""
        if self._request >= 0:
            os.close(self._request)
            os.close(self._answer)
            self._request = self._answer = -1
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)


def _serve(request: int, answer: int) -> None:
    while len(data := os.read(request, _REQUEST.size)) == _REQUEST.size:
        found = 0
        try:
            os.kill(*_REQUEST.unpack(data))
        except OSError as exc:
            found = exc.errno or errno.EIO
        os.write(answer, _ANSWER.pack(found))
