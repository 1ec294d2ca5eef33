"""Pipes whose other end does not read."""

import fcntl
import sys
import time
from typing import IO, Final

FIONREAD: Final = 0x541B
# A pipe holds 64 KiB; a write that does not fit blocks.
FULL_BYTES: Final = 50_000
LIMIT_S: Final = 120


def await_full(pipe: IO[str]) -> None:
    """Wait until a pipe is nearly full, so that its writer blocks soon."""
    waiting, late = bytearray(4), time.monotonic() + LIMIT_S
    while int.from_bytes(waiting, sys.byteorder) < FULL_BYTES:
        assert time.monotonic() < late
        time.sleep(0.02)
        fcntl.ioctl(pipe, FIONREAD, waiting)
    time.sleep(0.2)
