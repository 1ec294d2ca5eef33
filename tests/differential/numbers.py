"""What numbers strace's words stand for, and what bytes our JSON's strings stand for."""

import errno
import os
import re
from collections.abc import Mapping
from typing import Any, Final

Names = Mapping[str, int]

_CALL: Final = re.compile(r"(makedev|htons|htonl|_IOC|IOPRIO_PRIO_VALUE)\(([^)]*)\)")
_STATUS: Final = re.compile(r"(WEXITSTATUS|WTERMSIG|WSTOPSIG)\(s\) == (\w+)( \| 0x80)?")
_EVENT: Final = re.compile(r"\|(PTRACE_EVENT_\w+)<<16")

# What strace calls by a name and we show as the number that it is.
NUMBERS: Final[Names] = {
    **{name: value for value, name in errno.errorcode.items()},
    "NULL": 0,
    "AT_FDCWD": -100,
    "RLIM64_INFINITY": 2**64 - 1,
    "RLIM_INFINITY": 2**64 - 1,
    "UTIME_NOW": (1 << 30) - 1,
    "UTIME_OMIT": (1 << 30) - 2,
    "FUTEX_BITSET_MATCH_ANY": 2**32 - 1,
    "AUDIT_ARCH_X86_64": 0xC000003E,
    "__NR_getuid": 102,
    "PTRACE_O_TRACESYSGOOD": 1 << 0,
    "PTRACE_O_TRACEFORK": 1 << 1,
    "PTRACE_O_TRACEVFORK": 1 << 2,
    "PTRACE_O_TRACECLONE": 1 << 3,
    "PTRACE_O_TRACEEXEC": 1 << 4,
    "PTRACE_O_TRACEVFORKDONE": 1 << 5,
    "PTRACE_O_TRACEEXIT": 1 << 6,
    "PTRACE_O_EXITKILL": 1 << 20,
}

_IOPRIO_CLASSES: Final = ("IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")

PTRACE_EVENTS: Final[Names] = {
    "": 0,
    "PTRACE_EVENT_FORK": 1,
    "PTRACE_EVENT_VFORK": 2,
    "PTRACE_EVENT_CLONE": 3,
    "PTRACE_EVENT_EXEC": 4,
    "PTRACE_EVENT_VFORK_DONE": 5,
    "PTRACE_EVENT_EXIT": 6,
    "PTRACE_EVENT_SECCOMP": 7,
    "PTRACE_EVENT_STOP": 128,
}

# As they lie in `struct user`: strace shows the place of one as `8*CS`.
_REGISTERS: Final = (
    *("R15", "R14", "R13", "R12", "RBP", "RBX", "R11", "R10", "R9", "R8", "RAX", "RCX", "RDX", "RSI", "RDI"),
    *("ORIG_RAX", "RIP", "CS", "EFLAGS", "RSP", "SS", "FS_BASE", "GS_BASE", "DS", "ES", "FS", "GS"),
)

# Our members `st_mode` and `stx_mode` are the number (octal in text); strace names the type of file and three bits.
MODES: Final[Names] = {
    "S_IFSOCK": 0o140000,
    "S_IFLNK": 0o120000,
    "S_IFREG": 0o100000,
    "S_IFBLK": 0o060000,
    "S_IFDIR": 0o040000,
    "S_IFCHR": 0o020000,
    "S_IFIFO": 0o010000,
    "S_ISUID": 0o4000,
    "S_ISGID": 0o2000,
    "S_ISVTX": 0o1000,
}


def unshow(text: str) -> bytes:
    """Return the bytes of a text, those that are not UTF-8 being surrogates (see ``session.read_event``)."""
    return text.encode("utf-8", "surrogateescape")


def number(text: str, names: Names) -> int | None:
    """Return what a word stands for, None where it holds a name that is not among ``names``."""
    if " or " in text:  # names that share a number
        values = [number(part, names) for part in text.split(" or ")]
        return next((value for value in values if value is not None), None)
    total = 0
    for part in text.split("|"):
        value = _part(part.strip(), names)
        if value is None:
            return None
        total |= value
    return total


def _part(text: str, names: Names) -> int | None:
    if text in names:
        return names[text]
    if called := _CALL.fullmatch(text):
        return _call(called[1], [part.strip() for part in called[2].split(",")])
    if "+" in text:
        left, _, right = text.partition("+")
        return (_part(left, names) or 0) + int(right, 0)
    if "*" in text:
        left, _, right = text.partition("*")
        return int(left, 0) * (_REGISTERS.index(right) if right in _REGISTERS else int(right, 0))
    if "<<" in text:
        left, _, right = text.partition("<<")
        return int(left, 0) << int(right, 0)
    return literal(text)


def _call(name: str, words: list[str]) -> int:
    if name == "_IOC":
        direction = sum({"_IOC_NONE": 0, "_IOC_WRITE": 1, "_IOC_READ": 2}[word] for word in words[0].split("|"))
        group, rank, size = (int(word, 0) for word in words[1:])
        return direction << 30 | size << 16 | group << 8 | rank
    if name == "IOPRIO_PRIO_VALUE":
        return _IOPRIO_CLASSES.index(words[0]) << 13 | int(words[1], 0)
    values = [int(word, 0) for word in words]
    return os.makedev(*values) if name == "makedev" else values[0]


def literal(text: str) -> int | None:
    """Return what a number in C's notation is worth, None if it is not a number."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    try:
        return sign * (int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits, 0))
    except ValueError:
        return None


def wait_status(text: str, signals: Names) -> int | None:
    """Return the status of a child that strace describes as ``{WIFEXITED(s) && ...}``."""
    if "WIFCONTINUED" in text:
        return 0xFFFF
    found = _STATUS.search(text)
    if found is None:
        return None
    code = signals.get(found[2], literal(found[2]))
    if code is None:
        return None
    core, stop = 0x80 if "WCOREDUMP" in text else 0, code | (0x80 if found[3] else 0)
    status = {"WEXITSTATUS": code << 8, "WTERMSIG": code | core, "WSTOPSIG": stop << 8 | 0x7F}[found[1]]
    event = _EVENT.search(text)
    return status | (PTRACE_EVENTS[event[1]] << 16 if event else 0)


def status_of(shown: Mapping[str, Any], signals: Names) -> int | None:
    """Return the status of a child that our JSON describes."""
    match shown:
        case {"exited": int(code)}:
            return code << 8
        case {"signaled": str(name), "core_dumped": bool(core)}:
            return signals[name] | (0x80 if core else 0)
        case {"stopped": str(name)}:
            call = 0x80 if shown.get("syscall") else 0
            return PTRACE_EVENTS[shown.get("event", "")] << 16 | (signals[name] | call) << 8 | 0x7F
        case {"continued": True}:
            return 0xFFFF
    return None


def set_names(document: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of a set's names."""
    zero = {document["zero"]: 0} if "zero" in document else {}
    return zero | {name: value for value, name in [*document.get("values", []), *document.get("bits", [])]}
