"""What an old verifier knows at one place of a program: what its registers hold, and its stack."""

from enum import IntEnum
from typing import Final, NamedTuple, Self

from traceleft.battery.objects.map_btf import MapFacts
from traceleft.battery.verifier.verifier_rules import STACK_BYTES

REGISTERS: Final = 11
FRAME_POINTER: Final = 10
WORD_BYTES: Final = 8


class Refused(Exception):
    """What a verifier refuses, at the place that it looks at. Never leaves the package's verifier."""


class Kind(IntEnum):
    """What a register holds."""

    NOTHING = 0
    NUMBER = 1
    CONTEXT = 2
    MAP = 3
    VALUE = 4
    VALUE_OR_NULL = 5
    FRAME = 6
    STACK = 7
    CONSTANT = 8


SAYS: Final = {
    Kind.NOTHING: "nothing",
    Kind.NUMBER: "a number that is not constant",
    Kind.CONTEXT: "the context",
    Kind.MAP: "a map",
    Kind.VALUE: "a map's value",
    Kind.VALUE_OR_NULL: "a map's value that may be null",
    Kind.FRAME: "the frame's end",
    Kind.STACK: "an address on the stack",
    Kind.CONSTANT: "a constant",
}


class Register(NamedTuple):
    """What a register holds: ``number`` is a constant, or the address on the stack; ``map`` the map that it belongs to.

    A number may still have a map: 4.4 compares what is left of the address in the other half of its entry.
    """

    kind: Kind
    number: int = 0
    map: MapFacts | None = None


NOTHING: Final = Register(Kind.NOTHING)
NUMBER: Final = Register(Kind.NUMBER)
AT_START: Final = tuple(
    {1: Register(Kind.CONTEXT), FRAME_POINTER: Register(Kind.FRAME)}.get(number, NOTHING) for number in range(REGISTERS)
)


class State:
    """Registers, and the stack: a bit for each byte that holds data, and for each that holds a part of a saved pointer.

    Addresses on the stack are negative, as they are from the frame's end.
    """

    __slots__ = ("_data", "_saved", "_spilled", "registers")

    def __init__(self) -> None:
        self.registers = list(AT_START)
        self._data = 0
        self._spilled = 0
        # Saved pointers by their address. Never changed in place: copies share it.
        self._saved: dict[int, Register] = {}

    def copy(self) -> Self:
        """Return the same, to go another way."""
        other = type(self).__new__(type(self))
        other.registers = self.registers.copy()
        other._data, other._spilled, other._saved = self._data, self._spilled, self._saved
        return other

    def covers(self, other: Self) -> bool:
        """Tell whether a program that is sound from here is sound from another state: this one knows no more."""
        if self._data & ~other._data or self._spilled & ~other._spilled:
            return False
        if self.registers != other.registers and not all(map(_covers, self.registers, other.registers)):
            return False
        saved = other._saved
        return self._saved is saved or all(saved.get(at) == register for at, register in self._saved.items())

    def read(self, number: int) -> Register:
        """Return what a register holds."""
        register = self.registers[number]
        if register.kind is Kind.NOTHING:
            raise Refused(f"a read of register {number}, which holds nothing")
        return register

    def write(self, number: int, register: Register) -> None:
        """Put something into a register."""
        if number == FRAME_POINTER:
            raise Refused("a write to the frame pointer")
        self.registers[number] = register

    def store(self, at: int, size: int, register: Register | None) -> None:
        """Write to the stack what a register holds, or a constant; only pointers are known again."""
        _check_bounds(at, size)
        mask = _mask(at, size)
        slot = at - at % WORD_BYTES
        if register is not None and register.kind not in (Kind.NUMBER, Kind.CONSTANT):
            if size != WORD_BYTES:
                raise Refused(f"a part of {SAYS[register.kind]} kept on the stack")
            self._saved = {**self._saved, slot: register}
            self._spilled |= mask
            self._data &= ~mask
            return
        self._forget(slot)
        self._spilled &= ~mask
        self._data |= mask

    def load(self, at: int, size: int) -> Register:
        """Read from the stack."""
        _check_bounds(at, size)
        if self._spilled & _mask(at, 1):
            if size != WORD_BYTES or at not in self._saved:
                raise Refused(f"a read of a part of a pointer kept on the stack at {at}")
            return self._saved[at]
        if not self.has_data(at, size):
            raise Refused(f"a read of {size} bytes of the stack at {at}, to which nothing was written")
        return NUMBER

    def has_data(self, at: int, size: int) -> bool:
        """Tell whether every byte there was written, and none belongs to a saved pointer."""
        mask = _mask(at, size)
        return self._data & mask == mask

    def fill(self, at: int, size: int) -> None:
        """Note that a helper writes there."""
        mask = _mask(at, size)
        for slot in [saved for saved in self._saved if at - WORD_BYTES < saved < at + size]:
            self._forget(slot)
        self._spilled &= ~mask
        self._data |= mask

    def _forget(self, slot: int) -> None:
        if slot in self._saved:
            self._saved = {at: register for at, register in self._saved.items() if at != slot}


def _mask(at: int, size: int) -> int:
    return ((1 << size) - 1) << (STACK_BYTES + at)


def _check_bounds(at: int, size: int) -> None:
    if not -STACK_BYTES <= at < 0:
        raise Refused(f"an access of {size} bytes outside the stack, at {at}")


def _covers(mine: Register, other: Register) -> bool:
    if mine == other or mine.kind is Kind.NOTHING:
        return True
    if mine.kind is Kind.NUMBER:
        return other.kind is not Kind.NOTHING
    # Two lookups of one map differ in nothing that is asked of them.
    return mine.kind is other.kind is Kind.VALUE_OR_NULL and mine.map is other.map
