"""Operations of io_uring: they do what syscalls do but are not syscalls, so no trace of syscalls shows them.

They are counted by opcode, where the kernel has the tracepoint ``io_uring:io_uring_submit_req`` (Linux 6.4 and later),
and the account of a trace says how many there were. The core's programs do that (templates/core_uring.j2).
"""

import struct
from collections.abc import Collection, Mapping
from typing import Final

from traceleft import tracefs
from traceleft.errors import UnsupportedError
from traceleft.tracer import _native
from traceleft.tracer.kernel.formats import read_format
from traceleft.tracer.kernel.kernel_btf import find_offset, open_btf
from traceleft.tracer.kernel.preemption import may_preempt_tracepoints

CATEGORY: Final = "io_uring"
TRACEPOINT: Final = "io_uring_submit_req"
RAW_ROLE: Final = "raw_uring"
ROLE: Final = "tp_uring"
PLACE_MAP: Final = "uring_place"
COUNTS_MAP: Final = "uring_counts"
# As URING_OPCODES of templates/core_uring.j2.
OPCODES_MAX: Final = 128
# enum io_uring_op of include/uapi/linux/io_uring.h, less IORING_OP_.
OPCODES: Final = (
    *("NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED", "WRITE_FIXED", "POLL_ADD", "POLL_REMOVE", "SYNC_FILE_RANGE"),
    *("SENDMSG", "RECVMSG", "TIMEOUT", "TIMEOUT_REMOVE", "ACCEPT", "ASYNC_CANCEL", "LINK_TIMEOUT", "CONNECT"),
    *("FALLOCATE", "OPENAT", "CLOSE", "FILES_UPDATE", "STATX", "READ", "WRITE", "FADVISE", "MADVISE", "SEND", "RECV"),
    *("OPENAT2", "EPOLL_CTL", "SPLICE", "PROVIDE_BUFFERS", "REMOVE_BUFFERS", "TEE", "SHUTDOWN", "RENAMEAT"),
    *("UNLINKAT", "MKDIRAT", "SYMLINKAT", "LINKAT", "MSG_RING", "FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR"),
    *("SOCKET", "URING_CMD", "SEND_ZC", "SENDMSG_ZC", "READ_MULTISHOT", "WAITID", "FUTEX_WAIT", "FUTEX_WAKE"),
    *("FUTEX_WAITV", "FIXED_FD_INSTALL", "FTRUNCATE", "BIND", "LISTEN", "RECV_ZC", "EPOLL_WAIT", "READV_FIXED"),
    *("WRITEV_FIXED", "PIPE", "NOP128", "URING_CMD128"),
)

_COUNT: Final = struct.Struct("=Q")


def choose_roles(roles: Collection[str]) -> list[str]:
    """Return the role of the core's program that counts operations here, of those held; nothing where none can."""
    if _field_offset() is None:
        return []
    if RAW_ROLE in roles and not may_preempt_tracepoints() and _request_offset() is not None:
        return [RAW_ROLE]
    return [ROLE] if ROLE in roles else []


def write_place(core: _native.Object, role: str) -> None:
    """Tell the program of a role where the opcode is."""
    offset = _request_offset() if role == RAW_ROLE else _field_offset()
    _native.map_update(core.map_fd(PLACE_MAP), bytes(4), struct.pack("=I", offset or 0))


def read_counts(core: _native.Object, cpus: int) -> Mapping[str, int]:
    """Return how many operations there were by name of their opcode."""
    fd = core.map_fd(COUNTS_MAP)
    found = {}
    for opcode in range(OPCODES_MAX):
        value = _native.map_lookup(fd, struct.pack("=I", opcode), _COUNT.size * cpus) or b""
        if count := sum(each for (each,) in _COUNT.iter_unpack(value)):
            found[name_opcode(opcode)] = count
    return found


def name_opcode(opcode: int) -> str:
    """Return an opcode's name, its number where it has none."""
    return f"IORING_OP_{OPCODES[opcode]}" if opcode < len(OPCODES) else f"IORING_OP_{opcode}"


def _field_offset() -> int | None:
    """Return where the tracepoint's record has the opcode; None where the kernel shows no such tracepoint."""
    try:
        found = tracefs.field_offsets(read_format(CATEGORY, TRACEPOINT)).get("opcode")
    except (OSError, UnsupportedError):
        return None
    return found[0] if found is not None and found[1] == 1 else None


def _request_offset() -> int | None:
    """Return where a request has its opcode, by BTF."""
    try:
        return find_offset(open_btf(), ("io_kiocb", "opcode"))
    except OSError:
        return None
