"""When a verifier from 4.11 on need not follow a path: a state that was sound covers it (states_equal, regsafe).

Liveness is the kernel's: only what something after the older state read is compared (4.14: 8e9cd9ce90d4 for registers, later
for the stack). Every place where the kernel compares keeps every state, where 5.3 and later drop some, and no number
is taken for imprecise (5.3: b5dc0163d8fd): counts of instructions are those of the kernel, or higher.
"""

from typing import Final

from traceleft.battery import bounds
from traceleft.battery.era import Era
from traceleft.battery.machine import (
    ADJUSTED,
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
        self._era = era
        # 4.11 to 4.13: whether something of a map was accessed at a place that is not constant.
        self.has_varied = False

    def covers(self, old: Saved, machine: Machine) -> bool:
        """Tell whether what is sound from an older state is sound from this one."""
        if not self._era.has_bits:
            return self._covers_early(old, machine)
        checks = old.checks
        if checks is None:
            checks = self._prepare(old)
        registers, ids = machine.registers, dict[int, int]()
        for number, mine in checks:
            other = registers[number]
            if mine is not other and mine != other and not _covers(mine, other, ids):
                return False
        if self._era.tracks_slots and not self._era.saves_constants and old.depth > machine.depth:
            return False
        if old.stack is machine.stack:
            return True
        stack = machine.stack
        for number, slot in old.slots:
            content = stack.get(number, EMPTY)
            if slot is not content and not self._covers_slot(old, number, slot, content, ids):
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
        old.slots = [
            (number, slot)
            for number, slot in old.stack.items()
            if not self._era.tracks_slots or read >> FIRST_SLOT_BIT + number & 1
        ]
        return old.checks

    def _covers_slot(self, old: Saved, number: int, mine: Slot, other: Slot, ids: Ids) -> bool:
        """stacksafe: bytes of the same kind; zeros stand for data too."""
        if mine.saved != other.saved or mine.zeros & ~other.zeros:
            return False
        if mine.data & ~(other.data | (other.zeros if self._era.tracks_slots else 0)):
            return False
        is_read = old.read >> FIRST_SLOT_BIT + number & 1
        if not mine.saved & 1 or not is_read or mine.register == other.register:
            return True
        assert mine.register is not None and other.register is not None
        return _covers(mine.register, other.register, ids)

    def _covers_early(self, old: Saved, machine: Machine) -> bool:
        for mine, other in zip(old.registers, machine.registers, strict=True):
            if mine is not other and mine != other and not self._covers_register(mine, other):
                return False
        if old.stack is machine.stack:
            return True
        stack = machine.stack
        return all(_is_same(slot, stack.get(number, EMPTY)) for number, slot in old.stack.items())

    def _covers_register(self, mine: Register, other: Register) -> bool:
        """The loop of states_equal, up to 4.13."""
        if mine.kind == NOTHING:
            return True
        if not self.has_varied:
            if mine._replace(known=None) == other._replace(known=None):
                return True
            if mine.kind == NUMBER and other.kind != NOTHING:
                return True
        return mine.kind == other.kind == MAYBE and mine.map == other.map


def _covers(mine: Register, other: Register, ids: Ids) -> bool:
    """regsafe."""
    kind = mine.kind
    if kind == NOTHING:
        return True
    if other.kind != kind:
        return False
    if kind == NUMBER:
        return bounds.holds(mine.known, other.known)
    if kind == VALUE:
        return mine.map == other.map and mine.offset == other.offset and bounds.holds(mine.known, other.known)
    if kind == MAYBE and mine.map == other.map and mine.offset == other.offset:
        return ids.setdefault(mine.id, other.id) == other.id
    return False


def _is_same(mine: Slot, other: Slot) -> bool:
    """Bytes that were written are the same in kind, and a saved register is the same in all."""
    if mine.saved != other.saved or mine.data & ~other.data:
        return False
    return not mine.saved & 1 or mine.register == other.register


VARIED: Final = (ADJUSTED,)
