"""seccomp filters: programs of classic BPF by which the kernel refuses system calls of this process.

The calls are those of ``_native.CALL_NUMBERS``. See seccomp(2).
"""

import errno
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from traceleft.tracer import _native

ALLOW: Final = 0x7FFF0000
ERROR: Final = 0x00050000
# struct seccomp_data: number, architecture, instruction pointer, six arguments.
NUMBER_AT, MACHINE_AT, ARGUMENTS_AT = 0, 4, 16
# From this number on x86-64 has the calls of x32.
X32: Final = 0x40000000

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_INSTRUCTION: Final = struct.Struct("=HBBI")

# Of bpf(2): what reads and writes maps, tells of an object, and detaches a link. None loads, attaches, or finds by id.
MAP_COMMANDS: Final = (1, 2, 3, 4, 15, 21, 24, 25, 26, 34)
CLONE_THREAD: Final = 0x10000
# What a reader of events never does. Each fails with EPERM.
REFUSED: Final = frozenset(
    {
        # Another program, or another process's memory.
        *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise"),
        *("pidfd_getfd", "userfaultfd", "personality"),
        # Signals by other ways than kill and tgkill.
        *("pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tkill"),
        # Users and privileges.
        *("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid"),
        *("capset", "add_key", "keyctl", "request_key"),
        # Mounts and namespaces.
        *("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "move_mount", "open_tree", "open_tree_attr"),
        *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at", "quotactl", "quotactl_fd"),
        # The machine.
        *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon"),
        *("swapoff", "acct", "sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime"),
        *("iopl", "ioperm", "modify_ldt", "syslog"),
        # More programs and probes in the kernel, and calls that no filter sees.
        *("perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    }
)


@dataclass(frozen=True, slots=True)
class Only:
    """A call that is allowed where an argument has one of these values, or, with ``bits``, all bits of the first."""

    call: str
    argument: int
    values: Sequence[int]
    bits: bool = False


def refusing(calls: Iterable[str], only: Iterable[Only] = ()) -> bytes:
    """Return a filter that refuses these calls with EPERM, restricts others, and allows the rest."""
    refused = error(errno.EPERM)
    # The C library falls back to clone, whose flags can be looked at.
    body = [*_answer("clone3", error(errno.ENOSYS))]
    for rule in only:
        body += _restrict(rule)
    for call in sorted(calls):
        body += _answer(call, refused)
    return _pack([*_begin(), *body, (RETURN, 0, 0, ALLOW)])


def allowing(calls: Iterable[str]) -> bytes:
    """Return a filter that allows these calls alone, and refuses all others with EPERM."""
    body = [each for call in sorted(calls) for each in _answer(call, ALLOW)]
    return _pack([*_begin(), *body, (RETURN, 0, 0, error(errno.EPERM))])


def of_reader(*, network: bool) -> bytes:
    """Return the filter of a process that only reads events: it may make threads, and signal itself.

    ``network``: it may open sockets.
    """
    own = (os.getpid(),)
    only = (
        Only("bpf", 0, MAP_COMMANDS),
        Only("clone", 0, (CLONE_THREAD,), bits=True),
        Only("kill", 0, own),
        Only("tgkill", 0, own),
    )
    return refusing(REFUSED if network else REFUSED | {"socket"}, only)


def error(number: int) -> int:
    """Return what makes a call fail with an error."""
    return ERROR | number


_Code = tuple[int, int, int, int]


def _begin() -> Iterator[_Code]:
    yield (LOAD, 0, 0, MACHINE_AT)
    yield (JUMP_EQUAL, 1, 0, _native.AUDIT_ARCH)
    yield (RETURN, 0, 0, error(errno.EPERM))
    yield (LOAD, 0, 0, NUMBER_AT)
    yield (JUMP_AT_LEAST, 0, 1, X32)
    yield (RETURN, 0, 0, error(errno.EPERM))


def _answer(call: str, answer: int) -> Iterator[_Code]:
    """Answer a call; one that this machine does not have needs no answer."""
    if call in _native.CALL_NUMBERS:
        yield (JUMP_EQUAL, 0, 1, _native.CALL_NUMBERS[call])
        yield (RETURN, 0, 0, answer)


def _restrict(rule: Only) -> Iterator[_Code]:
    """Allow a call by the lower half of an argument, or refuse it."""
    jump = JUMP_SET if rule.bits else JUMP_EQUAL
    size = 1 + 2 * len(rule.values) + 1
    yield (JUMP_EQUAL, 0, size, _native.CALL_NUMBERS[rule.call])
    yield (LOAD, 0, 0, ARGUMENTS_AT + 8 * rule.argument)
    for value in rule.values:
        yield (jump, 0, 1, value)
        yield (RETURN, 0, 0, ALLOW)
    yield (RETURN, 0, 0, error(errno.EPERM))


def _pack(code: Sequence[_Code]) -> bytes:
    return b"".join(_INSTRUCTION.pack(*each) for each in code)
