"""How long programs have run and how often they were skipped, as the kernel tells."""

import contextlib
import os
from collections.abc import Iterable

from traceleft.tracer import _native


class RunStats:
    """The programs of a session, by their ids. Kernels below 4.13 have none, and keep no statistics either."""

    def __init__(self) -> None:
        self._ids: list[int] = []

    def note(self, loaded: _native.Object, programs: Iterable[str]) -> None:
        """Count the runs of these programs of an object as well."""
        with contextlib.suppress(_native.Error):
            infos = (_native.program_info(loaded.program_fd(program)) for program in programs)
            self._ids += [int(info["id"]) for info in infos]

    def total_ns(self) -> int:
        """Return how long they have run, in nanoseconds."""
        return self._sum("run_time_ns")

    def skipped(self) -> int:
        """Return how often the kernel did not run one of them, as an earlier run on that CPU was unfinished.

        Runs for calls that are not traced count as well. Kernels below 5.12 do not tell: 0.
        """
        return self._sum("recursion_misses")

    def _sum(self, key: str) -> int:
        return sum(_read_info(program, key) for program in self._ids)


def _read_info(program: int, key: str) -> int:
    try:
        fd = _native.program_fd_by_id(program)
    except _native.Error:
        # It was shed.
        return 0
    try:
        return int(_native.program_info(fd)[key])
    finally:
        os.close(fd)
