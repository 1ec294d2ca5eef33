"""What the kernel filters: the values, and `struct config` made of them."""

import os
import struct
from dataclasses import dataclass, fields
from typing import Final

from traceleft.errors import UnsupportedError
from traceleft.linux import MAX_ERROR

TASKS_ONLY: Final = 1
FOLLOW: Final = 2
UID: Final = 4
COMM: Final = 8
CGROUP: Final = 16
SUCCESS_ONLY: Final = 32
FAILED_ONLY: Final = 64
ERRNO: Final = 128
COUNT: Final = 256
COUNT_ONLY: Final = 512
TIMES: Final = 1024
COMPAT: Final = 2048
ENABLED: Final = 8192
UNFINISHED: Final = 16384
ONE_PROCESS: Final = 32768
RETURNS: Final = 65536
STACKS: Final = 131072
ENVIRONMENT: Final = 262144

COMM_BYTES: Final = 15
UID_MAX: Final = (1 << 32) - 2
TEXT_MAX: Final = 8189

_CONFIG: Final = struct.Struct("=IIIIiIII16sIIII")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOptions:
    """Which calls become events, besides the processes to trace. Every condition that is given must hold.

    The kernel checks the conditions, so calls that do not meet them cost little::

        Tracer(battery, events=["openat"], filters=FilterOptions(uid=1000, failed_only=True))

    - ``uid``: the user ID of the calling thread.
    - ``comm``: the name of the calling thread, at most 15 bytes.
    - ``cgroup``: a directory of cgroup v2; calls of processes in it or below it. Needs level 4.11 or later.
    - ``success_only``, ``failed_only``: calls that succeeded, or calls that failed.
    - ``errno``: calls that failed with this error number, for example ``errno.ENOENT``.

    Raises UnsupportedError for a value that no call can match.
    """

    uid: int | None = None
    comm: str | None = None
    cgroup: str | os.PathLike[str] | None = None
    success_only: bool = False
    failed_only: bool = False
    errno: int | None = None

    def __post_init__(self) -> None:
        _require(self.uid is None or 0 <= self.uid <= UID_MAX, "uid", f"a user number lies between 0 and {UID_MAX}")
        _require(
            self.comm is None or 0 < len(self.comm.encode(errors="surrogateescape")) <= COMM_BYTES,
            "comm",
            f"the kernel's names of commands have 1 to {COMM_BYTES} bytes; give the first {COMM_BYTES}",
        )
        _require(self.errno is None or 0 < self.errno <= MAX_ERROR, "errno", f"lies between 1 and {MAX_ERROR}")
        _require(not (self.success_only and self.failed_only), "filters", "choose successful or failed calls, not both")

    @property
    def asks_result(self) -> bool:
        """Whether calls are chosen by what they returned."""
        return self.success_only or self.failed_only or self.errno is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters(FilterOptions):
    """All that the kernel filters by.

    `pids` are processes (all their threads) or threads that do not lead theirs (each alone), `follow` adds the
    children of what is followed; `text_limit` cuts captured text, in bytes.
    """

    pids: tuple[int, ...] = ()
    follow: bool = False
    text_limit: int = 32

    def __post_init__(self) -> None:
        # Not super(): a class with slots is another one than that which the method was written in.
        FilterOptions.__post_init__(self)
        _require(all(0 < pid < 1 << 31 for pid in self.pids), "pid", "process numbers are positive")
        require_text_limit(self.text_limit)

    @property
    def asks_identity(self) -> bool:
        """Whether a filter asks who makes a call, not only which process does."""
        return self.uid is not None or self.comm is not None or self.cgroup is not None

    @property
    def flags(self) -> int:
        """The bits of `config.flags` that these filters set."""
        chosen = {
            FOLLOW: self.follow,
            UID: self.uid is not None,
            COMM: self.comm is not None,
            CGROUP: self.cgroup is not None,
            SUCCESS_ONLY: self.success_only,
            FAILED_ONLY: self.failed_only,
            ERRNO: self.errno is not None,
        }
        return sum(flag for flag, is_set in chosen.items() if is_set)


def make_filters(options: FilterOptions, *, pids: tuple[int, ...], follow: bool, text_limit: int) -> Filters:
    """Return a user's filters, and the processes that are traced."""
    given = {each.name: getattr(options, each.name) for each in fields(FilterOptions)}
    return Filters(**given, pids=pids, follow=follow, text_limit=text_limit)


@dataclass(frozen=True, slots=True)
class Offsets:
    """Where the running kernel keeps what the programs read, in bytes; compat is None where it is not known."""

    fork_child_pid: int
    exec_old_pid: int
    compat: int | None = None


@dataclass(frozen=True, slots=True)
class OneProcess:
    """The only process that is traced; ``is_waiting``: from its next exec on."""

    tgid: int
    is_waiting: bool = False


def pack_config(
    filters: Filters,
    offsets: Offsets,
    *,
    flags: int,
    self_tgid: int,
    cpus: int,
    only: OneProcess | None = None,
    rollup: int = 0,
) -> bytes:
    """Return `struct config`: the filters' flags and these; `rollup` is what KernelRollup.flags says."""
    compat = 0 if offsets.compat is None else COMPAT
    return _CONFIG.pack(
        filters.flags | flags | compat | (0 if only is None else ONE_PROCESS),
        self_tgid,
        filters.uid or 0,
        min(filters.text_limit, TEXT_MAX),
        filters.errno or 0,
        offsets.compat or 0,
        offsets.fork_child_pid,
        offsets.exec_old_pid,
        (filters.comm or "").encode(errors="surrogateescape"),
        cpus,
        0 if only is None else only.tgid,
        only is not None and only.is_waiting,
        rollup,
    )


def require_text_limit(text_limit: int) -> None:
    """Raise UnsupportedError for a negative number of bytes."""
    _require(text_limit >= 0, "text limit", "is not negative")


def _require(holds: bool, what: str, remedy: str) -> None:
    if not holds:
        raise UnsupportedError(what, remedy)
