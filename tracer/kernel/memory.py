"""How much memory a trace takes: the kernel's buffer, and what waits for the reader."""

import os
from typing import Final

from traceleft.errors import UnsupportedError
from traceleft.tracer.account.remedy import PAGES_MAX

PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")
RING_CPU_BYTES: Final = 8 << 20
RING_MIN_BYTES: Final = 1 << 20
RING_MAX_BYTES: Final = 32 << 20
PERF_MAX_BYTES: Final = 16 << 20
PERF_CPU_MIN_BYTES: Final = 128 << 10
QUEUE_MIN_BYTES: Final = 4 << 20
QUEUE_MAX_BYTES: Final = 32 << 20
MEMORY_SHARE: Final = 64
STACK_BYTES: Final = 1 << 10
STACKS_MIN: Final = 4096
STACKS_MAX: Final = 65536
STACKS_LIMIT: Final = 1 << 20


def choose_ring_pages(buffer_pages: int | None, *, cpus: int | None = None, memory_bytes: int | None = None) -> int:
    """Return the pages of the ring buffer, a power of two: what was asked for rounded up.

    By default 8 MiB a CPU that is online, at most 32 MiB and a 64th of memory. The two are this machine's if not given.
    """
    if buffer_pages is None:
        share = min((cpus or os.cpu_count() or 1) * RING_CPU_BYTES, _share(memory_bytes), RING_MAX_BYTES)
        return _round_down(max(share, RING_MIN_BYTES) // PAGE_BYTES)
    if not 0 < buffer_pages <= PAGES_MAX:
        raise UnsupportedError(f"a buffer of {buffer_pages} pages", f"choose between 1 and {PAGES_MAX}")
    return 1 << (buffer_pages - 1).bit_length()


def choose_perf_pages(buffer_pages: int | None, cpus: int, *, memory_bytes: int | None = None) -> int:
    """Return the pages of each CPU's ring, a power of two.

    Together no less than what was asked for; by default at most 16 MiB, unless a record of any size has no room then.
    """
    if buffer_pages is None:
        together = min(choose_ring_pages(None, memory_bytes=memory_bytes) * PAGE_BYTES, PERF_MAX_BYTES)
        return _round_down(max(together // cpus, PERF_CPU_MIN_BYTES) // PAGE_BYTES)
    share = -(-choose_ring_pages(buffer_pages) // cpus)
    return 1 << (share - 1).bit_length()


def choose_queue_bytes(queue_bytes: int | None, *, memory_bytes: int | None = None) -> int:
    """Return the bound of what waits for the reader, by default 32 MiB, less where memory is; more stays in the buffer.

    While the trace ends, what is left in the buffer comes on top.
    """
    if queue_bytes is not None:
        return queue_bytes
    return min(max(_share(memory_bytes), QUEUE_MIN_BYTES), QUEUE_MAX_BYTES)


def choose_stack_entries(entries: int | None, *, memory_bytes: int | None = None) -> int:
    """Return how many stacks are kept, a power of two: what was asked for rounded up.

    By default as many as a 64th of memory holds, between 4,096 and 65,536. More places than stacks are needed: one
    that falls on another's place is lost.
    """
    if entries is None:
        return min(max(_round_down(_share(memory_bytes) // STACK_BYTES), STACKS_MIN), STACKS_MAX)
    if not 0 < entries <= STACKS_LIMIT:
        raise UnsupportedError(f"{entries} stacks", f"choose between 1 and {STACKS_LIMIT}")
    return 1 << (entries - 1).bit_length()


def _share(memory_bytes: int | None) -> int:
    if memory_bytes is None:
        memory_bytes = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
    return memory_bytes // MEMORY_SHARE


def _round_down(pages: int) -> int:
    return 1 << (pages.bit_length() - 1)
