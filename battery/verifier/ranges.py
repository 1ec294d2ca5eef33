"""Arithmetic and comparisons as verifiers from 4.14 on follow them, on registers."""

from collections.abc import Callable
from typing import Final, Protocol

from traceleft.battery.verifier import bounds, tnum
from traceleft.battery.verifier.bounds import LOW_32, Bounds
from traceleft.battery.verifier.comparison import Outcome, compare
from traceleft.battery.verifier.era import Era
from traceleft.battery.verifier.machine import CONTEXT, MAP, MAYBE, NUMBER, SAYS, STACK, Register
from traceleft.battery.verifier.state import Refused

ADD, SUB, MUL, OR, AND, LSH, RSH, ARSH = 0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xC0
# BPF_MAX_VAR_OFF and BPF_MAX_VAR_SIZ.
FAR: Final = 1 << 29
MEMO_MAX: Final = 200_000
UNKNOWN: Final = Register(NUMBER, bounds.UNKNOWN)
Operation = Callable[[Register, Register], Register]


class Numbers(Protocol):
    """What verifiers of a time know of numbers."""

    @property
    def unknown(self) -> Register:
        """A number that nothing is known about."""

    @property
    def start(self) -> tuple[Register, Register]:
        """What registers 1 and 10 hold at first."""

    def constant(self, value: int, *, is_wide: bool) -> Register:
        """Return what a constant leaves in a register."""

    def wide(self, value: int) -> Register:
        """Return what a load of 64 bits leaves in a register."""

    def immediate(self, value: int) -> Register:
        """Return a constant that stands in an instruction, as an operand."""

    def loaded(self, size: int) -> Register:
        """Return what so many bytes of memory leave in a register."""

    def narrowed(self, register: Register) -> Register:
        """Return what a move of 32 bits leaves in a register."""

    def operation(self, code: int, *, is_wide: bool) -> Operation:
        """Return an arithmetic operation; it may raise Refused."""

    def comparison(self, code: int, *, is_wide: bool, is_immediate: bool) -> Callable[[Register, Register], Outcome]:
        """Return a comparison of two registers."""

    def pair(self, map_place: int) -> Register:
        """Return a map's address."""


class Ranges:
    """Numbers with signed and unsigned bounds and bits."""

    unknown: Final = UNKNOWN
    start: Final = (Register(CONTEXT, bounds.ZERO), Register(STACK, bounds.ZERO))

    def __init__(self, era: Era) -> None:
        self._era = era
        self._loaded = {
            size: Register(NUMBER, bounds.truncate(bounds.UNKNOWN, size)) if size < 8 else UNKNOWN
            for size in (1, 2, 4, 8)
        }
        self._operations: dict[tuple[int, bool], Operation] = {}
        self._comparisons: dict[tuple[int, bool, bool], Callable[[Register, Register], Outcome]] = {}

    def constant(self, value: int, *, is_wide: bool) -> Register:
        """A move of 32 bits leaves no sign."""
        return Register(NUMBER, bounds.constant(value if is_wide else value & LOW_32))

    def wide(self, value: int) -> Register:
        """All 64 bits are known."""
        return Register(NUMBER, bounds.constant(value))

    def immediate(self, value: int) -> Register:
        """An immediate has a sign."""
        return Register(NUMBER, bounds.constant(value))

    def loaded(self, size: int) -> Register:
        """Bytes are filled up with zeros."""
        return self._loaded[size]

    def narrowed(self, register: Register) -> Register:
        """Up to 5.0 a move of 32 bits forgets all but the width."""
        if self._era.decides_ranges and register.kind == NUMBER:
            return Register(NUMBER, bounds.truncate(register.known, 4))
        return self._loaded[4]

    def pair(self, map_place: int) -> Register:
        """A map has no offset."""
        return Register(MAP, bounds.ZERO, 0, map_place)

    def operation(self, code: int, *, is_wide: bool) -> Operation:
        """Numbers are remembered: of the same two, the result is the same."""
        made = self._operations.get((code, is_wide))
        if made is None:
            made = self._operations[code, is_wide] = self._make(code, is_wide)
        return made

    def _make(self, code: int, is_wide: bool) -> Operation:
        memo: dict[tuple[Bounds, Bounds], Register] = {}

        def operate(left: Register, right: Register) -> Register:
            if left.kind != NUMBER or right.kind != NUMBER:
                return _address(code, is_wide, left, right)
            key = left.known, right.known
            found = memo.get(key)
            if found is None:
                if len(memo) > MEMO_MAX:
                    memo.clear()
                found = memo[key] = Register(NUMBER, self._compute(code, is_wide, *key))
            return found

        return operate

    def _compute(self, code: int, is_wide: bool, left: Bounds, right: Bounds) -> Bounds:
        """adjust_scalar_min_max_vals."""
        if not is_wide and self._era.truncates_first:
            left, right = bounds.truncate(left, 4), bounds.truncate(right, 4)
        if right.is_impossible or (right.bits[1] and code not in (ADD, SUB, AND)):
            return bounds.UNKNOWN
        found = self._apply(code, is_wide, left, right)
        if not is_wide:
            found = bounds.truncate(found, 4)
        return bounds.settle(bounds.deduce(found))

    def _apply(self, code: int, is_wide: bool, left: Bounds, right: Bounds) -> Bounds:
        simple = {ADD: bounds.add, SUB: bounds.subtract, MUL: bounds.multiply, AND: bounds.both, OR: bounds.either}
        if code in simple:
            return simple[code](left, right)
        if right.umax >= (64 if is_wide else 32):
            return bounds.UNKNOWN
        if code == LSH:
            return bounds.shift_left(left, right)
        if code == RSH:
            return bounds.shift_right(left, right)
        if code == ARSH and self._era.shifts_signed:
            return bounds.shift_signed(left, right) if is_wide else bounds.shift_signed_32(left, right)
        return bounds.UNKNOWN

    def comparison(self, code: int, *, is_wide: bool, is_immediate: bool) -> Callable[[Register, Register], Outcome]:
        """Comparisons of numbers are remembered as well."""
        key = code, is_wide, is_immediate
        made = self._comparisons.get(key)
        if made is None:
            made = self._comparisons[key] = compare(self._era, code, is_wide=is_wide, is_immediate=is_immediate)
        return made


