"""How long programs have run and how often they were skipped, as the kernel tells."""

import contextlib
import os
from collections.abc import Iterable

from traceleft.tracer import _native


class RunStats:
    """The programs of a session. Kernels below 4.13 tell nothing of them, and keep no statistics either.

    It keeps their file descriptors: to find programs by their ids takes CAP_SYS_ADMIN, which a trace gives up.
    """

    def __init__(self) -> None:
        self._fds: list[int] = []

    def note(self, loaded: _native.Object, programs: Iterable[str]) -> None:
        """Count the runs of these programs of an object as well."""
        with contextlib.suppress(_native.Error):
            for program in programs:
                fd = loaded.program_fd(program)
                _native.program_info(fd)
                self._fds.append(os.dup(fd))

    def close(self) -> None:
        """Release the programs; may be called again."""
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)

    def total_ns(self) -> int:
        """Return how long they have run, in nanoseconds."""
        return self._sum("run_time_ns")

    def skipped(self) -> int:
        """Return how often the kernel did not run one of them, as an earlier run on that CPU was unfinished.

        Runs for calls that are not traced count as well. Kernels below 5.12 do not tell: 0.
        """
        return self._sum("recursion_misses")

    def _sum(self, key: str) -> int:
        return sum(int(_native.program_info(fd)[key]) for fd in self._fds)
