"""Files of traced processes, opened by a process of its own.

A file system that a user serves (FUSE, a share) may let a lookup or an open wait for ever. Whoever waits here is not
the reader: it gives up after a moment, and the trace goes on without names.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final, Self

import msgspec
from msgspec import Struct

from traceleft.tracer.sandbox.call_filter import REFUSED, refusing
from traceleft.tracer.sandbox.helper_process import fork_peer, wait_briefly
from traceleft.tracer.sandbox.privileges import CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE
from traceleft.tracer.stacks import mapped_files
from traceleft.tracer.stacks.mapped_files import Opened, Stamp
from traceleft.tracer.stacks.mappings import Mapping

PATIENCE_S: Final = 2.0
MESSAGE_MAX: Final = 1 << 16
KEPT: Final = (CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH)


class Mapped(Struct, tag="mapped"):
    """Asks for the file of a mapping of a process."""

    pid: int
    path: bytes
    inode: int
    device: int


class Debug(Struct, tag="debug"):
    """Asks for the file of debug information of the file at a path."""

    path: bytes
    build_id: bytes
    link: bytes


class FunctionList(Struct, tag="list"):
    """Asks for the list of functions that a process makes at run time."""

    pid: int


class Changed(Struct, tag="changed"):
    """Asks whether what lies at a path is another content than it was."""

    path: bytes
    stamp: Stamp


Request = Mapped | Debug | FunctionList | Changed


class Answer(Struct):
    """What came of a request; an open file comes with it where there is one."""

    path: bytes = b""
    stamp: Stamp = (0, 0, 0, 0)
    is_changed: bool = False


class FileProcess:
    """The process that opens; a context manager, to be made before there are threads and files to be inherited.

    Where it does not answer in time nothing is opened any more, and ``tell`` gets a line. Its methods are those of
    ``mapped_files``.
    """

    def __init__(self, tell: Callable[[str], object] = lambda line: None) -> None:
        self._tell = tell
        self._decode = msgspec.msgpack.Decoder(Answer).decode
        calls = refusing(REFUSED | {"socket", "bpf", "clone", "kill", "tgkill"})
        self._peer, self._pid = fork_peer(serve, keep=KEPT, calls=calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; may be called again. One that waits for a file system ends when that lets it."""
        self._peer.close()
        wait_briefly(self._pid)

    @contextlib.contextmanager
    def open_mapped(self, pid: int, mapping: Mapping) -> Iterator[Opened | None]:
        """Yield the file that was mapped; None where it is not there."""
        with self._ask(Mapped(pid, os.fsencode(mapping.path), mapping.inode, mapping.device)) as (answer, fd):
            yield None if fd is None else Opened(fd, os.fsdecode(answer.path), answer.stamp)

    @contextlib.contextmanager
    def open_debug(self, path: str, build_id: bytes, link: str) -> Iterator[int | None]:
        """Yield the file of debug information of the file at a path."""
        with self._ask(Debug(os.fsencode(path), build_id, os.fsencode(link))) as (_, fd):
            yield fd

    @contextlib.contextmanager
    def open_function_list(self, pid: int) -> Iterator[int | None]:
        """Yield the list of functions that a process makes at run time."""
        with self._ask(FunctionList(pid)) as (_, fd):
            yield fd

    def is_changed(self, path: str, stamp: Stamp) -> bool:
        """Tell whether what lies at a path now is known to be another than it was."""
        with self._ask(Changed(os.fsencode(path), stamp)) as (answer, _):
            return answer.is_changed

    @contextlib.contextmanager
    def _ask(self, request: Request) -> Iterator[tuple[Answer, int | None]]:
        """Yield the answer to a request, with its file, which is closed afterwards."""
        answer, fds = Answer(), list[int]()
        if self._peer.fileno() >= 0:
            try:
                answer, fds = self._exchange(msgspec.msgpack.encode(request))
            except (OSError, msgspec.MsgspecError):
                self._give_up()
        try:
            yield answer, fds[0] if fds else None
        finally:
            for fd in fds:
                os.close(fd)

    def _exchange(self, request: bytes) -> tuple[Answer, list[int]]:
        self._peer.send(request)
        waiting = select.poll()
        waiting.register(self._peer, select.POLLIN)
        deadline = time.monotonic() + PATIENCE_S
        while not waiting.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            if time.monotonic() >= deadline:
                raise TimeoutError
        data, fds, _, _ = socket.recv_fds(self._peer, MESSAGE_MAX, 1)
        try:
            return self._decode(data), fds
        except msgspec.MsgspecError:
            for fd in fds:
                os.close(fd)
            raise

    def _give_up(self) -> None:
        self._peer.close()
        self._tell("stacks: functions of processes have no names from here on; a file system does not answer")


def serve(peer: socket.socket) -> None:
    """Open files for who asks, until it goes."""
    decode = msgspec.msgpack.Decoder(Request).decode
    while data := peer.recv(MESSAGE_MAX):
        with _carry_out(decode(data)) as (answer, fd):
            socket.send_fds(peer, [msgspec.msgpack.encode(answer)], [] if fd is None else [fd])


@contextlib.contextmanager
def _carry_out(request: Request) -> Iterator[tuple[Answer, int | None]]:
    match request:
        case Mapped(pid, path, inode, device):
            mapping = Mapping(0, 0, 0, os.fsdecode(path), inode, 0, device)
            with mapped_files.open_mapped(pid, mapping) as opened:
                if opened is None:
                    yield Answer(), None
                else:
                    yield Answer(os.fsencode(opened.path), opened.stamp), opened.fd
        case Debug(path, build_id, link):
            with mapped_files.open_debug(os.fsdecode(path), build_id, os.fsdecode(link)) as fd:
                yield Answer(), fd
        case FunctionList(pid):
            with mapped_files.open_function_list(pid) as fd:
                yield Answer(), fd
        case Changed(path, stamp):
            yield Answer(is_changed=mapped_files.is_changed(os.fsdecode(path), stamp)), None