def _address(code: int, is_wide: bool, left: Register, right: Register) -> Register:
    """adjust_ptr_min_max_vals, and what adjust_reg_min_max_vals does before it."""
    if left.kind != NUMBER and right.kind != NUMBER:
        if code == SUB:
            return UNKNOWN
        raise Refused(f"arithmetic with {SAYS[left.kind]} and {SAYS[right.kind]}")
    is_reversed = left.kind == NUMBER
    base, number = (right, left.known) if is_reversed else (left, right.known)
    if number.is_impossible:
        return UNKNOWN
    if (
        not is_wide
        or base.kind in (MAYBE, MAP)
        or code not in (ADD, SUB)
        or (code == SUB and _is_fixed(base, is_reversed))
    ):
        raise Refused(f"arithmetic with {SAYS[base.kind]} that makes a number of it")
    _check_sane(base, number, 0)
    _check_sane(base, base.known, base.offset)
    sign = 1 if code == ADD else -1
    if not number.bits[1] and -(1 << 31) <= base.offset + sign * number.smin < 1 << 31:
        moved = base._replace(offset=base.offset + sign * number.smin)
    else:
        total = (bounds.add if code == ADD else bounds.subtract)(base.known, number)
        moved = base._replace(known=total)
    _check_sane(base, moved.known, moved.offset)
    if moved.known is bounds.ZERO:
        return moved
    return moved._replace(known=bounds.settle(bounds.deduce(bounds.refine(moved.known))))


def _is_fixed(base: Register, is_reversed: bool) -> bool:
    """Tell whether nothing may be subtracted: from the stack, or an address from a number."""
    return is_reversed or base.kind == STACK


def _check_sane(base: Register, known: Bounds, offset: int) -> None:
    """check_reg_sane_offset."""
    value = tnum.signed(known.bits[0])
    if not known.bits[1] and not -FAR < value < FAR:
        raise Refused(f"{SAYS[base.kind]} with {value} added to it, which is too far")
    if not -FAR < offset < FAR:
        raise Refused(f"{SAYS[base.kind]} at {offset}, which is too far")
    if not -FAR < known.smin < FAR:
        raise Refused(f"{SAYS[base.kind]} with a number added to it that has no lower bound")
