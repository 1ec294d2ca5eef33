"""eBPF instructions: what the programs of an object call and need."""

import struct
from dataclasses import dataclass
from typing import Final

INSTRUCTION_BYTES: Final = 8
LOAD_IMM64: Final = 0x18
CALL: Final = 0x85
ATOMIC: Final = (0xC3, 0xDB)
# The source register of a call tells what is called.
HELPER, PROGRAM, KFUNC = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Instructions:
    """What was read of a run of instructions; a 16-byte load counts as the two that the kernel counts."""

    count: int
    helpers: frozenset[int]
    calls_programs: bool
    calls_kfuncs: bool
    fetches: bool


def read_instructions(code: bytes, *, byte_order: str = "little") -> Instructions:
    """Read instructions. Raises ValueError for a length that is no multiple of 8 or a load that is cut."""
    if len(code) % INSTRUCTION_BYTES:
        raise ValueError(f"{len(code)} bytes are no whole number of instructions")
    helpers: set[int] = set()
    callees: set[int] = set()
    fetches = False
    is_second = False
    form = "<BBhi" if byte_order == "little" else ">BBhi"
    for opcode, registers, _offset, immediate in struct.iter_unpack(form, code):
        if is_second:
            is_second = False
            continue
        is_second = opcode == LOAD_IMM64
        if opcode == CALL:
            callee = registers >> 4 if byte_order == "little" else registers & 15
            callees.add(callee)
            if callee == HELPER:
                helpers.add(immediate)
        fetches |= opcode in ATOMIC and immediate != 0
    if is_second:
        raise ValueError("the last load is cut")
    return Instructions(
        len(code) // INSTRUCTION_BYTES, frozenset(helpers), PROGRAM in callees, KFUNC in callees, fetches
    )
