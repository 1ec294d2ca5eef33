"""Numbers with some bits known: the kernel's tnum (4.14: f1174f77b50c, kernel/bpf/tnum.c).

A number is a pair (value, mask): a bit of the mask is unknown, the others are those of the value.
"""

from typing import Final

ALL: Final = (1 << 64) - 1
SIGN: Final = 1 << 63
Tnum = tuple[int, int]
UNKNOWN: Final[Tnum] = (0, ALL)


def signed(value: int) -> int:
    """Return what 64 bits mean as a signed number."""
    value &= ALL
    return value - (1 << 64) if value & SIGN else value


def spanning(low: int, high: int) -> Tnum:
    """Return what is known of an unsigned number between two."""
    bits = (low ^ high).bit_length()
    if bits > 63:
        return UNKNOWN
    delta = (1 << bits) - 1
    return low & ~delta, delta


def add(left: Tnum, right: Tnum) -> Tnum:
    """Return a sum."""
    value = left[0] + right[0]
    sigma = left[1] + right[1] + value
    mask = ((sigma ^ value) | left[1] | right[1]) & ALL
    return value & ~mask & ALL, mask


def subtract(left: Tnum, right: Tnum) -> Tnum:
    """Return a difference."""
    value = left[0] - right[0]
    mask = (((value + left[1]) ^ (value - right[1])) | left[1] | right[1]) & ALL
    return value & ~mask & ALL, mask


def both(left: Tnum, right: Tnum) -> Tnum:
    """Return a bitwise and."""
    value = left[0] & right[0]
    return value, (left[0] | left[1]) & (right[0] | right[1]) & ~value


def either(left: Tnum, right: Tnum) -> Tnum:
    """Return a bitwise or."""
    value = left[0] | right[0]
    return value, (left[1] | right[1]) & ~value


def multiply(left: Tnum, right: Tnum) -> Tnum:
    """Return a product, as tnum_mul made it up to 5.13."""
    product = ((left[0] * right[0]) & ALL, 0)
    return _half(_half(product, left[1], right[1] | right[0]), right[1], left[0])


def _half(total: Tnum, value: int, mask: int) -> Tnum:
    """Add an unknown value times a mask."""
    while mask:
        if mask & 1:
            total = add(total, (0, value))
        mask >>= 1
        value = (value << 1) & ALL
    return total


def shift_left(number: Tnum, count: int) -> Tnum:
    """Return a number shifted left."""
    return (number[0] << count) & ALL, (number[1] << count) & ALL


def shift_right(number: Tnum, count: int) -> Tnum:
    """Return a number shifted right, filled with zeros."""
    return number[0] >> count, number[1] >> count


def shift_signed(number: Tnum, count: int) -> Tnum:
    """Return a number shifted right, filled with its sign."""
    return (signed(number[0]) >> count) & ALL, (signed(number[1]) >> count) & ALL


def meet(left: Tnum, right: Tnum) -> Tnum:
    """Return what is known of a number that is both."""
    mask = left[1] & right[1]
    return (left[0] | right[0]) & ~mask, mask


def holds(outer: Tnum, inner: Tnum) -> bool:
    """Tell whether every value of one number is a value of the other."""
    return not inner[1] & ~outer[1] and outer[0] == inner[0] & ~outer[1]
