"""Expressions, histogram buckets and the arithmetic of rollups as Ibis has them: the same values on every engine.

What engines do differently is left out: division (in floating point), logarithms, casts that round or fail, patterns
beyond RE2, sums of 64 bits.
"""

import operator
from functools import reduce
from typing import Any, Final

import ibis

from traceleft.aggregator.rollups.expression_tree import (
    OPERATORS,
    Arg,
    Both,
    Call,
    Compare,
    Constant,
    Expression,
    IsNone,
    Name,
    Not,
)
from traceleft.aggregator.rollups.histogram import BELOW_ZERO, SUB_BITS, SUB_BUCKETS
from traceleft.tracer.decode.texts import to_column, value_to_column

WIDE: Final = "decimal(38, 0)"
"""What sums are counted in: no sum of 64-bit values that fits in a store leaves it."""
_LARGEST_POWER: Final = 62


def translate(expression: Expression, table: Any) -> Any:
    """Return an expression over a table of events as an Ibis column; a condition is never null."""
    match expression:
        case Name(name):
            return table[name]
        case Arg(name, type):
            return _to_integer(table.args.get(name)) if type == "integer" else table.args.get(name)
        case Constant(value):
            return ibis.literal(to_column(value) if isinstance(value, str) else value)
        case Call(function, subject, argument):
            return _call(function, translate(subject, table), argument)
        case Compare(operator=sign, left=left, right=right):
            return _compare(sign, translate(left, table), right, table)
        case IsNone(operand):
            return translate(operand, table).isnull()
        case Not(operand):
            return ~translate(operand, table)
        case Both(operator=word, operands=operands):
            join = operator.and_ if word == "and" else operator.or_
            return reduce(join, (translate(each, table) for each in operands))


def _call(function: str, subject: Any, argument: int | str) -> Any:
    match function, value_to_column(argument):
        case "prefix", int(count):
            return subject.re_extract(f"^/*[^/]*(?:/+[^/]+){{0,{count - 1}}}", 0)
        case "startswith", str(text):
            found = subject.startswith(text)
        case "endswith", str(text):
            found = subject.endswith(text)
        case "contains", str(text):
            found = subject.contains(text)
        case _:
            raise AssertionError(f"unreachable: {function} with {argument!r}")
    return found.fill_null(False)


def _compare(sign: str, left: Any, right: Expression, table: Any) -> Any:
    if sign in ("in", "not in"):
        assert isinstance(right, Constant) and isinstance(right.value, tuple)
        found = left.isin([value_to_column(each) for each in right.value]).fill_null(False)
        return found if sign == "in" else ~found
    return OPERATORS[sign](left, translate(right, table)).fill_null(sign == "!=")


def _to_integer(text: Any) -> Any:
    """Return the number that a text is in decimal, null where it is not a number, or has more than 64 bits."""
    return ibis.cases((text.re_extract("^-?[0-9]{1,19}", 0) == text, text.try_cast("int64")))


def floor_mod(value: Any, divisor: int) -> Any:
    """Return the remainder that is never negative."""
    return (value % divisor + divisor) % divisor


def floor_divide(dividend: Any, divisor: Any) -> Any:
    """Return a wide number divided by a count, rounded down, both of one row: null where the count is 0.

    No engine divides wide numbers without floating point: what that gives is put right by exact products.
    """
    divisor = divisor.nullif(0).cast(WIDE)
    first = _guess(dividend, divisor)
    second = first + _guess(dividend - first * divisor, divisor)
    rest = dividend - second * divisor
    return second + ibis.cases((rest >= divisor, 1), (rest < 0, -1), else_=0).cast(WIDE)


def _guess(dividend: Any, divisor: Any) -> Any:
    """Return about the quotient. (Ibis has ``floor`` give 64 bits, which 2^63 as a float does not fit in.)"""
    return (dividend.cast("float64") / divisor.cast("float64")).cast(WIDE)


def bucket_of(value: Any) -> Any:
    """Return ``histogram.bucket_of`` of a column: a tree of comparisons, six deep, with shifts by constants."""
    large = _search(value, SUB_BITS, _LARGEST_POWER)
    below = ibis.literal(BELOW_ZERO, "int64")
    return ibis.cases((value < 0, below), (value < SUB_BUCKETS, value), else_=large)


def _search(value: Any, low: int, high: int) -> Any:
    """Return the bucket of a value whose power of two is from ``low`` to ``high``."""
    if low == high:
        shift = low - SUB_BITS
        return (value >> shift) + (shift << SUB_BITS)
    middle = (low + high + 1) // 2
    return ibis.ifelse(value < (1 << middle), _search(value, low, middle - 1), _search(value, middle, high))
