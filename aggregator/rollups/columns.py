"""The columns that every engine knows events by: their names, types and meaning.

They are what expressions name, what ``export`` writes to Arrow and Parquet, and what a fleet's data looks like.
"""

from dataclasses import dataclass
from typing import Final, Literal

ColumnType = Literal["integer", "text", "map"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: integers are signed 64-bit ones, a map leads from text to text."""

    name: str
    type: ColumnType
    is_optional: bool
    doc: str


COLUMNS: Final = (
    Column("ts", "integer", False, "nanoseconds since the epoch: of the return, or of the entry without one"),
    Column("host", "text", False, "the host that the event is from"),
    Column("event", "text", False, "the kernel's name of the syscall, or category:name"),
    Column("pid", "integer", False, "process"),
    Column("tid", "integer", False, "thread"),
    Column("comm", "text", False, "the thread's name"),
    Column("uid", "integer", False, "user"),
    Column("gid", "integer", False, "group"),
    Column("cpu", "integer", False, "CPU"),
    Column("seq", "integer", False, "the record's number on its CPU, within its class"),
    Column("cgroup_id", "integer", False, "cgroup (v2), 0 where the level has none"),
    Column("cgroup", "text", True, "path of the cgroup below its mount, where it was found"),
    Column("container", "text", True, "container id (64 hexadecimal digits) in that path"),
    Column("ret", "integer", True, "what the call returned; null where it did not"),
    Column("error", "text", True, "the errno's name where the call failed"),
    Column("duration_ns", "integer", True, "nanoseconds the call took, where that was measured"),
    Column("path", "text", True, "the file: the first path among the arguments, or that of the first file descriptor"),
    Column("address", "text", True, "the address of the first socket address among the arguments, or its path"),
    Column("port", "integer", True, "the port of that address"),
    Column("fd", "integer", True, "the first file descriptor among the arguments"),
    Column("bytes", "integer", True, "bytes that the call moved: what read, write, sendto and the like returned"),
    Column("stack", "text", True, "folded stack, outermost first, joined by ';', where it was captured"),
    Column("args", "map", False, "arguments by name, as text: numbers in decimal, lists and objects as JSON"),
)
BY_NAME: Final = {column.name: column for column in COLUMNS}
BYTE_CALLS: Final = frozenset(
    {
        *("read", "pread64", "readv", "preadv", "preadv2", "write", "pwrite64", "writev", "pwritev", "pwritev2"),
        *("sendto", "sendmsg", "recvfrom", "recvmsg", "sendfile", "sendfile64", "copy_file_range", "splice", "tee"),
        *("vmsplice", "process_vm_readv", "process_vm_writev", "getrandom", "mq_timedreceive"),
    }
)
"""The calls whose return value, where it is not negative, is a number of bytes that they moved (column ``bytes``)."""
