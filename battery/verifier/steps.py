"""Single instructions as verifiers from 4.11 on follow them, each made once and used by all walks."""

from collections.abc import Callable
from functools import cache
from typing import Final

from traceleft.battery.objects.insns import ALU, ALU64, LDX, STX, Instruction
from traceleft.battery.verifier.early import EarlyNumbers
from traceleft.battery.verifier.era import Era
from traceleft.battery.verifier.machine import (
    CONSTANT,
    DATA,
    EMPTY,
    FIRST_SLOT_BIT,
    FRAME_POINTER,
    NUMBER,
    VALUE,
    Machine,
)
from traceleft.battery.verifier.ranges import Numbers, Ranges
from traceleft.battery.verifier.verifier_rules import STACK_BYTES

MOVE, NEGATE, SWAP, EXCHANGE_ADD = 0xB0, 0x80, 0xD0, 0xC0
SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
STEPS_MAX: Final = 100_000
PLAIN: Final = (NUMBER, CONSTANT)
Step = Callable[[Machine], None]


@cache
def numbers_of(era: Era) -> Numbers:
    """Return what an era knows of numbers; what was computed once is shared by all walks."""
    return Ranges(era) if era.has_bits else EarlyNumbers()


@cache
def steps_of(era: Era) -> "Steps":
    """Return an era's instructions, shared by all walks."""
    return Steps(era)


class Steps:
    """Instructions of an era: what one does to a machine; where it stands, and in which program, does not matter."""

    def __init__(self, era: Era) -> None:
        self._era, self._numbers = era, numbers_of(era)
        self._made: dict[tuple[int, int, int, int, int], Step] = {}

    def step(self, each: Instruction) -> Step:
        """Return an arithmetic instruction, a load or a store. Running it may raise Refused."""
        key = each[1:6]
        found = self._made.get(key)
        if found is None:
            if len(self._made) > STEPS_MAX:
                self._made.clear()
            found = self._made[key] = self._make(each)
        return found

    def _make(self, each: Instruction) -> Step:
        if each.kind in (ALU, ALU64):
            return self._move(each) if each.opcode & 0xF0 == MOVE else self._compute(each)
        if each.kind == LDX:
            return self._load_frame(each) if _is_framed(each, each.source) else self._load(each)
        return self._store(each)

    def _compute(self, each: Instruction) -> Step:
        to, source, code = each.destination, each.source, each.opcode & 0xF0
        of_register, is_wide, numbers = bool(each.opcode & 8), each.kind == ALU64, self._numbers
        if code in (NEGATE, SWAP):

            def forget(machine: Machine) -> None:
                machine.read(to)
                machine.registers[to] = numbers.unknown

            return forget
        operate, constant = numbers.operation(code, is_wide=is_wide), numbers.immediate(each.immediate)

        def with_register(machine: Machine) -> None:
            left, right = machine.read(to), machine.read(source)
            if left.kind not in PLAIN or right.kind not in PLAIN:
                machine.access.is_plain = False
            machine.registers[to] = operate(left, right)

        def with_constant(machine: Machine) -> None:
            machine.registers[to] = operate(machine.read(to), constant)

        return with_register if of_register else with_constant

    def _move(self, each: Instruction) -> Step:
        to, source, numbers = each.destination, each.source, self._numbers
        is_wide = each.kind == ALU64
        made = numbers.constant(each.immediate, is_wide=is_wide)

        def copy(machine: Machine) -> None:
            held = machine.registers[source]
            machine.registers[to] = held if held.kind else machine.read(source)

        def narrow(machine: Machine) -> None:
            machine.registers[to] = numbers.narrowed(machine.read(source))

        def put(machine: Machine) -> None:
            machine.registers[to] = made

        return put if not each.opcode & 8 else copy if is_wide else narrow

    def _load_frame(self, each: Instruction) -> Step:
        """A load at a constant place of the stack."""
        to, offset, size = each.destination, each.offset, SIZES[each.opcode & 0x18]
        number, loaded, tracks = -offset - 1 >> 3, self._numbers.loaded(size), self._era.tracks_slots
        bit = 1 << FIRST_SLOT_BIT + number

        def load(machine: Machine) -> None:
            slot = machine.stack.get(number, EMPTY)
            if slot is DATA:
                if tracks and not machine.written & bit:
                    machine.mark_read(bit)
                machine.registers[to] = loaded
            else:
                machine.registers[to] = machine.access.read_slot(machine, slot, offset, size)

        return load

    def _load(self, each: Instruction) -> Step:
        to, source, offset, size = each.destination, each.source, each.offset, SIZES[each.opcode & 0x18]
        loaded = self._numbers.loaded(size)

        def load(machine: Machine) -> None:
            base = machine.registers[source]
            access = machine.access
            if base.kind == VALUE and base.known is access.nowhere:
                at = base.offset + offset
                if 0 <= at <= access.sizes[base.map] - size:
                    machine.registers[to] = loaded
                    return
            machine.registers[to] = access.read(machine, machine.read(source), offset, size, source)

        return load

    def _store(self, each: Instruction) -> Step:
        to, source, offset, size = each.destination, each.source, each.offset, SIZES[each.opcode & 0x18]
        is_register, is_sum = each.kind == STX, each.opcode & 0xE0 == EXCHANGE_ADD

        def store(machine: Machine) -> None:
            value = machine.read(source) if is_register else None
            base = machine.registers[to]
            access = machine.access
            if base.kind == VALUE and base.known is access.nowhere and not is_sum:
                at = base.offset + offset
                if 0 <= at <= access.sizes[base.map] - size:
                    return
            access.write(machine, machine.read(to), offset, size, to, value)

        def add(machine: Machine) -> None:
            machine.read(source)
            machine.access.add(machine, machine.read(to), offset, size, to)

        def put(machine: Machine) -> None:
            value = machine.read(source) if is_register else None
            machine.access.write_slot(machine, offset, size, value)

        if is_sum and is_register:
            return add
        return put if _is_framed(each, each.destination) else store


def _is_framed(each: Instruction, base: int) -> bool:
    """Tell whether an access is at a place of the stack that stands in the instruction, and sound there."""
    size = SIZES[each.opcode & 0x18]
    return base == FRAME_POINTER and each.offset % size == 0 and -STACK_BYTES <= each.offset < 0
