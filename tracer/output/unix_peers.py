"""Find which UNIX sockets are connected, by asking the kernel through NETLINK_SOCK_DIAG (``linux/unix_diag.h``).

The kernel answers for the network namespace of the asker. Asking needs no privilege. The sandbox refuses ``socket``, so
make a ``UnixPeers`` before the process is confined.
"""

import os
import socket
import struct
import weakref
from typing import Final

AF_NETLINK: Final = 16
NETLINK_SOCK_DIAG: Final = 4
NLM_F_REQUEST: Final = 1
SOCK_DIAG_BY_FAMILY: Final = 20
UDIAG_SHOW_PEER: Final = 4
UNIX_DIAG_PEER: Final = 2
EVERY: Final = 0xFFFFFFFF
ANSWER_BYTES_MAX: Final = 4096
# At most that many late answers to earlier questions are skipped.
STALE_MAX: Final = 8

# struct nlmsghdr, struct unix_diag_req, struct nlattr; of struct unix_diag_msg the inode alone.
_HEAD: Final = struct.Struct("=IHHII")
_QUESTION: Final = struct.Struct("=BBHIIIII")
_INODE: Final = struct.Struct("=4xI8x")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct("=I")


class UnixPeers:
    """Finds the peers of UNIX sockets; every answer is None where the kernel has no unix_diag."""

    def __init__(self) -> None:
        self._asked = 0
        self._fd = -1
        try:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._fd = socket.socket(AF_NETLINK, kind, NETLINK_SOCK_DIAG).detach()
        except OSError:
            return
        weakref.finalize(self, os.close, self._fd)

    def find(self, inode: int) -> int | None:
        """Return the inode of the peer of a UNIX socket; None if it has no peer, or if the peer is not known."""
        if self._fd < 0 or not 0 < inode <= EVERY:
            return None
        self._asked += 1
        question = _QUESTION.pack(socket.AF_UNIX, 0, 0, EVERY, inode, UDIAG_SHOW_PEER, EVERY, EVERY)
        head = _HEAD.pack(_HEAD.size + len(question), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, self._asked & EVERY, 0)
        try:
            os.write(self._fd, head + question)
            for _ in range(STALE_MAX):
                answer = os.read(self._fd, ANSWER_BYTES_MAX)
                if _HEAD.unpack_from(answer)[3] == self._asked & EVERY:
                    return read_peer(answer, inode)
        except (OSError, struct.error):
            pass
        return None


def read_peer(answer: bytes, inode: int) -> int | None:
    """Return the peer that an answer names; None for an error, or for an answer about another socket."""
    length, kind, *_ = _HEAD.unpack_from(answer)
    answer = answer[:length]
    at = _HEAD.size + _INODE.size
    if kind != SOCK_DIAG_BY_FAMILY or len(answer) < at or _INODE.unpack_from(answer, _HEAD.size)[0] != inode:
        return None
    while at + _ATTRIBUTE.size <= len(answer):
        size, what = _ATTRIBUTE.unpack_from(answer, at)
        if what == UNIX_DIAG_PEER and size == _ATTRIBUTE.size + _NUMBER.size and at + size <= len(answer):
            peer: int = _NUMBER.unpack_from(answer, at + _ATTRIBUTE.size)[0]
            return peer or None
        at += max(size + 3 & ~3, _ATTRIBUTE.size)
    return None
