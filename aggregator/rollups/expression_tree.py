"""The expressions of rollups and rules: what a key, a measure or a condition is made of.

The text is a small part of Python's grammar: ``error == "ENOENT" and prefix(path, 2) == "/etc"``. It becomes one tree,
which every engine translates: numpy over columns, SQL through Ibis.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

ExpressionType = Literal["integer", "text", "boolean"]
Comparison = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""What compares two values, those of Python, numpy and Ibis alike; ``in`` and ``not in`` are each engine's own."""


@dataclass(frozen=True, slots=True)
class Name:
    """A column of ``columns.COLUMNS`` (not ``args``)."""

    name: str
    type: ExpressionType


@dataclass(frozen=True, slots=True)
class Arg:
    """``args.NAME``: an argument as text; ``int(args.NAME)``: as a number, None where it is not a number."""

    name: str
    type: ExpressionType


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a text, or a tuple of either, which stands on the right of ``in`` only."""

    value: int | str | tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function of text: ``prefix(text, components)``, and the tests ``startswith``, ``endswith``, ``contains``.

    They are written as ``path.startswith("/etc/")`` and ``"x" in path``. None makes None, and a test of None is false.
    """

    function: Literal["prefix", "startswith", "endswith", "contains"]
    subject: "Expression"
    argument: int | str


@dataclass(frozen=True, slots=True)
class Compare:
    """``left operator right``; the left is not a constant.

    False where either is None, except ``!=`` and ``not in``, which are then true. ``error is None`` and
    ``error is not None`` are written so and become IsNone.
    """

    operator: Comparison
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class IsNone:
    """Whether a value is not there."""

    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Not:
    """True where the operand is false: conditions are never None."""

    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Both:
    """``and`` and ``or`` of two or more conditions."""

    operator: Literal["and", "or"]
    operands: tuple["Expression", ...]


Expression = Name | Arg | Constant | Call | Compare | IsNone | Not | Both
