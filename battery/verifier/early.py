"""Numbers as verifiers of 4.11 to 4.13 know them: a constant, or one lowest and one highest value.

From the history (484611357c19 of 4.9; 06c1c049721a, 5722569bb9c3 and fce366a9dd0d of 4.11; 9305706c2e80 of 4.13). No
such kernel was run. Bounds of a difference and of a shift are the wider of 4.11's and those mended in 4.13.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from traceleft.battery.verifier.comparison import EQ, GE, GT, NE, SGE, SGT, Outcome
from traceleft.battery.verifier.machine import ADJUSTED, CONSTANT, CONTEXT, FRAME, MAP, NUMBER, STACK, VALUE, Register
from traceleft.battery.verifier.ranges import ADD, AND, LSH, MUL, OR, RSH, SUB, Operation
from traceleft.battery.verifier.tnum import ALL, signed

LOWEST, HIGHEST = -1, 1 << 30
Span = tuple[int, int]
WIDEST: Final[Span] = (LOWEST, HIGHEST)
UNKNOWN: Final = Register(NUMBER, WIDEST)
SHIFT_MAX: Final = 30
# What was computed is remembered: of the same two registers, the result is the same.
MEMO_MAX: Final = 65_536
PLAIN: Final = (NUMBER, CONSTANT)


class EarlyNumbers:
    """One pair of bounds; a number that was not bounded is from -1 to 2^30, which stand for anything."""

    unknown: Final = UNKNOWN
    start: Final = (Register(CONTEXT, WIDEST), Register(FRAME, WIDEST))

    def __init__(self) -> None:
        self._operations: dict[tuple[int, bool], Operation] = {}
        self._comparisons: dict[tuple[int, bool], Callable[[Register, Register], Outcome]] = {}

    def constant(self, value: int, *, is_wide: bool) -> Register:
        """A constant is one whether 32 or 64 bits are moved."""
        return Register(CONSTANT, (signed(value), value & ALL), signed(value))

    def wide(self, value: int) -> Register:
        """The bounds are what the register had before, which may be anything."""
        return Register(CONSTANT, WIDEST, signed(value))

    def immediate(self, value: int) -> Register:
        """An immediate differs from a constant in a register."""
        return Register(CONSTANT, (value, value & ALL), value, id=1)

    def loaded(self, size: int) -> Register:
        """Nothing is known of what is loaded, except the upper bits of a byte or two."""
        return Register(NUMBER, WIDEST, 64 - size * 8) if size <= 2 else UNKNOWN

    def narrowed(self, register: Register) -> Register:
        """A move of 32 bits forgets all."""
        return UNKNOWN

    def pair(self, map_place: int) -> Register:
        """A map has no bounds."""
        return Register(MAP, WIDEST, 0, map_place)

    def operation(self, code: int, *, is_wide: bool) -> Operation:
        """Return check_alu_op's end: bounds first, then what the register is."""
        made = self._operations.get((code, is_wide))
        if made is None:
            made = self._operations[code, is_wide] = lru_cache(MEMO_MAX)(partial(_operate, code, is_wide))
        return made

    def comparison(self, code: int, *, is_wide: bool, is_immediate: bool) -> Callable[[Register, Register], Outcome]:
        """reg_set_min_max and reg_set_min_max_inv."""
        made = self._comparisons.get((code, is_immediate))
        if made is None:
            made = self._comparisons[code, is_immediate] = lru_cache(MEMO_MAX)(partial(_compare, code, is_immediate))
        return made


def _operate(code: int, is_wide: bool, left: Register, right: Register) -> Register:
    span = _adjust(code, left, right)
    if not is_wide:
        return Register(NUMBER, span)
    if left.kind == FRAME and code == ADD and right.kind == CONSTANT and right.id:
        return Register(STACK, span, right.offset)
    if left.kind == STACK and code == ADD and right.kind == CONSTANT:
        return Register(STACK, span, left.offset + right.offset)
    if left.kind == CONSTANT:
        return _fold(code, left, right, span)
    if left.kind in (VALUE, ADJUSTED) and code == ADD:
        return Register(ADJUSTED, span, 0, left.map)
    return Register(NUMBER, span)


