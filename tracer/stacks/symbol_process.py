"""Names of places in the files of traced processes, asked of a process without privileges (``symbol_worker``)."""

import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

import msgspec

from traceleft.tracer.sandbox.helper_process import fork_peer, wait_briefly
from traceleft.tracer.stacks.places import Place
from traceleft.tracer.stacks.symbol_worker import MESSAGE_MAX, PLACES_MAX, Load, LoadDebug, Name, Reply, Request, nurse

# Longer than a worker takes, which the processor's time ends; a file on a dead server has no end.
PATIENCE_MS: Final = 10_000
FAILURES_MAX: Final = 8
# Of one trace: files may be many, and each as slow as is allowed.
WAIT_MAX_S: Final = 30.0


class SymbolProcess:
    """The process that is asked; a context manager, to be made before there are threads and files to be inherited.

    After a file that ends a worker, all others have to be loaded again: the next worker's ``generation`` is another.
    After some ``failures``, or when all answers together took too long, nothing is asked any more, and ``tell`` gets a
    line. Nothing is asked once a trace ``is_over``, whose records are still to be handed out.
    """

    def __init__(
        self, tell: Callable[[str], object] = lambda line: None, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self.generation = 0
        self._tell = tell
        self._is_over = is_over
        self._waited_s = 0.0
        self._serial = 0
        self.failures = 0
        self._decode = msgspec.msgpack.Decoder(Reply).decode
        self._peer, self._pid = fork_peer(nurse)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; may be called again."""
        self._peer.close()
        wait_briefly(self._pid)

    def load(self, file: int, fd: int, *, kind: str = "elf") -> Reply | None:
        """Hand over an open file under a number; None where nothing can be read of it."""
        return self._ask(Load(self._next(), file, kind), fd)

    def load_debug(self, file: int, fd: int, *, checksum: int | None) -> bool:
        """Hand over a file of debug information, and tell whether it belongs to the file of that number."""
        return self._ask(LoadDebug(self._next(), file, checksum), fd) is not None

    def name(self, file: int, places: Sequence[int]) -> list[Place | None] | None:
        """Name places of a file that was loaded; None where it has to be loaded again."""
        found: list[Place | None] = []
        for at in range(0, len(places), PLACES_MAX):
            part = list(places[at : at + PLACES_MAX])
            reply = self._ask(Name(self._next(), file, part))
            if reply is None or len(reply.names) != len(part):
                return None
            found += reply.names
        return found

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _ask(self, request: Request, fd: int | None = None) -> Reply | None:
        """Return the answer to a request, None where a file is unknown or nobody answers."""
        if self._peer.fileno() < 0 or self._is_over():
            return None
        begun = time.monotonic()
        try:
            socket.send_fds(self._peer, [msgspec.msgpack.encode(request)], [] if fd is None else [fd])
            reply = self._await(request.serial)
        except (OSError, msgspec.MsgspecError):
            self._give_up()
            return None
        self._waited_s += time.monotonic() - begun
        if self._waited_s > WAIT_MAX_S:
            self._give_up()
        return reply if reply is not None and reply.is_known else None

    def _await(self, serial: int) -> Reply | None:
        """Return the reply with a serial number; None where another worker has begun meanwhile."""
        waiting = select.poll()
        waiting.register(self._peer, select.POLLIN)
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while waiting.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            data = self._peer.recv(MESSAGE_MAX)
            if not data:
                break
            reply = self._decode(data)
            if reply.serial == serial:
                return reply
            if reply.serial == 0:
                self.generation += 1
                if self.generation > 1:
                    self._fail()
                    return None
        raise TimeoutError

    def _fail(self) -> None:
        self.failures += 1
        if self.failures >= FAILURES_MAX:
            self._give_up()

    def _give_up(self) -> None:
        """Ask no more: files of traced processes keep whoever reads them from answering."""
        # Not close(): who does not answer may not end either, until we do.
        self._peer.close()
        self._tell(
            "stacks: functions of processes have no names from here on; reading their files failed, or took too long"
        )
