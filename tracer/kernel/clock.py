"""What leads from the kernel's clock to the time of day."""

import time


def clock_offset_ns() -> int:
    """Return what leads from CLOCK_MONOTONIC to the epoch, in nanoseconds.

    The best of some tries, as we may be interrupted between clocks.
    """
    tries = []
    for _ in range(5):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        tries.append((after - before, wall - (before + after) // 2))
    return min(tries)[1]
