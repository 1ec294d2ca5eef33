from collections.abc import Iterable
from typing import Literal, TypedDict, TypeVar

T = TypeVar("T")

class Error(Exception):
    """What libbpf or the kernel refused; args: errno, what was tried, what libbpf and the verifier printed."""

class Link:
    """A program bound to a hook; detaches when it goes away."""

    def detach(self) -> None: ...

class Object:
    """An ELF object loaded into the kernel.

    libbpf gets it only if it is sound and does no more than its ``role`` may (battery/native/allowed.h).
    Only ``programs`` are loaded. A map named in ``reuse`` is the one behind that fd, one named in ``sizes`` gets that
    many entries. Where a load of a program has the key of ``offsets`` for an offset, it gets the value. Links made
    from it outlive it.
    """

    def __init__(
        self,
        data: bytes,
        *,
        role: Literal["core", "handler"] = ...,
        reuse: dict[str, int] = ...,
        sizes: dict[str, int] = ...,
        programs: Iterable[str] = ...,
        offsets: dict[int, int] = ...,
    ) -> None: ...
    def map_fd(self, name: str, /) -> int: ...
    def program_fd(self, name: str, /) -> int: ...
    def program_names(self) -> list[str]: ...
    def attach_raw_tracepoint(self, program: str, tracepoint: str, /) -> Link: ...
    def attach_tracepoint(self, program: str, category: str, name: str, /) -> Link: ...
    def attach_kprobe(self, program: str, symbol: str, retprobe: bool = ..., /) -> Link: ...
    def close(self) -> None: ...

class Records:
    """Records in order of time, end to end, each padded to 8 bytes."""

    def __new__(cls, data: bytes) -> Records: ...
    def __len__(self) -> int: ...
    @property
    def data(self) -> bytes: ...
    @property
    def offsets(self) -> bytes:
        """Where each record starts in ``data``: u32, native byte order."""
    def tally(self, start: int = ..., stop: int = ..., /) -> dict[tuple[int, int], int]:
        """Count the records from start to stop by (event id, cpu)."""
    def record(self, row: int, /) -> bytes:
        """Return one record without its padding."""
    def cut(
        self, start: int, stop: int, table: dict[int, tuple[T, int, int, int]], /
    ) -> list[tuple[int, T, bytes, bool]]:
        """List the records from start to stop whose events are in a table: row, what the table has for the event,
        the record, and whether it was checked: length, time and slots by the table's size of the fixed part, number of
        args, number of slots (size 0: not checked)."""
    def columns(self, event: int, fixed_size: int, /) -> tuple[bytes, bytes, bytes, bytes]:
        """Split one event's records: fixed parts, tails, n + 1 u64 ends of the tails, u32 row numbers."""

class Lines:
    """Makes lines of JSON from records by a program (``lines.h``); used by one thread at a time."""

    def __new__(cls, program: bytes) -> Lines: ...
    def render(self, records: Records, start: int, stop: int, offset_ns: int, enough: int, /) -> tuple[bytes, int]:
        """Return lines and the row to go on with: before ``stop`` where ``enough`` bytes are there, or where Python
        has to make the line."""

class Account(TypedDict):
    """``dropped`` and ``undecodable`` by (event id, cpu), no known event being 65536; ``sequences``: (cpu, class) →
    (records received, one past the highest number). ``lost``: what a perf buffer says that it lost by CPU, at least
    that where it is not final; None for a ring buffer. ``waits``: how often the buffer was not read, as
    too much waited for the reader."""

    dropped: dict[tuple[int, int], int]
    undecodable: dict[tuple[int, int], int]
    sequences: dict[tuple[int, int], tuple[int, int]]
    late: int
    lost: dict[int, int] | None
    lost_is_final: bool
    waits: int

class Drain:
    """A thread that empties a ring or perf buffer, and the merge of its records by time.

    ``layouts``: event id → (size of the fixed part, number of args, number of slots). ``perf_pages``, a power of two,
    are the pages of each CPU's ring; 0 for a ring buffer, which has its size already.
    """

    def __new__(
        cls, buffer_fd: int, layouts: dict[int, tuple[int, int, int]], queue_bytes: int, perf_pages: int = 0
    ) -> Drain: ...
    def take(self, timeout_ms: int, final: bool = ...) -> Records:
        """Wait for records, return none at the timeout. After stop(), ``final=True`` until empty: the rest."""
    def account(self) -> Account:
        """Return what was taken out of the ring and did not reach a batch, and what the sequence numbers were."""
    def stop(self) -> None: ...

def map_create(type: int, key_size: int, value_size: int, max_entries: int, flags: int = ..., /) -> int: ...
def map_update(fd: int, key: bytes, value: bytes, /) -> None: ...
def map_lookup(fd: int, key: bytes, value_size: int, /) -> bytes | None: ...
def map_delete(fd: int, key: bytes, /) -> bool: ...
def map_value_size(fd: int, /) -> int: ...
def map_keys(fd: int, key_size: int, limit: int, /) -> list[bytes]: ...
def possible_cpus() -> int: ...
def settle(record: bytes, slots_at: int, n_slots: int, /) -> bytes | None: ...
def program_info(fd: int, /) -> dict[str, int | str]: ...
def program_fd_by_id(id: int, /) -> int: ...
def enable_stats() -> int: ...
def probe_program(type: int, helper: int = ..., next: int = ..., /) -> None: ...
def btf_member_offset(struct: str, member: str, /) -> int: ...
def capabilities() -> tuple[int, int]:
    """Return this thread's capabilities as bits: the effective, and the permitted ones."""

def set_effective(mask: int, /) -> None:
    """Let this thread use these of its permitted capabilities alone, until it is called again."""

def confine(mask: int, /) -> None:
    """Keep no other capabilities in this thread, and set no_new_privs, for good. `confine_other` has the same mask."""

def confine_other(tid: int, /) -> None:
    """Ask another thread of this process, by a signal, to do as ``confine`` did; it does so a moment later."""

def filter_calls(program: bytes, /) -> None:
    """Give all threads of this process a seccomp filter (``struct sock_filter`` after another), for good."""

CALL_NUMBERS: dict[str, int]
AUDIT_ARCH: int
CONFINE_SIGNAL: int
