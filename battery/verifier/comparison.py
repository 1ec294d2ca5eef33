"""Comparisons as verifiers from 4.14 on follow them: what is decided, and what each way learns.

JLT and its kind came with 4.14 (92b31a9af73b), JMP32 with 5.1 (092ed0968bb6), JSET is understood from 5.0 on
(960ea056561a).
"""

from collections.abc import Callable
from typing import Final

from traceleft.battery.verifier import bounds, tnum
from traceleft.battery.verifier.bounds import LOW_32, Bounds
from traceleft.battery.verifier.era import Era
from traceleft.battery.verifier.machine import NUMBER, Register
from traceleft.battery.verifier.tnum import ALL, signed

EQ, GT, GE, SET, NE, SGT, SGE = 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
LT, LE, SLT, SLE = 0xA0, 0xB0, 0xC0, 0xD0
MIRRORED: Final = {GT: LT, GE: LE, LT: GT, LE: GE, SGT: SLT, SGE: SLE, SLT: SGT, SLE: SGE}
HIGH_32: Final = ALL ^ LOW_32
MEMO_MAX: Final = 200_000

# Whether the jump is taken (None: both ways are followed), then both registers if it is, and if it is not.
Outcome = tuple[bool | None, Register, Register, Register, Register]


def compare(era: Era, code: int, *, is_wide: bool, is_immediate: bool) -> Callable[[Register, Register], Outcome]:
    """Return a comparison; of an immediate, the second register holds that."""
    memo: dict[tuple[Bounds, Bounds], Outcome] = {}

    def run(left: Register, right: Register) -> Outcome:
        if left.kind != NUMBER or right.kind != NUMBER:
            return None, left, right, left, right
        key = left.known, right.known
        found = memo.get(key)
        if found is None:
            if len(memo) > MEMO_MAX:
                memo.clear()
            found = memo[key] = _outcome(era, code, is_wide, is_immediate, left, right)
        return found

    return run


def _outcome(era: Era, code: int, is_wide: bool, is_immediate: bool, left: Register, right: Register) -> Outcome:
    taken = _decide(era, code, is_wide, is_immediate, left.known, right.known)
    ways = [left.known, right.known, left.known, right.known]
    if taken is None:
        ways[:] = _learn(era, code, is_wide, left.known, right.known)
    made = [
        register if known is register.known else Register(NUMBER, known)
        for register, known in zip((left, right, left, right), ways, strict=True)
    ]
    return taken, made[0], made[1], made[2], made[3]


def _decide(era: Era, code: int, is_wide: bool, is_immediate: bool, left: Bounds, right: Bounds) -> bool | None:
    """Tell what check_cond_jmp_op does not follow both ways of."""
    if right.bits[1]:
        return None
    value = right.bits[0]
    if era.decides_ranges:
        return _is_taken(code, is_wide, left, value)
    if not is_immediate or code not in (EQ, NE) or left.bits[1]:
        return None
    is_equal = left.bits[0] == value
    if not is_equal and not era.decides_constants:
        return None
    return is_equal == (code == EQ)


def _is_taken(code: int, is_wide: bool, known: Bounds, value: int) -> bool | None:
    """is_branch_taken."""
    if not is_wide:
        known = bounds.truncate(known, 4)
        smin, smax = known.smin, known.smax
        if (known.umax ^ known.umin) >> 31 & 1:
            smin, smax = -(1 << 31), (1 << 31) - 1
        known = known._replace(smin=_signed_32(smin), smax=_signed_32(smax))
        value &= LOW_32
    as_signed = signed(value) if is_wide else _signed_32(value)
    if code in (EQ, NE):
        return None if known.bits[1] else (known.bits[0] == value) == (code == EQ)
    if code == SET:
        if ~known.bits[1] & known.bits[0] & value:
            return True
        return None if (known.bits[1] | known.bits[0]) & value else False
    return _in_order(code, known, value, as_signed)


def _in_order(code: int, known: Bounds, value: int, as_signed: int) -> bool | None:
    always, never = {
        GT: (known.umin > value, known.umax <= value),
        SGT: (known.smin > as_signed, known.smax < as_signed),
        LT: (known.umax < value, known.umin >= value),
        SLT: (known.smax < as_signed, known.smin >= as_signed),
        GE: (known.umin >= value, known.umax < value),
        SGE: (known.smin >= as_signed, known.smax < as_signed),
        LE: (known.umax <= value, known.umin > value),
        SLE: (known.smax <= as_signed, known.smin > as_signed),
    }[code]
    return True if always else False if never else None


def _signed_32(value: int) -> int:
    low = value & LOW_32
    return low - (1 << 32) if low >> 31 else low


