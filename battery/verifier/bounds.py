"""What verifiers from 4.14 on know of a number: signed and unsigned bounds, and bits (kernel/bpf/verifier.c).

Each function is one of the kernel's, named in its docstring. They compute what the kernel computes, even where more
could be known. f1174f77b50c and b03c9f9fdc37 (4.14) brought them.
"""

from typing import Final, NamedTuple

from traceleft.battery.verifier import tnum
from traceleft.battery.verifier.tnum import ALL, Tnum, signed

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
LOW_32: Final = (1 << 32) - 1


class Bounds(NamedTuple):
    """Signed bounds, unsigned bounds, and the bits of a number."""

    smin: int
    smax: int
    umin: int
    umax: int
    bits: Tnum

    @property
    def is_constant(self) -> bool:
        """Whether all bits are known."""
        return not self.bits[1]

    @property
    def is_impossible(self) -> bool:
        """Whether the bounds contradict each other: the path cannot be taken, which the kernel may not see."""
        if not self.bits[1] and (self.smin != self.smax or self.umin != self.umax):
            return True
        return self.smin > self.smax or self.umin > self.umax


UNKNOWN: Final = Bounds(LOWEST, HIGHEST, 0, ALL, tnum.UNKNOWN)


def constant(value: int) -> Bounds:
    """__mark_reg_known."""
    value &= ALL
    as_signed = signed(value)
    return Bounds(as_signed, as_signed, value, value, (value, 0))


ZERO: Final = constant(0)


def refine(bounds: Bounds) -> Bounds:
    """__update_reg_bounds: bounds from bits."""
    smin, smax, umin, umax, (value, mask) = bounds
    return Bounds(
        max(smin, signed(value | (mask & tnum.SIGN))),
        min(smax, signed(value | (mask & HIGHEST))),
        max(umin, value),
        min(umax, value | mask),
        (value, mask),
    )


def deduce(bounds: Bounds) -> Bounds:
    """__reg_deduce_bounds: signed bounds from unsigned ones, and back."""
    smin, smax, umin, umax, bits = bounds
    if smin >= 0 or smax < 0:
        low, high = max(smin & ALL, umin), min(smax & ALL, umax)
        return Bounds(signed(low), signed(high), low, high, bits)
    if umax <= HIGHEST:
        high = min(smax, umax)
        return Bounds(umin, high, umin, high, bits)
    if umin > HIGHEST:
        low = max(smin & ALL, umin)
        return Bounds(signed(low), signed(umax), low, umax, bits)
    return bounds


def settle(bounds: Bounds) -> Bounds:
    """__reg_bound_offset: bits from unsigned bounds."""
    bits = tnum.meet(bounds.bits, tnum.spanning(bounds.umin, bounds.umax))
    return bounds if bits == bounds.bits else bounds._replace(bits=bits)


def truncate(bounds: Bounds, size: int) -> Bounds:
    """coerce_reg_to_size: what is left in the lowest bytes, without sign."""
    mask = (1 << size * 8) - 1
    umin, umax, (value, unknown) = bounds.umin, bounds.umax, bounds.bits
    umin, umax = (umin & mask, umax & mask) if umin & ~mask == umax & ~mask else (0, mask)
    return Bounds(umin, umax, umin, umax, (value & mask, unknown & mask))


def add(left: Bounds, right: Bounds) -> Bounds:
    """BPF_ADD of adjust_scalar_min_max_vals and adjust_ptr_min_max_vals."""
    smin, smax, umin, umax = left.smin + right.smin, left.smax + right.smax, left.umin + right.umin, 0
    umax = left.umax + right.umax
    if smin < LOWEST or smin > HIGHEST or smax < LOWEST or smax > HIGHEST:
        smin, smax = LOWEST, HIGHEST
    if umin > ALL or umax > ALL:
        umin, umax = 0, ALL
    return Bounds(smin, smax, umin, umax, tnum.add(left.bits, right.bits))


def subtract(left: Bounds, right: Bounds) -> Bounds:
    """BPF_SUB, of both."""
    smin, smax, umin, umax = left.smin - right.smax, left.smax - right.smin, left.umin - right.umax, 0
    umax = left.umax - right.umin
    if smin < LOWEST or smin > HIGHEST or smax < LOWEST or smax > HIGHEST:
        smin, smax = LOWEST, HIGHEST
    if umin < 0:
        umin, umax = 0, ALL
    return Bounds(smin, smax, umin, umax & ALL, tnum.subtract(left.bits, right.bits))


