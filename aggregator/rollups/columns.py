"""The columns that every engine knows events by: their names, types and meaning.

They are what expressions name, what ``export`` writes to Arrow and Parquet, and what a fleet's data looks like.
"""

from dataclasses import dataclass
from typing import Final, Literal

ColumnType = Literal["integer", "text", "map"]


@dataclass(frozen=True, slots=True)
class EventColumn:
    """A column: integers are signed 64-bit ones, a map leads from text to text."""

    name: str
    type: ColumnType
    is_optional: bool
    doc: str


COLUMNS: Final = (
    EventColumn("ts", "integer", False, "nanoseconds since the epoch: of the return, or of the entry without one"),
    EventColumn("host", "text", False, "the host that the event is from"),
    EventColumn("event", "text", False, "the kernel's name of the syscall, or category:name"),
    EventColumn("pid", "integer", False, "process"),
    EventColumn("tid", "integer", False, "thread"),
    EventColumn("comm", "text", False, "the thread's name"),
    EventColumn("uid", "integer", False, "user"),
    EventColumn("gid", "integer", False, "group"),
    EventColumn("cpu", "integer", False, "CPU"),
    EventColumn("seq", "integer", False, "the record's number on its CPU, within its class"),
    EventColumn("cgroup_id", "integer", False, "cgroup (v2), 0 where the level has none"),
    EventColumn("cgroup", "text", True, "path of the cgroup below its mount, where it was found"),
    EventColumn("container", "text", True, "container id (64 hexadecimal digits) in that path"),
    EventColumn("ret", "integer", True, "what the call returned; null where it did not"),
    EventColumn("error", "text", True, "the errno's name where the call failed"),
    EventColumn("duration_ns", "integer", True, "nanoseconds the call took, where that was measured"),
    EventColumn(
        "path", "text", True, "the file: the first path among the arguments, or that of the first file descriptor"
    ),
    EventColumn("address", "text", True, "the address of the first socket address among the arguments, or its path"),
    EventColumn("port", "integer", True, "the port of that address"),
    EventColumn("fd", "integer", True, "the first file descriptor among the arguments"),
    EventColumn("bytes", "integer", True, "bytes that the call moved: what read, write, sendto and the like returned"),
    EventColumn("stack", "text", True, "folded stack, outermost first, joined by ';', where it was captured"),
    EventColumn("args", "map", False, "arguments by name, as text: numbers in decimal, lists and objects as JSON"),
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
