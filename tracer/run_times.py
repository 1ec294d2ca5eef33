"""How long programs have run, as the kernel's statistics of them tell."""

import contextlib
import os
from collections.abc import Iterable

from traceleft.tracer import _native


class RunTimes:
    """The programs of a session, by their ids. Kernels below 4.13 have none, and keep no statistics either."""

    def __init__(self) -> None:
        self._ids: list[int] = []

    def note(self, loaded: _native.Object, programs: Iterable[str]) -> None:
        """Count what these programs of an object run, too."""
        with contextlib.suppress(_native.Error):
            infos = (_native.program_info(loaded.program_fd(program)) for program in programs)
            self._ids += [int(info["id"]) for info in infos]

    def total_ns(self) -> int:
        """Return how long they have run, in nanoseconds."""
        return sum(map(_run_time_ns, self._ids))


def _run_time_ns(program: int) -> int:
    try:
        fd = _native.program_fd_by_id(program)
    except _native.Error:
        # It was shed.
        return 0
    try:
        return int(_native.program_info(fd)["run_time_ns"])
    finally:
        os.close(fd)
