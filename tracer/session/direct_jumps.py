"""Which events' handlers the dispatcher jumps to: to go by a pointer, as to all others, costs some 15 ns more."""

from collections.abc import Iterable
from typing import Final

NEAR: Final = "progs_near"
# As NEAR_MAX of templates/include/maps.h.j2.
NEAR_MAX: Final = 16
# What programs call most, in that order, where more are chosen than there is room for.
OFTEN_CALLED: Final = (
    "read", "write", "close", "openat", "futex", "newfstatat", "epoll_wait", "recvfrom", "sendto", "newfstat", "lseek",
    "mmap", "munmap", "poll", "rt_sigprocmask", "writev",
)  # fmt: skip


def choose_near(events: Iterable[str]) -> dict[str, int]:
    """Return the events that get a place of their own, by name, each with its place from 0 on."""
    ranks = {name: rank for rank, name in enumerate(OFTEN_CALLED)}
    ordered = sorted(events, key=lambda name: (ranks.get(name, len(ranks)), name))
    return {name: place for place, name in enumerate(ordered[:NEAR_MAX])}
