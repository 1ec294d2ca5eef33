"""eBPF programs, put together by hand."""

import struct

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def insn(opcode: int, *, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, source << 4 | to, offset, value)


def load64(to: int, value: int) -> bytes:
    low, high = value & 0xFFFF_FFFF, value >> 32
    return struct.pack("<BBhIBBhI", 0x18, to, 0, low, 0, 0, 0, high)


def call(number: int, *, of: int = 0) -> bytes:
    return insn(0x85, source=of, value=number)