def _learn(era: Era, code: int, is_wide: bool, left: Bounds, right: Bounds) -> tuple[Bounds, Bounds, Bounds, Bounds]:
    """reg_set_min_max, reg_set_min_max_inv and reg_combine_min_max."""
    left_low, right_low = (left, right) if is_wide else (bounds.truncate(left, 4), bounds.truncate(right, 4))
    if not right.bits[1] or (not is_wide and not right_low.bits[1]):
        value = right.bits[0] if is_wide else right_low.bits[0]
        taken, passed = _bound(era, code, is_wide, left, value)
        return taken, right, passed, right
    if not left.bits[1] or (not is_wide and not left_low.bits[1]):
        value = left.bits[0] if is_wide else left_low.bits[0]
        taken, passed = _bound(era, MIRRORED.get(code, code), is_wide, right, value)
        return left, taken, left, passed
    if is_wide and code == EQ:
        met = bounds.combine(left, right)
        return met, met, left, right
    if is_wide and code == NE:
        met = bounds.combine(left, right)
        return left, right, met, met
    return left, right, left, right


def _bound(era: Era, code: int, is_wide: bool, known: Bounds, value: int) -> tuple[Bounds, Bounds]:
    """Return what is known of a number where a comparison with a constant holds, and where it does not."""
    value &= ALL if is_wide else LOW_32
    taken = passed = known
    if code in (EQ, NE):
        same = _same(known, value, is_wide)
        taken, passed = (same, known) if code == EQ else (known, same)
    elif code == SET:
        if era.decides_ranges:
            passed = known._replace(bits=tnum.both(known.bits, (~value & ALL, 0)))
            if value & (value - 1) == 0 and value:
                taken = known._replace(bits=tnum.either(known.bits, (value, 0)))
    elif code in (GT, GE):
        passed = _below(known, value, is_wide, is_exclusive=code == GE)
        taken = _above(known, value, is_wide, is_exclusive=code == GT)
    elif code in (LT, LE):
        passed = _above(known, value, is_wide, is_exclusive=code == LE)
        taken = _below(known, value, is_wide, is_exclusive=code == LT)
    else:
        taken, passed = _bound_signed(code, known, value, is_wide)
    return _settled(taken), _settled(passed)


def _settled(known: Bounds) -> Bounds:
    return bounds.refine(bounds.settle(bounds.deduce(known)))


def _same(known: Bounds, value: int, is_wide: bool) -> Bounds:
    if is_wide:
        return bounds.constant(value)
    old, mask = known.bits
    return known._replace(bits=((old & HIGH_32) | value, mask & HIGH_32))


def _below(known: Bounds, value: int, is_wide: bool, *, is_exclusive: bool) -> Bounds:
    """set_upper_bound."""
    if is_exclusive:
        if value == 0:
            return known
        value -= 1
    if not is_wide:
        found, mask = tnum.spanning(0, value)
        known = known._replace(bits=tnum.meet(known.bits, (found, mask | HIGH_32)))
        value += (known.bits[0] | known.bits[1]) & HIGH_32
    return known._replace(umax=min(known.umax, value))


def _above(known: Bounds, value: int, is_wide: bool, *, is_exclusive: bool) -> Bounds:
    """set_lower_bound."""
    if is_exclusive:
        if value == (ALL if is_wide else LOW_32):
            return known
        value += 1
    if not is_wide:
        found, mask = tnum.spanning(value, LOW_32)
        known = known._replace(bits=tnum.meet(known.bits, (found, mask | HIGH_32)))
        value += known.bits[0] & HIGH_32
    return known._replace(umin=max(known.umin, value))


def _bound_signed(code: int, known: Bounds, value: int, is_wide: bool) -> tuple[Bounds, Bounds]:
    limit = signed(value) if is_wide else _signed_32(value)
    if not is_wide and not _fits(limit, known):
        return known, known
    if code in (SGT, SGE):
        top, bottom = (limit, limit + 1) if code == SGT else (limit - 1, limit)
        return (
            known._replace(smin=max(known.smin, signed(bottom))),
            known._replace(smax=min(known.smax, signed(top))),
        )
    top, bottom = (limit - 1, limit) if code == SLT else (limit, limit + 1)
    return (
        known._replace(smax=min(known.smax, signed(top))),
        known._replace(smin=max(known.smin, signed(bottom))),
    )


def _fits(limit: int, known: Bounds) -> bool:
    """cmp_val_with_extended_s64."""
    if limit >= 0:
        return known.smin >= 0 and known.smax <= (1 << 31) - 1
    return known.smax <= 0 and known.smin >= -(1 << 31)
