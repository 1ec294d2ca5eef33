"""Decode what consists of several: strings, iovecs, signal sets, sets of file descriptors.

Tails made of parts carry a head before each (docs/reference/schema.md, section 2). ``split_*`` walk them and raise
``ValueError`` where a head does not fit; the ``show_*`` take what was split.
"""

import struct
from dataclasses import dataclass
from typing import Final

from traceleft.record_layout import STATUS_LONGER
from traceleft.tracer.decode.signals import SIGNALS
from traceleft.tracer.decode.texts import to_text
from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import ByteOrder, show_pointer

_PREFIX: Final = {"little": "<", "big": ">"}
PART: Final = {order: struct.Struct(f"{prefix}Ii") for order, prefix in _PREFIX.items()}
ADDRESS_BYTES: Final = 8
IOVEC: Final = {order: struct.Struct(f"{prefix}QQIi") for order, prefix in _PREFIX.items()}


@dataclass(frozen=True, slots=True)
class Part:
    """One captured piece of a tail: its bytes and its status; ``base`` and ``length`` for an iovec's."""

    data: bytes
    status: int
    base: int = 0
    length: int = 0

    @property
    def is_cut(self) -> bool:
        """Tell whether there was more than was captured."""
        return self.status == STATUS_LONGER or self.status > len(self.data)


def take_part(data: bytes, at: int, order: ByteOrder) -> tuple[Part, int]:
    """Return the part whose head lies at ``at``, and where the next begins."""
    if at + 8 > len(data):
        raise ValueError("the head of a part does not fit")
    length, status = PART[order].unpack_from(data, at)
    start = at + 8
    if length > len(data) - start:
        raise ValueError("a part does not fit")
    return Part(data[start : start + length], status), start + (length + 7 & ~7)


def split_strings(data: bytes, order: ByteOrder) -> list[Part]:
    """Return the strings of a vector such as argv."""
    parts, at = [], 0
    while at < len(data):
        part, at = take_part(data, at, order)
        parts.append(part)
    return parts


def split_iovec(data: bytes, order: ByteOrder, at: int = 0) -> list[Part]:
    """Return the elements of an iovec, from ``at`` to the end."""
    parts = []
    while at < len(data):
        if at + 24 > len(data):
            raise ValueError("the head of an iovec does not fit")
        base, length, captured, status = IOVEC[order].unpack_from(data, at)
        at += 24
        if captured > len(data) - at:
            raise ValueError("the data of an iovec does not fit")
        parts.append(Part(data[at : at + captured], status, base, length))
        at += captured + 7 & ~7
    return parts


def show_strings(parts: list[Part], order: ByteOrder) -> list[Value]:
    """Return strings as a list; one that could not be read is its address, None where the record does not tell it."""
    return [to_text(part.data) if part.status >= 0 else _show_unread(part, order) for part in parts]


def _show_unread(part: Part, order: ByteOrder) -> str | None:
    is_address = len(part.data) == ADDRESS_BYTES
    return show_pointer(int.from_bytes(part.data, order)) if is_address else None


def show_bases(parts: list[Part]) -> list[Value]:
    """Return an iovec's elements without their data, which the call did not write."""
    return [{"base": show_pointer(part.base), "len": part.length} for part in parts]


def show_iovec(parts: list[Part]) -> list[Value]:
    """Return an iovec's elements; ``data`` is None where it could not be read."""
    return [
        {
            "base": show_pointer(part.base),
            "len": part.length,
            "data": to_text(part.data) if part.status >= 0 else None,
        }
        for part in parts
    ]


def show_sigset(data: bytes, order: ByteOrder) -> list[Value]:
    """Return the names of the signals in a set, by number."""
    mask = int.from_bytes(data[:8], order)
    return [name for number, name in enumerate(SIGNALS) if mask >> number & 1]


def show_fdset(data: bytes, order: ByteOrder, limit: int) -> list[Value]:
    """Return the file descriptors below ``limit`` that are in a set; it is an array of unsigned longs."""
    fds: list[Value] = []
    for at in range(0, len(data), 8):
        word = int.from_bytes(data[at : at + 8], order)
        while word:
            fd = 8 * at + (word & -word).bit_length() - 1
            word &= word - 1
            if fd < limit:
                fds.append(fd)
    return fds
