"""Offsets of members in structs of the running kernel, found in its BTF without reading all of it."""

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

VMLINUX: Final = Path("/sys/kernel/btf/vmlinux")
MAGIC: Final = 0xEB9F
STRUCT_KIND: Final = 4
STATUS: Final = (("task_struct", "thread_info"), ("thread_info", "status"))
# The lowest 24 bits of a member's place are its offset in bits where the struct's kind flag is set, else all are.
BITS_MASK: Final = 0xFFFFFF

_HEADER: Final = struct.Struct("=HBBIIIII")
_TRIPLE: Final = struct.Struct("=III")


@dataclass(frozen=True, slots=True)
class TaskOffsets:
    """Where task_struct keeps ``thread_info.status`` and other members, in bytes; None where BTF does not tell."""

    status: int | None = None
    pid: int | None = None
    tgid: int | None = None
    exit_code: int | None = None


@cache
def task_offsets() -> TaskOffsets:
    """Return the running kernel's offsets in task_struct; of one without BTF, nothing."""
    try:
        btf = open_btf()
    except OSError:
        return TaskOffsets()
    members = find_members(btf, "task_struct")
    return TaskOffsets(find_offset(btf, *STATUS), *(members.get(name) for name in ("pid", "tgid", "exit_code")))


def find_offset(btf: bytes | mmap.mmap, *path: tuple[str, str]) -> int | None:
    """Return how far a member lies within the structs that lead to it, each with its member; None if one is missing."""
    found = [find_members(btf, struct_name).get(member) for struct_name, member in path]
    return None if None in found else sum(each for each in found if each is not None)


def open_btf() -> bytes | mmap.mmap:
    """Return the running kernel's BTF; OSError where it has none."""
    with VMLINUX.open("rb") as file:
        try:
            # Kernels from 6.16 on; a copy of its megabytes takes twenty times as long.
            return mmap.mmap(
                file.fileno(), os.fstat(file.fileno()).st_size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ
            )
        except (OSError, ValueError):
            return file.read()


def has_names(btf: bytes | mmap.mmap, *names: str) -> bool:
    """Return whether the BTF knows all these names, of whatever kind; its strings come last."""
    if len(btf) < _HEADER.size:
        return False
    _magic, _version, _flags, length, _types_at, _types_size, names_at, _names_size = _HEADER.unpack_from(btf)
    return all(btf.find(b"\0" + name.encode() + b"\0", length + names_at) >= 0 for name in names)


def find_members(btf: bytes | mmap.mmap, name: str) -> Mapping[str, int]:
    """Return the byte offsets of a struct's members by name; none where the BTF has no such struct, or is invalid.

    The struct is found by its name's place in the strings, which is searched for among the types: to walk them all
    takes a hundred times as long.
    """
    if len(btf) < _HEADER.size:
        return {}
    magic, _version, _flags, length, types_at, types_size, names_at, names_size = _HEADER.unpack_from(btf)
    if magic != MAGIC:
        return {}
    types = length + types_at, min(length + types_at + types_size, len(btf))
    names = length + names_at, min(length + names_at + names_size, len(btf))
    for place in _find_all(btf, b"\0" + name.encode() + b"\0", *names):
        for at in _find_all(btf, struct.pack("=I", place + 1 - names[0]), *types):
            if not (at - types[0]) % 4 and (members := _read_struct(btf, at, types[1], names)):
                return members
    return {}


def _find_all(data: bytes | mmap.mmap, what: bytes, start: int, stop: int) -> Iterator[int]:
    at = data.find(what, start, stop)
    while at >= 0:
        yield at
        at = data.find(what, at + 1, stop)


def _read_struct(btf: bytes | mmap.mmap, at: int, stop: int, names: tuple[int, int]) -> Mapping[str, int]:
    """Read what may be a struct; nothing if it cannot be one: a member without a name's end or outside of it."""
    if at + _TRIPLE.size > stop:
        return {}
    _name, info, size = _TRIPLE.unpack_from(btf, at)
    count = info & 0xFFFF
    if info >> 24 & 0x1F != STRUCT_KIND or at + _TRIPLE.size * (count + 1) > stop:
        return {}
    members = {}
    for rank in range(1, count + 1):
        name_at, _type, bits = _TRIPLE.unpack_from(btf, at + _TRIPLE.size * rank)
        offset = (bits & BITS_MASK if info >> 31 else bits) // 8
        end = btf.find(b"\0", names[0] + name_at, names[1])
        if end < 0 or offset > size:
            return {}
        members[btf[names[0] + name_at : end].decode(errors="replace")] = offset
    return members
