"""What verifiers from 4.11 on allow of an access to memory: check_mem_access and what it calls."""

from collections.abc import Sequence
from typing import Final

from traceleft.battery.objects.map_btf import MapFacts
from traceleft.battery.verifier import bounds
from traceleft.battery.verifier.era import Era
from traceleft.battery.verifier.machine import (
    ADJUSTED,
    CONSTANT,
    CONTEXT,
    DATA,
    EMPTY,
    FIRST_SLOT_BIT,
    FRAME,
    NUMBER,
    SAYS,
    SLOT_BYTES,
    STACK,
    VALUE,
    WHOLE,
    ZEROS,
    Machine,
    Register,
    Slot,
)
from traceleft.battery.verifier.ranges import FAR, Numbers
from traceleft.battery.verifier.state import Refused
from traceleft.battery.verifier.verifier_rules import STACK_BYTES

# BPF_REGISTER_MAX_RANGE of 4.11 to 4.13.
RANGE_MAX: Final = 1 << 30
ON_STACK: Final = (STACK, FRAME)
PLAIN: Final = (NUMBER, CONSTANT)


class Access:
    """Accesses of one program: to its maps, its context, its stack."""

    def __init__(self, era: Era, numbers: Numbers, maps: Sequence[MapFacts], context: range) -> None:
        self.era, self.numbers, self.maps = era, numbers, maps
        self._context = context
        self.sizes = [each.value_bytes for each in maps]
        # What is known of an address to which nothing but constants was added.
        self.nowhere = bounds.ZERO if era.has_bits else None
        # Whether something of a map was accessed at a place that is not constant.
        self.has_varied = False
        # Whether no number was added to an address, was the size of what a helper accesses, or came bounded from one.
        self.is_plain = era.has_bits
        self._zero = numbers.constant(0, is_wide=True)

    def read(self, machine: Machine, base: Register, offset: int, size: int, through: int) -> Register:
        """Return what a load leaves in its register."""
        kind = base.kind
        if kind in (VALUE, ADJUSTED):
            self.check_value(base, offset, size, allows_nothing=False)
            self._check_aligned(base, offset, size)
            return self.numbers.loaded(size)
        if kind in ON_STACK:
            return self.read_slot(machine, None, self.place(base, offset, size), size)
        if kind == CONTEXT:
            self._check_context(base, offset, size, "read")
            machine.contexts += (through, offset)
            return self.numbers.loaded(size)
        raise Refused(f"a read through register {through}, which holds {SAYS[kind]}")

    def write(
        self, machine: Machine, base: Register, offset: int, size: int, through: int, value: Register | None
    ) -> None:
        """Check a store of a register, or of a constant."""
        kind = base.kind
        if kind in (VALUE, ADJUSTED):
            self.check_value(base, offset, size, allows_nothing=False)
            self._check_aligned(base, offset, size)
        elif kind in ON_STACK:
            self.write_slot(machine, self.place(base, offset, size), size, value)
        elif kind == CONTEXT:
            self._check_context(base, offset, size, "write")
        else:
            raise Refused(f"a write through register {through}, which holds {SAYS[kind]}")

    def add(self, machine: Machine, base: Register, offset: int, size: int, through: int) -> None:
        """Check an addition in memory, which must be aligned (4.14.67, and later: ca36960211eb)."""
        if base.kind == CONTEXT:
            raise Refused("an addition in the context")
        if base.kind == VALUE and self.era.has_bits:
            value, mask = base.known.bits
            if (value + base.offset + offset | mask) & size - 1:
                raise Refused(f"an addition of {size} bytes in a map that is not aligned")
        self.read(machine, base, offset, size, through)
        self.write(machine, base, offset, size, through, None)

    def _check_aligned(self, base: Register, offset: int, size: int) -> None:
        """Up to 4.13 a map's value is read at multiples of the size, unless something was added to its address."""
        if not self.era.has_bits and base.kind == VALUE and offset % size:
            raise Refused(f"an access of {size} bytes at {offset}, which is not a multiple of that size")

    def check_value(self, base: Register, offset: int, size: int, *, allows_nothing: bool) -> None:
        """check_map_access: the lowest and the highest place must both lie in the value."""
        low, high = self._span(base)
        if base.kind == ADJUSTED:
            self.has_varied = True
        offset += base.offset if self.era.has_bits else 0
        name, whole = self.maps[base.map].name, self.sizes[base.map]
        if low < 0 and (not self.era.decides_ranges or low + offset < 0):
            raise Refused(f"a place in map {name} that may lie before its value: a number of it has no lower bound")
        if size < 0 or (size == 0 and not allows_nothing):
            raise Refused(f"{size} bytes of map {name}")
        if low + offset < 0:
            raise Refused(f"{size} bytes at {low + offset} of a value of map {name}, which has {whole}")
        if high >= (FAR if self.era.has_bits else RANGE_MAX):
            raise Refused(f"a place in map {name} without an upper bound")
        if high + offset + size > whole:
            raise Refused(f"{size} bytes at up to {high + offset} of a value of map {name}, which has {whole}")

    def _span(self, base: Register) -> tuple[int, int]:
        if self.era.has_bits:
            return base.known.smin, base.known.umax
        return (base.known[0], base.known[1]) if base.kind == ADJUSTED else (0, 0)

    def _check_context(self, base: Register, offset: int, size: int, what: str) -> None:
        self.check_whole(base)
        if what == "write" or offset not in self._context or offset % size:
            raise Refused(f"a {what} of {size} bytes at {offset} of its context")

    def check_whole(self, base: Register) -> None:
        """check_ctx_reg: nothing may have been added to the context's address (58990d1ff3f7)."""
        if self.era.has_bits and (base.offset or base.known.bits != (0, 0)):
            raise Refused("the context with something added to its address")

    def place(self, base: Register, offset: int, size: int) -> int:
        """Return where on the stack an access is; it must be known, within, and aligned."""
        offset += base.offset
        if self.era.has_bits:
            value, mask = base.known.bits
            if mask:
                raise Refused("a place on the stack that is not known")
            offset += value if value < 1 << 63 else value - (1 << 64)
        if offset % size:
            raise Refused(f"an access of {size} bytes at {offset}, which is not a multiple of that size")
        if not -STACK_BYTES <= offset < 0:
            raise Refused(f"an access of {size} bytes outside the stack, at {offset}")
        return offset

    def read_slot(self, machine: Machine, slot: Slot | None, offset: int, size: int) -> Register:
        """Return what a load from a sound place of the stack leaves; the slot there may be known already."""
        number = -offset - 1 >> 3
        slot = machine.stack.get(number, EMPTY) if slot is None else slot
        mask = (1 << size) - 1 << (offset & 7)
        bit = 1 << FIRST_SLOT_BIT + number
        if slot.saved >> (offset & 7) & 1:
            return self._read_saved(machine, slot, offset, size, bit)
        if (slot.data | slot.zeros) & mask != mask:
            raise Refused(f"a read of {size} bytes of the stack at {offset}, to which nothing was written")
        if self.era.tracks_slots:
            machine.mark_read(bit)
            if slot.zeros & mask == mask:
                return self._zero
        return self.numbers.loaded(size)

    def _read_saved(self, machine: Machine, slot: Slot, offset: int, size: int, bit: int) -> Register:
        assert slot.register is not None
        if size == SLOT_BYTES and slot.saved == WHOLE:
            machine.mark_read(bit)
            return slot.register
        if self.era.saves_constants and slot.register.kind == NUMBER:
            machine.mark_read(bit)
            return self.numbers.loaded(size)
        raise Refused(f"a read of a part of a pointer kept on the stack at {offset}")

    def write_slot(self, machine: Machine, offset: int, size: int, value: Register | None) -> None:
        """Write to a sound place of the stack what a register holds, or a constant."""
        number = -offset - 1 >> 3
        bit = 1 << FIRST_SLOT_BIT + number
        is_zero = self.era.tracks_slots and value is not None and value.kind == NUMBER and value.known.bits == (0, 0)
        if value is not None and (value.kind not in PLAIN or self._is_kept(value, size, is_zero=is_zero)):
            if size != SLOT_BYTES:
                raise Refused(f"a part of {SAYS[value.kind]} kept on the stack")
            machine.put(number, Slot(saved=WHOLE, register=value))
            machine.written |= bit
            return
        if size == SLOT_BYTES:
            machine.put(number, ZEROS if is_zero else DATA)
            machine.written |= bit
            return
        mask = (1 << size) - 1 << (offset & 7)
        self._overwrite(machine, number, mask, is_zero=is_zero)

    def _is_kept(self, value: Register, size: int, *, is_zero: bool) -> bool:
        """Tell whether a constant is known again when it is read from the stack."""
        is_constant = value.kind == NUMBER and self.era.saves_constants and not value.known.bits[1]
        return is_constant and not is_zero and size == SLOT_BYTES

    def _overwrite(self, machine: Machine, number: int, mask: int, *, is_zero: bool) -> None:
        """Write a part of a slot. What is left of a saved register nobody can read, up to 5.2 not even as bytes."""
        slot = machine.stack.get(number, EMPTY)
        data, zeros, saved = slot.data & ~mask, slot.zeros & ~mask, slot.saved & ~mask
        if self.era.saves_constants:
            data, saved = data | saved, 0
        data, zeros = (data, zeros | mask) if is_zero else (data | mask, zeros)
        machine.put(number, Slot(data, zeros, saved, slot.register if saved else None))

    def read_block(self, machine: Machine, offset: int, size: int, what: str) -> None:
        """Check that a helper may read so many bytes of the stack: all of them must have been written."""
        for number, mask in _slots(offset, size):
            slot = machine.stack.get(number, EMPTY)
            if self.era.saves_constants and slot.saved and slot.register is not None and slot.register.kind == NUMBER:
                slot = DATA
                machine.put(number, DATA)
            if (slot.data | slot.zeros) & mask != mask:
                raise Refused(f"{size} bytes at {offset} of the stack, not all of them written before, as {what}")
            if slot.zeros & mask:
                machine.put(number, slot._replace(data=slot.data | (slot.zeros & mask), zeros=slot.zeros & ~mask))
            if self.era.tracks_slots:
                machine.mark_read(1 << FIRST_SLOT_BIT + number)

    def fill_block(self, machine: Machine, offset: int, size: int) -> None:
        """Note that a helper writes so many bytes of the stack."""
        for number, mask in _slots(offset, size):
            self._overwrite(machine, number, mask, is_zero=False)


def _slots(offset: int, size: int) -> list[tuple[int, int]]:
    """Return the slots that a part of the stack has, and which bytes of each."""
    found: list[tuple[int, int]] = []
    while size > 0:
        first = offset & 7
        count = min(size, 8 - first)
        found.append((-offset - 1 >> 3, (1 << count) - 1 << first))
        offset, size = offset + count, size - count
    return found
