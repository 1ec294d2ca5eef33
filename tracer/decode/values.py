"""Decode one value: bytes to text, an integer to what its kind shows.

Every function here is total: it gives a JSON-able value for whatever bytes or integer it gets.
"""

import errno
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from traceleft.tracer.decode.signals import show_wait_status
from traceleft.tracer.decode.texts import to_text
from traceleft.tracer.decode.value import ABSENT, Value
from traceleft.tracer.schema.spec import SetSpec, Tables, ValueSpec

ByteOrder: TypeAlias = Literal["little", "big"]

AT_FDCWD: Final = -100

_WAKE_OPERATIONS: Final = tuple(f"FUTEX_OP_{name}" for name in ("SET", "ADD", "OR", "ANDN", "XOR"))
_WAKE_COMPARISONS: Final = tuple(f"FUTEX_OP_CMP_{name}" for name in ("EQ", "NE", "LT", "LE", "GT", "GE"))

# The codes by which the kernel restarts a call lie outside the UAPI numbers; where a number has two names it is the
# kernel's own first one.
_ERROR_NAMES: Final = {
    **errno.errorcode,
    11: "EAGAIN",
    35: "EDEADLK",
    95: "EOPNOTSUPP",
    133: "EHWPOISON",
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER",
    524: "ENOTSUPP",
}


@lru_cache(maxsize=4096)
def show_comm(data: bytes) -> str:
    """Return the name of a thread up to its NUL."""
    return to_text(data.partition(b"\0")[0])


def show_until_nul(data: bytes) -> str:
    """Return a string that lies in a fixed array of bytes."""
    return to_text(data.partition(b"\0")[0])


def show_pointer(value: int) -> str | None:
    """Return an address in hex, None for a null pointer."""
    return f"0x{value:x}" if value else None


def show_dirfd(value: int) -> int | str:
    """Return a directory's file descriptor, AT_FDCWD by name."""
    return "AT_FDCWD" if value == AT_FDCWD else value


def show_char(value: int) -> str:
    """Return the character that an integer's low byte is."""
    return to_text(bytes((value & 0xFF,)))


def show_futex_wake_op(value: int) -> str:
    """Return what FUTEX_WAKE_OP does to the second word and what it compares it with, as strace shows it."""
    shift = "FUTEX_OP_OPARG_SHIFT<<28|" if value >> 31 & 1 else ""
    operation = _name_of(_WAKE_OPERATIONS, value >> 28 & 7)
    comparison = _name_of(_WAKE_COMPARISONS, value >> 24 & 15)
    operand, compared = (show_hex(part & 0xFFF) for part in (value >> 12, value))
    return f"{shift}{operation}<<28|{operand}<<12|{comparison}<<24|{compared}"


def _name_of(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else hex(number)


def show_hex(number: int) -> str:
    """Return a number in hex, 0 as it is."""
    return hex(number) if number else "0"


def show_uid(value: int, width: int) -> int:
    """Return a user or group; all ones, which mean none, are -1."""
    return -1 if value == (1 << 8 * width) - 1 else value


def to_signed(value: int, width: int) -> int:
    """Return the low ``width`` bytes of an integer as a signed number."""
    sign = 1 << (8 * width - 1)
    return ((value & (2 * sign - 1)) ^ sign) - sign


def error_name(number: int) -> str:
    """Return the name of an error number."""
    return _ERROR_NAMES.get(number, f"errno {number}")


def compile_set(spec: SetSpec, width: int = 8) -> Callable[[int], str]:
    """Return what names the parts of a value of ``width`` bytes; results are cached."""
    ones = (1 << 8 * width) - 1
    mask = spec.mask & ones
    values = {number & ones: name for number, name in reversed(spec.values)}
    bits = tuple((bit, name) for bit, name in spec.bits if bit & ones == bit)
    octal = spec.octal

    @lru_cache(maxsize=1024)
    def show(value: int) -> str:
        part, rest = value & mask, value & ones & ~mask
        name = values.get(part) if mask else None
        names = [name] if name else [f"0x{part:x}"] if part else []
        for bit, name in bits:
            if rest & bit == bit:
                names.append(name)
                rest &= ~bit
        if rest & octal:
            names.append(f"0{rest & octal:o}")
        if rest & ~octal:
            names.append(f"0x{rest & ~octal:x}")
        return "|".join(names) or spec.zero

    return show


def compile_names(spec: SetSpec, width: int) -> Callable[[int], int | str]:
    """Return what gives a number's name, and a number without one as it is."""
    ones = (1 << 8 * width) - 1
    names = {number & ones: name for number, name in reversed(spec.values)}
    return lambda number: names.get(number & ones, number)


def is_signed(value: ValueSpec) -> bool:
    """Tell whether an integer of this kind is read with its sign."""
    return value.kind in ("fd", "dirfd", "pid") or (value.kind == "int" and value.signed)


def compile_scalar(value: ValueSpec, tables: Tables) -> Callable[[int], Value] | None:
    """Return what shows an integer that was read as ``is_signed`` says; None where it is shown as it is."""
    match value.kind:
        case "pointer":
            return show_pointer
        case "hex":
            return hex
        case "fd" | "pid" if value.width > 4:
            return lambda number: to_signed(number, 4)
        case "dirfd" if value.width > 4:
            return lambda number: show_dirfd(to_signed(number, 4))
        case "dirfd":
            return show_dirfd
        case "uid":
            width = value.width
            return lambda number: show_uid(number, width)
        case "int" if value.set_name:
            return compile_names(tables.sets[value.set_name], value.width)
        case "wait_status":
            return show_wait_status
        case "set":
            return compile_set(tables.sets[value.set_name], value.width)
        case "char":
            return show_char
        case "futex_wake_op":
            return show_futex_wake_op
        case "none":
            return lambda number: ABSENT
    return None


def compile_integer(value: ValueSpec, tables: Tables) -> Callable[[bytes], Value]:
    """Return what decodes a scalar that lies in memory in ``value.width`` bytes."""
    signed, show, order = is_signed(value), compile_scalar(value, tables), tables.byte_order

    def read(data: bytes) -> Value:
        number = int.from_bytes(data, order, signed=signed)
        return show(number) if show else number

    return read
