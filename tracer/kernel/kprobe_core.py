"""What keeps `tasks` current on kernels whose tracepoints take no programs: functions of the kernel (level 4.4)."""

import errno
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from traceleft.errors import UnsupportedError
from traceleft.tracer import _native

# By role, the functions that serve it; a kernel has one of them: flush_old_exec() became begin_new_exec() in 5.8.
FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "kprobe_on_exec_begin": ("begin_new_exec", "flush_old_exec"),
    "kprobe_on_exec": ("setup_new_exec",),
    "kprobe_on_free": ("free_pid",),
    "kprobe_on_fork": ("alloc_pid",),
    "kprobe_on_exit": ("do_exit",),
}
FIND_PID: Final = "kprobe_find_pid"
RETURNS: Final = frozenset({"kprobe_on_fork", FIND_PID})
FORKS: Final = 3
_WORDS: Final = struct.Struct("=64I")


def attach_function(core: _native.Object, role: str, program: str) -> _native.Link:
    """Attach a program to the first of its role's functions that this kernel has; _native.Error if it has none."""
    functions = ("alloc_pid",) if role == FIND_PID else FUNCTIONS[role]
    return _attach_first(core, program, functions, returns=role in RETURNS)


def attach_begin_exec(loaded: _native.Object, program: str) -> _native.Link:
    """Attach a program to the function that ends the old image; _native.Error if this kernel has none of its names."""
    return _attach_first(loaded, program, FUNCTIONS["kprobe_on_exec_begin"], returns=False)


def _attach_first(loaded: _native.Object, program: str, functions: Sequence[str], *, returns: bool) -> _native.Link:
    for function in functions[:-1]:
        try:
            return loaded.attach_kprobe(program, function, returns)
        except _native.Error as exc:
            if exc.args[0] not in (errno.ENOENT, errno.EINVAL, errno.EADDRNOTAVAIL):
                raise
    return loaded.attach_kprobe(program, functions[-1], returns)


def find_pid_offset(core: _native.Object, program: str, pid_words: int) -> int:
    """Return where struct pid keeps its number in the first namespace, in bytes: learnt from children of our own.

    Without headers or BTF nothing else tells it. ``pid_words`` is the fd of the map that the program fills. Needs a
    process of the first pid namespace; UnsupportedError where the children's numbers are not found.
    """
    places = set(range(_WORDS.size // 4))
    link = attach_function(core, FIND_PID, program)
    try:
        for _ in range(FORKS):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            words = _WORDS.unpack(_native.map_lookup(pid_words, bytes(4), _WORDS.size) or bytes(_WORDS.size))
            places &= {place for place, word in enumerate(words) if word == child}
    finally:
        link.detach()
    if len(places) != 1:
        raise UnsupportedError(
            "fork following", "struct pid of this kernel does not show where its number is; trace without -f and -p"
        )
    return 4 * places.pop()