def multiply(left: Bounds, right: Bounds) -> Bounds:
    """BPF_MUL."""
    bits = tnum.multiply(left.bits, right.bits)
    if right.smin < 0 or left.smin < 0 or right.umax > LOW_32 or left.umax > LOW_32:
        return refine(UNKNOWN._replace(bits=bits))
    umin, umax = left.umin * right.umin, left.umax * right.umax
    smin, smax = (LOWEST, HIGHEST) if umax > HIGHEST else (umin, umax)
    return Bounds(smin, smax, umin, umax, bits)


def both(left: Bounds, right: Bounds) -> Bounds:
    """BPF_AND."""
    if left.is_constant and right.is_constant:
        return constant(left.bits[0] & right.bits[0])
    bits = tnum.both(left.bits, right.bits)
    umin, umax = bits[0], min(left.umax, right.umax)
    is_negative = left.smin < 0 or right.smin < 0
    smin, smax = (LOWEST, HIGHEST) if is_negative else (umin, signed(umax))
    return refine(Bounds(smin, smax, umin, umax, bits))


def either(left: Bounds, right: Bounds) -> Bounds:
    """BPF_OR."""
    if left.is_constant and right.is_constant:
        return constant(left.bits[0] | right.bits[0])
    bits = tnum.either(left.bits, right.bits)
    umin, umax = max(left.umin, right.umin), bits[0] | bits[1]
    is_negative = left.smin < 0 or right.smin < 0
    smin, smax = (LOWEST, HIGHEST) if is_negative else (signed(umin), signed(umax))
    return refine(Bounds(smin, smax, umin, umax, bits))


def shift_left(left: Bounds, right: Bounds) -> Bounds:
    """BPF_LSH by a known count."""
    count = right.umax
    umin, umax = (0, ALL) if left.umax > 1 << 63 - count else (left.umin << count, (left.umax << count) & ALL)
    return refine(Bounds(LOWEST, HIGHEST, umin, umax, tnum.shift_left(left.bits, count)))


def shift_right(left: Bounds, right: Bounds) -> Bounds:
    """BPF_RSH by a known count."""
    count = right.umax
    bits = tnum.shift_right(left.bits, count)
    return refine(Bounds(LOWEST, HIGHEST, left.umin >> count, left.umax >> count, bits))


def shift_signed(left: Bounds, right: Bounds) -> Bounds:
    """BPF_ARSH of 64 bits by a known count (4.18: 9cbe1f5a32dc)."""
    count = right.umax
    bits = tnum.shift_signed(left.bits, count)
    return refine(Bounds(left.smin >> count, left.smax >> count, 0, ALL, bits))


def combine(left: Bounds, right: Bounds) -> Bounds:
    """__reg_combine_min_max: what is known of two numbers that are equal."""
    met = Bounds(
        max(left.smin, right.smin),
        min(left.smax, right.smax),
        max(left.umin, right.umin),
        min(left.umax, right.umax),
        tnum.meet(left.bits, right.bits),
    )
    return refine(settle(deduce(refine(met))))


def holds(outer: Bounds, inner: Bounds) -> bool:
    """range_within and tnum_in: every value of one is a value of the other."""
    return (
        outer.umin <= inner.umin
        and outer.umax >= inner.umax
        and outer.smin <= inner.smin
        and outer.smax >= inner.smax
        and tnum.holds(outer.bits, inner.bits)
    )


def shift_signed_32(left: Bounds, right: Bounds) -> Bounds:
    """BPF_ARSH of 32 bits by a known count (5.0)."""
    count = right.umax
    smin, smax = _shifted_32(left.smin, count), _shifted_32(left.smax, count)
    bits = _shifted_32(left.bits[0], count), _shifted_32(left.bits[1], count)
    return refine(Bounds(smin, smax, 0, ALL, bits))


def _shifted_32(value: int, count: int) -> int:
    low = value & LOW_32
    return ((low - (1 << 32) if low >> 31 else low) >> count) & LOW_32
