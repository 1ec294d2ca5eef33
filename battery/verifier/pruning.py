"""When a verifier from 4.11 on need not follow a path: a state that was sound covers it (states_equal, regsafe).

Liveness is the kernel's: only what something after the older state read is compared (registers from 4.14 on:
dc503a8ad984; the stack from 4.16 on). Every place where the kernel compares keeps every state, where 5.3
and later drop some, and no number is taken for imprecise (5.3: b5dc0163d8fd): counts of instructions are those of the
kernel, or higher.
"""

from collections.abc import Sequence
from typing import Final

from traceleft.battery.verifier.bounds import holds
from traceleft.battery.verifier.era import Era
from traceleft.battery.verifier.machine import (
    EMPTY,
    FIRST_SLOT_BIT,
    MAYBE,
    NOTHING,
    NUMBER,
    VALUE,
    Machine,
    Register,
    Saved,
    Slot,
)

REGISTERS: Final = 10
Ids = dict[int, int]


class Pruner:
    """Compares states of one walk."""

    def __init__(self, era: Era) -> None:
        self._tracks_slots, self._has_bits = era.tracks_slots, era.has_bits
        self._needs_depth = era.tracks_slots and not era.saves_constants
        # Slots that are compared, by a stack that several states share, and what was read of it.
        self._chosen: dict[tuple[int, int], tuple[dict[int, Slot], list[tuple[int, Slot]]]] = {}

    def find(self, seen: Sequence[Saved], machine: Machine) -> Saved | None:
        """Return the newest state from which all is known to be sound that may follow this one."""
        if not self._has_bits:
            return self._find_early(seen, machine)
        registers = machine.registers
        for old in reversed(seen):
            checks = old.checks
            if checks is None:
                checks = self._prepare(old)
            ids: Ids = {}
            for index, (number, mine) in enumerate(checks):
                other = registers[number]
                if mine is other or mine == other:
                    continue
                if not _covers(mine, other, ids):
                    # What differed once differs again.
                    checks[0], checks[index] = checks[index], checks[0]
                    break
            else:
                if self._covers_stack(old, machine, ids):
                    return old
        return None

    def _find_early(self, seen: Sequence[Saved], machine: Machine) -> Saved | None:
        """states_equal, up to 4.13: all that is known is compared."""
        registers, has_varied = machine.registers, machine.access.has_varied
        for old in reversed(seen):
            checks = old.checks
            if checks is None:
                checks = old.checks = [each for each in enumerate(old.registers) if each[1].kind != NOTHING]
            number, mine = checks[0]
            other = registers[number]
            # Most states differ in what differed last.
            if mine is not other and mine != other and not _covers_register(mine, other, has_varied=has_varied):
                continue
            for index, (number, mine) in enumerate(checks):
                other = registers[number]
                if mine is other or mine == other:
                    continue
                if not _covers_register(mine, other, has_varied=has_varied):
                    # What differed once differs again.
                    checks[0], checks[index] = checks[index], checks[0]
                    break
            else:
                if old.stack is machine.stack or self._covers_stack_early(old, machine.stack):
                    return old
        return None

    def _covers_stack_early(self, old: Saved, stack: dict[int, Slot]) -> bool:
        slots = old.slots
        if not slots:
            slots = old.slots = list(old.stack.items())
        for index, (number, mine) in enumerate(slots):
            other = stack.get(number, EMPTY)
            if mine is not other and not _is_same(mine, other):
                slots[0], slots[index] = slots[index], slots[0]
                return False
        return True

    def _prepare(self, old: Saved) -> list[tuple[int, Register]]:
        """Choose what of an older state is compared; no path after it is followed any longer."""
        read = old.read
        old.checks = [
            (number, register)
            for number, register in enumerate(old.registers[:REGISTERS])
            if read >> number & 1 and register.kind != NOTHING
        ]
        of_slots = read >> FIRST_SLOT_BIT
        key = id(old.stack), of_slots
        chosen = self._chosen.get(key)
        if chosen is None:
            slots = [each for each in old.stack.items() if not self._tracks_slots or of_slots >> each[0] & 1]
            chosen = self._chosen[key] = (old.stack, slots)
        old.slots = chosen[1]
        return old.checks

    def _covers_stack(self, old: Saved, machine: Machine, ids: Ids) -> bool:
        if self._needs_depth and old.depth > machine.depth:
            return False
        stack = machine.stack
        if old.stack is stack:
            return True
        for number, slot in old.slots:
            content = stack.get(number, EMPTY)
            if slot is not content and not self._covers_slot(old, number, slot, content, ids):
                return False
        return True

    def _covers_slot(self, old: Saved, number: int, mine: Slot, other: Slot, ids: Ids) -> bool:
        """stacksafe: bytes of the same kind; zeros stand for data too."""
        if mine.saved != other.saved or mine.zeros & ~other.zeros:
            return False
        if mine.data & ~(other.data | (other.zeros if self._tracks_slots else 0)):
            return False
        is_read = old.read >> FIRST_SLOT_BIT + number & 1
        if not mine.saved & 1 or not is_read or mine.register == other.register:
            return True
        assert mine.register is not None and other.register is not None
        return _covers(mine.register, other.register, ids)


def _covers(mine: Register, other: Register, ids: Ids) -> bool:
    """regsafe."""
    kind = mine.kind
    if other.kind != kind:
        return False
    if kind == NUMBER:
        return holds(mine.known, other.known)
    if kind == VALUE:
        return mine.map == other.map and mine.offset == other.offset and holds(mine.known, other.known)
    if kind == MAYBE and mine.map == other.map and mine.offset == other.offset:
        return ids.setdefault(mine.id, other.id) == other.id
    return False


def _covers_register(mine: Register, other: Register, *, has_varied: bool) -> bool:
    if not has_varied:
        if mine.kind == NUMBER and other.kind != NOTHING:
            return True
        # All but what is known.
        if mine.kind == other.kind and mine[2:] == other[2:]:
            return True
    return mine.kind == other.kind == MAYBE and mine.map == other.map


def _is_same(mine: Slot, other: Slot) -> bool:
    """Bytes that were written are the same in kind, and a saved register is the same in all."""
    if mine.saved != other.saved or mine.data & ~other.data:
        return False
    return not mine.saved & 1 or mine.register == other.register