def _compare(code: int, is_immediate: bool, left: Register, right: Register) -> Outcome:
    if is_immediate and code in (EQ, NE) and left.kind == CONSTANT and left.offset == right.offset:
        return code == EQ, left, right, left, right
    if right.kind == CONSTANT:
        taken, passed = _bound(code, left.known, right.offset)
        return None, left._replace(known=taken), right, left._replace(known=passed), right
    if left.kind == CONSTANT:
        taken, passed = _bound_other(code, right.known, left.offset)
        return None, left, right._replace(known=taken), left, right._replace(known=passed)
    return None, left, right, left, right


def _clamp(low: int, high: int) -> Span:
    """check_reg_overflow; the lower bound is signed, the higher is not."""
    low, high = signed(low), high & ALL
    return low if LOWEST <= low <= HIGHEST else LOWEST, min(high, HIGHEST)


def _operand(right: Register) -> Span:
    """Return the bounds of what is added or the like: an immediate has an id of 1."""
    if right.id:
        return (right.offset, right.offset) if LOWEST < right.offset < HIGHEST else WIDEST
    return _clamp(*right.known) if right.kind in PLAIN else WIDEST


def _adjust(code: int, left: Register, right: Register) -> Span:
    """adjust_reg_min_max_vals."""
    low, high = _operand(right)
    if (low, high) == WIDEST:
        return WIDEST
    least, most = left.known
    if low == LOWEST:
        least = LOWEST
    if high == HIGHEST:
        most = HIGHEST
    change = {ADD: _added, SUB: _subtracted, MUL: _multiplied, AND: _masked, LSH: _shifted_left, RSH: _shifted_right}
    return _clamp(*change[code](least, most, low, high)) if code in change else WIDEST


def _added(least: int, most: int, low: int, high: int) -> Span:
    return least if least == LOWEST else least + low, most if most == HIGHEST else most + high


def _subtracted(least: int, most: int, low: int, high: int) -> Span:
    if low == LOWEST:
        most = HIGHEST
    if high == HIGHEST:
        least = LOWEST
    return least if least == LOWEST else least - high, most if most == HIGHEST else most - low


def _multiplied(least: int, most: int, low: int, high: int) -> Span:
    return least if least == LOWEST else least * low, most if most == HIGHEST else most * high


def _masked(least: int, most: int, low: int, high: int) -> Span:
    return LOWEST if low < 0 else 0, high


def _shifted_left(least: int, most: int, low: int, high: int) -> Span:
    least = LOWEST if low > SHIFT_MAX or least == LOWEST else least << max(low, 0)
    return least, HIGHEST if high > SHIFT_MAX or most == HIGHEST else most << high


def _shifted_right(least: int, most: int, low: int, high: int) -> Span:
    least = LOWEST if low < 0 or least < 0 else least >> min(high, 63)
    return least, most if most == HIGHEST else most >> max(low, 0)


def _fold(code: int, left: Register, right: Register, span: Span) -> Register:
    """evaluate_reg_imm_alu."""
    if right.kind != CONSTANT:
        return Register(NUMBER, span)
    value, other = left.offset & ALL, right.offset & ALL
    count = other & 63
    results = {
        ADD: value + other,
        SUB: value - other,
        MUL: value * other,
        OR: value | other,
        AND: value & other,
        RSH: value >> count,
        LSH: value << count,
    }
    return Register(CONSTANT, span, signed(results[code])) if code in results else Register(NUMBER, span)


def _bound(code: int, known: Span, value: int) -> tuple[Span, Span]:
    """Return the bounds where a comparison with a constant holds, and where it does not."""
    (least, most), (low, high) = known, known
    if code == EQ:
        least = most = value
    elif code == NE:
        low = high = value
    elif code in (GT, SGT):
        low = 0 if code == GT else low
        high, least = value, value + 1
    elif code in (GE, SGE):
        low = 0 if code == GE else low
        high, least = value - 1, value
    return _clamp(least, most), _clamp(low, high)


def _bound_other(code: int, known: Span, value: int) -> tuple[Span, Span]:
    """Return the same of a number that a constant is compared with."""
    (least, most), (low, high) = known, known
    if code == EQ:
        least = most = value
    elif code == NE:
        low = high = value
    elif code in (GT, SGT):
        least = 0 if code == GT else least
        low, most = value, value - 1
    elif code in (GE, SGE):
        least = 0 if code == GE else least
        low, most = value + 1, value
    return _clamp(least, most), _clamp(low, high)
