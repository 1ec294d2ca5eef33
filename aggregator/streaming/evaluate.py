"""How expressions are evaluated over columns: numbers, texts, and which events a condition holds for."""

import operator
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import numpy

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
from traceleft.aggregator.rollups.parse import type_of
from traceleft.aggregator.streaming.batch_columns import (
    Bools,
    Columns,
    Integers,
    Texts,
    constant,
    distinct,
    prefix,
)


def integers_of(expression: Expression, columns: Columns) -> Integers:
    """Return the numbers that an expression gives."""
    match expression:
        case Name(name, "integer"):
            return columns.integers(name)
        case Arg(name, "integer"):
            return columns.arg_integers(name)
        case Constant(int(value)):
            return Integers(numpy.full(len(columns), value, dtype=numpy.int64))
    raise TypeError(f"no number: {expression}")


def texts_of(expression: Expression, columns: Columns) -> Texts:
    """Return the texts that an expression gives."""
    match expression:
        case Name(name, "text"):
            return columns.texts(name)
        case Arg(name, "text"):
            return columns.arg(name)
        case Constant(str(value)):
            return constant(value, len(columns))
        case Call("prefix", subject, int(components)):
            texts = texts_of(subject, columns)
            return distinct(texts.codes, [prefix(text, components) for text in texts.values])
    raise TypeError(f"no text: {expression}")


def holds(condition: Expression, columns: Columns) -> Bools:
    """Return for which events a condition holds."""
    match condition:
        case Not(operand):
            return ~holds(operand, columns)
        case Both(word, operands):
            combine = numpy.logical_and if word == "and" else numpy.logical_or
            return combine.reduce([holds(operand, columns) for operand in operands])  # type: ignore[no-any-return]
        case IsNone(operand):
            return _is_none(operand, columns)
        case Call(function, subject, str(affix)):
            test = _TESTS[function]
            return _by_text(texts_of(subject, columns), lambda text: test(text, affix), of_none=False)
        case Compare():
            return _compare(condition, columns)
    raise TypeError(f"no condition: {condition}")


_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": operator.contains,
}


def _is_none(operand: Expression, columns: Columns) -> Bools:
    if type_of(operand) == "text":
        return texts_of(operand, columns).codes < 0
    valid = integers_of(operand, columns).valid
    return numpy.zeros(len(columns), dtype=bool) if valid is None else ~valid


def _by_text(texts: Texts, test: Callable[[str], bool], *, of_none: bool) -> Bools:
    table = numpy.array([*(test(text) for text in texts.values), of_none], dtype=bool)
    return table[texts.codes]


def _compare(condition: Compare, columns: Columns) -> Bools:
    of_none = condition.operator in ("!=", "not in")
    if type_of(condition.left) == "text":
        return _compare_texts(condition, columns, of_none=of_none)
    left = integers_of(condition.left, columns)
    if isinstance(condition.right, Constant) and isinstance(condition.right.value, tuple):
        found = numpy.isin(left.values, numpy.array(condition.right.value, dtype=numpy.int64))
        return _unless_none(~found if condition.operator == "not in" else found, left.valid, of_none)
    right = integers_of(condition.right, columns)
    result: Bools = OPERATORS[condition.operator](left.values, right.values)
    return _unless_none(_unless_none(result, left.valid, of_none), right.valid, of_none)


def _unless_none(result: Bools, valid: Bools | None, of_none: bool) -> Bools:
    if valid is None:
        return result
    return result | ~valid if of_none else result & valid


def _compare_texts(condition: Compare, columns: Columns, *, of_none: bool) -> Bools:
    left, right = texts_of(condition.left, columns), condition.right
    if isinstance(right, Constant):
        test = _text_test(condition.operator, right.value)
        return _by_text(left, test, of_none=of_none)
    other, compare = texts_of(right, columns), OPERATORS[condition.operator]
    pairs = zip(text_list(left), text_list(other), strict=True)
    found = [of_none if a is None or b is None else compare(a, b) for a, b in pairs]
    return numpy.array(found, dtype=bool)


def _text_test(word: str, value: Hashable) -> Callable[[str], bool]:
    if isinstance(value, tuple):
        known = frozenset(value)
        return (lambda text: text in known) if word == "in" else (lambda text: text not in known)
    compare = OPERATORS[word]
    return lambda text: bool(compare(text, value))


def text_list(texts: Texts) -> list[str | None]:
    """Return a text, or None, for each event."""
    table = [*texts.values, None]
    return [table[code] for code in texts.codes.tolist()]
