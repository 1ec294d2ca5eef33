"""Which registers an instruction reads and writes, and which are read later on some way."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from traceleft.battery.objects.insns import (
    ALU,
    ALU64,
    CALL,
    EXIT,
    JUMPS_ALWAYS,
    LD,
    LDX,
    ST,
    STX,
    Instruction,
    successors,
)
from traceleft.battery.verifier.calls import arguments_of

MOVE: Final = 0xB0
CALLER_SAVED: Final = 0x3F
MEMO_MAX: Final = 65_536


def touches(each: Instruction) -> tuple[int, int]:
    """Return the registers that an instruction reads, and those that it writes, a bit for each."""
    return _touches(each.opcode, each.destination, each.source, each.immediate if each.opcode == CALL else 0)


@lru_cache(maxsize=MEMO_MAX)
def _touches(opcode: int, destination: int, source: int, immediate: int) -> tuple[int, int]:
    each = Instruction(0, opcode, destination, source, 0, immediate)
    to, source, of_register = 1 << each.destination, 1 << each.source, bool(each.opcode & 8)
    if each.kind == LD:
        return 0, to
    if each.kind == LDX:
        return source, to
    if each.kind in (ST, STX):
        return to | (source if each.kind == STX else 0), 0
    if each.kind in (ALU, ALU64):
        others = source if of_register else 0
        return (others, to) if each.opcode & 0xF0 == MOVE else (to | others, to)
    if each.opcode == CALL:
        return (1 << arguments_of(each)) - 1 << 1, CALLER_SAVED
    if each.opcode == EXIT:
        return 1, 0
    return (0, 0) if each.opcode in JUMPS_ALWAYS else (to | (source if of_register else 0), 0)


def live_registers(code: Sequence[Instruction]) -> dict[int, int]:
    """Return the registers that are read on some way from each place on, before they are written."""
    live = dict.fromkeys((each.at for each in code), 0)
    has_changed = True
    while has_changed:
        has_changed = False
        for each in reversed(code):
            used, defined = touches(each)
            after = 0
            for place in successors(each):
                after |= live.get(place, 0)
            found = used | after & ~defined
            if found != live[each.at]:
                live[each.at], has_changed = found, True
    return live
