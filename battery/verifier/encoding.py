"""Whether an instruction is one that a kernel takes, wherever it stands."""

from functools import lru_cache
from typing import Any, Final

from traceleft.battery.objects.insns import ALU, ALU64, CALL, EXIT, Instruction, feature_of
from traceleft.battery.since import OLDEST, Kernel, load_since
from traceleft.battery.verifier.state import REGISTERS

NEGATE, DIVIDE, MODULO, SHIFT_LEFT, SHIFT_RIGHT, SHIFT_SIGNED, SWAP = 0x80, 0x30, 0x90, 0x60, 0x70, 0xC0, 0xD0
JUMP: Final = 0x05
# What came later and is followed all the same (battery/verifier/comparison.py).
FOLLOWED: Final = frozenset({"jlt", "jmp32"})
# c49f7dbd4f63.
SHIFTS_SIGNED_32: Final = Kernel(5, 0)
NOT_FOLLOWED: Final = ", which these rules do not follow"
RESERVED: Final = "an instruction with a reserved field set"
MEMO_MAX: Final = 65_536


def fault_of(each: Instruction, kernel: Kernel = OLDEST) -> str | None:
    """Return what is wrong with an instruction: too new for a kernel, or of no meaning; None for a sound one."""
    return _fault_of(each[1:], kernel)


@lru_cache(maxsize=MEMO_MAX)
def _fault_of(fields: tuple[Any, ...], kernel: Kernel) -> str | None:
    """Where an instruction stands does not matter, and most stand in many programs."""
    each = Instruction(0, *fields)
    feature = feature_of(each)
    if feature is not None:
        known = load_since().features.get(feature)
        if known is None:
            return "an instruction that is not known"
        if known.since > kernel:
            return known.name
        if feature not in FOLLOWED:
            return f"{known.name}{NOT_FOLLOWED}"
    if max(each.destination, each.source) >= REGISTERS:
        return "a register that does not exist"
    if any(_reserved(each)):
        return RESERVED
    return _fault_of_arithmetic(each, kernel) if each.kind in (ALU, ALU64) else None


def _reserved(each: Instruction) -> tuple[int, ...]:
    """Return the fields that an instruction has no use for, which must hold nothing."""
    of_register = bool(each.opcode & 8)
    match each.kind:
        case 4 | 7:
            operation = each.opcode & 0xF0
            if operation == SWAP:
                return (each.offset, each.source)
            if operation == NEGATE:
                return (each.offset, each.source, each.immediate, of_register)
            return (each.offset, each.immediate if of_register else each.source)
        case 5 | 6:
            if each.opcode == CALL:
                return (each.offset, each.source, each.destination)
            if each.opcode in (JUMP, EXIT):
                return (each.immediate, each.source, each.destination)
            return (each.immediate if of_register else each.source,)
        case 0:
            return (each.offset, not each.is_whole)
        case 2:
            return (each.source,)
        case _:
            return (each.immediate,)


def _fault_of_arithmetic(each: Instruction, kernel: Kernel) -> str | None:
    operation, value = each.opcode & 0xF0, each.immediate
    bits = 64 if each.kind == ALU64 else 32
    if operation == SWAP:
        return None if each.kind == ALU and value in (16, 32, 64) else RESERVED
    if operation == SHIFT_SIGNED and bits == 32 and kernel < SHIFTS_SIGNED_32:
        return "a signed shift of 32 bits"
    if each.opcode & 8:
        return None
    if operation in (DIVIDE, MODULO) and value == 0:
        return "a division by zero"
    is_shift = operation in (SHIFT_LEFT, SHIFT_RIGHT, SHIFT_SIGNED)
    return f"a shift by {value}" if is_shift and not 0 <= value < bits else None
