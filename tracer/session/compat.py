"""Where the running kernel tells a 32-bit call from others, found by making both: for kernels without BTF."""

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from traceleft.tracer import _native
from traceleft.tracer.session.filters import ENABLED, TASKS_ONLY, Filters, Offsets, pack_config
from traceleft.tracer.session.maps import Maps, Task

FIND_STATUS: Final = "find_status"
# TS_COMPAT of arch/x86/include/asm/thread_info.h: set in thread_info.status, or in thread.status (4.9 to 4.14).
COMPAT_BIT: Final = 2
# The core's programs that count 32-bit calls where no dispatcher does.
COUNT_RAW: Final = "count_raw_exit"
COUNT_TRACEPOINT: Final = "count_tp_exit"
# What is looked at of task_struct, a block at a time, and how often a word has to differ from others.
TASK_BYTES_MAX: Final = 16384
ROUNDS: Final = 8
_WORDS: Final = struct.Struct("=64I")
_NATIVE_KEY: Final = struct.pack("=I", 0)
_COMPAT_KEY: Final = struct.pack("=I", 1)
# For each byte that it reads: getpid by syscall, getpid by int 0x80, and the byte again.
_CODE: Final = bytes.fromhex(
    "31c031ff4889e6ba010000000f05"  # again: read(0, rsp, 1)
    "83f8017521"  # unless that is 1, to the end
    "b8270000000f05"  # getpid()
    "b814000000cd80"  # getpid() of 32 bits
    "b80100000089c74889e6ba010000000f05"  # write(1, rsp, 1)
    "ebcc"  # again
    "b83c00000031ff0f05"  # exit(0)
)
_BASE: Final = 0x400000
_HEADERS_BYTES: Final = 64 + 56


def make_program() -> bytes:
    """Return an ELF executable of x86_64 that makes native and 32-bit calls by turns."""
    size = _HEADERS_BYTES + len(_CODE)
    magic = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + _HEADERS_BYTES, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    # PT_LOAD, to be read and executed.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096)
    return magic + header + segment + _CODE


def find_status_offset(core: _native.Object, program: str, maps: Maps) -> int | None:
    """Return where task_struct has the status that tells 32-bit calls, in bytes, learnt from a child of our own.

    ``program`` is the core's, loaded. None where the kernel runs no 32-bit calls, they leave no mark, or tracefs or the
    child is refused. `config` is to be written again afterwards.
    """
    status_words = core.map_fd("status_words")
    with contextlib.ExitStack() as stack:
        try:
            caller = stack.enter_context(_open_caller())
            stack.callback(core.attach_tracepoint(program, "raw_syscalls", "sys_enter").detach)
        except (OSError, _native.Error):
            return None
        maps.put_task(caller.pid, Task(caller.pid))
        stack.callback(maps.drop_task, caller.pid)
        for start in range(0, TASK_BYTES_MAX, _WORDS.size):
            found = _find_in_block(caller, maps, status_words, start)
            if found is None or found:
                return found
    return None


def _find_in_block(caller: "_Caller", maps: Maps, status_words: int, start: int) -> int | None:
    """Return the offset of the one word of a block that is set in 32-bit calls only; 0 if none is, None at the end."""
    config = pack_config(Filters(), Offsets(0, 0, start), flags=ENABLED | TASKS_ONLY, self_tgid=os.getpid(), cpus=1)
    maps.put("config", 0, config)
    places = set(range(_WORDS.size // 4))
    for _ in range(ROUNDS):
        if not caller.call():
            return None
        native, compat = (
            _WORDS.unpack(_native.map_lookup(status_words, key, _WORDS.size) or bytes(_WORDS.size))
            for key in (_NATIVE_KEY, _COMPAT_KEY)
        )
        places &= {at for at in places if native[at] ^ compat[at] == COMPAT_BIT and compat[at] & COMPAT_BIT}
        if not places:
            return 0
    # Of several nobody knows which it is. None is the first word, which is thread_info's flags or a pointer.
    return start + 4 * places.pop() if len(places) == 1 else 0


@dataclass(frozen=True, slots=True)
class _Caller:
    """The child that makes calls on request."""

    pid: int
    to: int
    back: int

    def call(self) -> bool:
        """Let it make both calls; false once it has ended."""
        os.write(self.to, b"x")
        return os.read(self.back, 1) == b"x"


@contextlib.contextmanager
def _open_caller() -> Iterator[_Caller]:
    """Start the child; it ends with its standard input. OSError where files of memory are not executed."""
    with contextlib.ExitStack() as stack:
        program = os.memfd_create("traceleft", os.MFD_CLOEXEC)
        stack.callback(os.close, program)
        os.write(program, make_program())
        its_input, to = os.pipe()
        stack.callback(os.close, its_input)
        closing = stack.enter_context(contextlib.ExitStack())
        closing.callback(os.close, to)
        back, its_output = os.pipe()
        stack.callback(os.close, back)
        actions = [(os.POSIX_SPAWN_DUP2, its_input, 0), (os.POSIX_SPAWN_DUP2, its_output, 1)]
        try:
            pid = os.posix_spawn(f"/proc/self/fd/{program}", ["traceleft"], {}, file_actions=actions)
        finally:
            os.close(its_output)
        try:
            yield _Caller(pid, to, back)
        finally:
            closing.close()
            os.waitpid(pid, 0)
