"""The texts of a rollup: keys, measures, conditions and times, read into the trees that engines run.

Expressions are parsed as Python's, by ``ast``, and only the nodes that are listed here are taken: nothing is ever run.
"""

import ast
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Final, NoReturn

from traceleft.aggregator.rollups.columns import BY_NAME
from traceleft.aggregator.rollups.expression_tree import (
    Arg,
    Both,
    Call,
    Compare,
    Comparison,
    Constant,
    Expression,
    ExpressionType,
    IsNone,
    Name,
    Not,
)
from traceleft.aggregator.rollups.parts import Function, Key, Measure
from traceleft.errors import ExpressionError
from traceleft.expression import suggest

MAX_TEXT: Final = 4096
MAX_DEPTH: Final = 32
MAX_PREFIX: Final = 64
MAX_SHOWN: Final = 64
INTEGERS: Final = range(-(1 << 63), 1 << 63)
UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}

_SHORT: Final = {"duration": "duration_ns"}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_AS: Final = re.compile(r"(.*\S)\s+as\s+(\S+)", re.DOTALL)
_TIME: Final = re.compile(r"([0-9]{1,18})\s*([a-z]{1,2})", re.ASCII)
_MEASURE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)\s*\((.*)\)", re.DOTALL | re.ASCII)
_PERCENTILE: Final = re.compile(r"(exact_)?p([0-9]{1,3})(?:\.([0-9]{1,3}))?", re.ASCII)
_FUNCTIONS: Final[Mapping[str, Function]] = {
    "sum": "sum",
    "min": "min",
    "max": "max",
    "avg": "avg",
    "histogram": "histogram",
}
_COMPARISONS: Final[Mapping[type[ast.cmpop], Comparison]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_MIRRORED: Final[Mapping[Comparison, Comparison]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def parse_condition(text: str, *, numbers: Collection[str] | None = None) -> Expression:
    """Return the tree of a condition over columns, or over the ``numbers`` of these names in their place.

    Raise ``ExpressionError`` if the text is invalid.
    """
    return _Reader(text, numbers).condition()


def parse_value(text: str) -> Expression:
    """Return the tree of an expression that gives a number or a text; ``ExpressionError`` if it is invalid."""
    return _Reader(text).value()


def parse_key(text: str) -> Key:
    """Return a key: an expression, and ``as NAME`` after it or not; ``ExpressionError`` if it is invalid."""
    body, name = _split_name(text)
    expression = parse_value(body)
    return Key(name or name_of(expression), expression)


def parse_measure(text: str) -> Measure:
    """Return a measure: ``count``, ``errors``, ``bytes`` or ``FUNCTION(expression)``, and ``as NAME`` after it or not.

    Raise ``ExpressionError`` if the text is invalid.
    """
    body, name = _split_name(text)
    if body in ("count", "errors"):
        return Measure(name or body, "count" if body == "count" else "errors")
    if body == "bytes":
        return Measure(name or body, "sum", Name("bytes", "integer"))
    found = _MEASURE.fullmatch(body)
    if not found:
        hint = suggest(body, ("count", "errors", "bytes"))
        known = "measures are count, errors, bytes, sum(x), p99(x), …"
        raise _error(f"{_shown(body)} is not a measure{hint}; {known}", text)
    function, thousandths = _read_function(found[1], text)
    expression = parse_value(found[2])
    if type_of(expression) != "integer":
        remedy = f"; write int({found[2].strip()})" if isinstance(expression, Arg) else ""
        raise _error(f"{found[1]} takes a number, and {_shown(found[2].strip())} is text{remedy}", text)
    default = f"{name_of(expression)}_{found[1].replace('.', '_')}"
    return Measure(name or default, function, expression, thousandths)


def parse_time(text: str) -> int:
    """Return the nanoseconds of a time such as ``10s``; ``ExpressionError`` if it is invalid."""
    found = _TIME.fullmatch(text.strip())
    if not found or found[2] not in UNITS_NS:
        raise _error(f"{_shown(text)} is not a time: write a number and one of {', '.join(UNITS_NS)}, as in 10s", text)
    nanoseconds = int(found[1]) * UNITS_NS[found[2]]
    if nanoseconds not in INTEGERS:
        raise _error(f"{_shown(text)} is a time beyond 292 years", text)
    return nanoseconds


def type_of(expression: Expression) -> ExpressionType:
    """Return what an expression gives."""
    match expression:
        case Name(_, type) | Arg(_, type):
            return type
        case Constant(value):
            return "integer" if isinstance(value, int) else "text"
        case Call("prefix"):
            return "text"
    return "boolean"


def name_of(expression: Expression) -> str:
    """Return the name that a key has by itself."""
    match expression:
        case Name(name):
            return name
        case Arg(name):
            return f"args_{name}"
        case Call(function, subject, argument):
            return f"{name_of(subject)}_{function}_{argument}"
    raise AssertionError("unreachable: keys are columns, arguments and prefixes of them")


def check_name(name: str) -> str:
    """Return a name that a key, a measure or a rollup's column can have; ``ExpressionError`` for another."""
    if not _NAME.fullmatch(name):
        raise _error(f"{_shown(name)} is not a valid name: use letters, digits and _, at most 64", name)
    return name


def _split_name(text: str) -> tuple[str, str | None]:
    if len(text) > MAX_TEXT:
        raise _error(f"{_shown(text)} is longer than {MAX_TEXT} characters", text)
    found = _AS.fullmatch(text.strip())
    return (found[1], check_name(found[2])) if found and '"' not in found[2] else (text.strip(), None)


def _read_function(name: str, text: str) -> tuple[Function, int]:
    if name in _FUNCTIONS:
        return _FUNCTIONS[name], 0
    found = _PERCENTILE.fullmatch(name)
    if not found:
        known = suggest(name, (*_FUNCTIONS, "count", "errors", "p50", "p90", "p99", "exact_p99"))
        raise _error(f"no measure is named {_shown(name)}{known}", text)
    thousandths = int(found[2]) * 1000 + int((found[3] or "").ljust(3, "0"))
    if thousandths > 100_000:
        raise _error(f"{name} is beyond p100", text)
    return "exact" if found[1] else "percentile", thousandths


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")


def _error(message: str, text: str) -> ExpressionError:
    return ExpressionError(message, expression=text[:MAX_SHOWN])


class _Reader:
    """Reads the text of one expression."""

    def __init__(self, text: str, numbers: Collection[str] | None = None) -> None:
        self._text = text.strip()
        self._numbers = numbers
        if len(self._text) > MAX_TEXT:
            self._fail(f"is longer than {MAX_TEXT} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._tree = ast.parse(self._text, mode="eval").body
        except SyntaxError as exc:
            self._fail(f"is not an expression: {exc.msg}")
        except (ValueError, RecursionError, MemoryError):
            self._fail("is not an expression: it is nested too deeply, or is not text")

    def condition(self) -> Expression:
        """Return the tree of the whole text, which is a condition."""
        return self._condition(self._tree, 0)

    def value(self) -> Expression:
        """Return the tree of the whole text, which is a number or a text that an event has."""
        value = self._value(self._tree, 0)
        if isinstance(value, Constant):
            self._fail("is the same for every event; name a column")
        return value

    def _condition(self, node: ast.expr, depth: int) -> Expression:
        self._check_depth(depth)
        match node:
            case ast.BoolOp(op=op, values=values):
                operands = tuple(self._condition(each, depth + 1) for each in values)
                return Both("and" if isinstance(op, ast.And) else "or", operands)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Not(self._condition(operand, depth + 1))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                sides = [left, *rights]
                parts = [self._compare(*each, depth + 1) for each in zip(sides, ops, rights, strict=False)]
                return parts[0] if len(parts) == 1 else Both("and", tuple(parts))
            case ast.Call(func=ast.Attribute(attr="startswith" | "endswith" as function, value=subject), args=args):
                self._check_plain(node)
                return self._test(function, subject, args, depth)
        value = self._value(node, depth)
        self._fail(f"{self._source(node)} is {_article(type_of(value))}, where a condition is asked for")

    def _test(self, function: str, subject: ast.expr, args: list[ast.expr], depth: int) -> Expression:
        match args:
            case [ast.Constant(value=str(affix))]:
                text = self._text_value(subject, depth + 1)
                return Call("startswith" if function == "startswith" else "endswith", text, affix)
        self._fail(f"{function} takes one text in quotes")

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, depth: int) -> Expression:
        if isinstance(op, ast.Is | ast.IsNot):
            return self._is_none(left, op, right, depth)
        operator = _COMPARISONS[type(op)]
        if operator in ("in", "not in"):
            return self._membership(left, operator, right, depth)
        sides = self._value(left, depth), self._value(right, depth)
        types = type_of(sides[0]), type_of(sides[1])
        if types[0] != types[1]:
            places = f"{self._source(left)} is {_article(types[0])} and {self._source(right)} {_article(types[1])}"
            remedy = "; write int(args.NAME)" if any(isinstance(side, Arg) for side in sides) else ""
            self._fail(f"{places}: they cannot be compared{remedy}")
        if all(isinstance(side, Constant) for side in sides):
            self._fail(f"{self._source(left)} and {self._source(right)} are the same for every event")
        if isinstance(sides[0], Constant):
            return Compare(_MIRRORED.get(operator, operator), sides[1], sides[0])
        return Compare(operator, *sides)

    def _is_none(self, left: ast.expr, op: ast.cmpop, right: ast.expr, depth: int) -> Expression:
        if not isinstance(right, ast.Constant) or right.value is not None:
            self._fail("`is` stands before None only")
        operand = self._value(left, depth)
        if isinstance(operand, Constant):
            self._fail(f"{self._source(left)} is the same for every event")
        return IsNone(operand) if isinstance(op, ast.Is) else Not(IsNone(operand))

    def _membership(self, left: ast.expr, operator: Comparison, right: ast.expr, depth: int) -> Expression:
        if not isinstance(right, ast.Tuple | ast.List):
            if not isinstance(left, ast.Constant) or not isinstance(left.value, str):
                self._fail('`in` stands before values in parentheses, as in ("a", "b"), or after a text in quotes')
            found = Call("contains", self._text_value(right, depth), left.value)
            return found if operator == "in" else Not(found)
        subject = self._value(left, depth)
        if isinstance(subject, Constant):
            self._fail(f"{self._source(left)} is the same for every event")
        listed = [self._value(each, depth) for each in right.elts]
        values = [each.value for each in listed if isinstance(each, Constant)]
        if not listed or len(values) < len(listed) or any(type_of(each) != type_of(subject) for each in listed):
            self._fail(f"`in` takes one or more {'numbers' if type_of(subject) == 'integer' else 'texts'}")
        numbers = tuple(value for value in values if isinstance(value, int))
        texts = tuple(value for value in values if isinstance(value, str))
        return Compare(operator, subject, Constant(numbers or texts))

    def _value(self, node: ast.expr, depth: int) -> Expression:
        self._check_depth(depth)
        match node:
            case ast.Name(id=name):
                return self._column(_SHORT.get(name, name))
            case ast.Constant(value=value):
                return self._constant(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if type(value) is int:
                return self._constant(-value)
            case (
                ast.Attribute(value=ast.Name(id="args"), attr=name)
                | ast.Subscript(value=ast.Name(id="args"), slice=ast.Constant(value=str(name)))
            ):
                return Arg(check_name(name), "text")
            case ast.Call(func=ast.Name(id="int"), args=[argument]):
                self._check_plain(node)
                return self._int(argument, depth)
            case ast.Call(func=ast.Name(id="prefix"), args=[subject, ast.Constant(value=count)]):
                self._check_plain(node)
                return self._prefix(subject, count, depth)
            case ast.Call(func=ast.Name(id="int" | "prefix" as name)):
                self._fail("int takes args.NAME" if name == "int" else "prefix takes a text and a number, (path, 2)")
            case ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()):
                self._fail(f"{self._source(node)} is a condition, where a value is asked for")
        known = "columns, args.NAME, int(args.NAME), prefix(path, n), numbers, texts, comparisons, and, or, not"
        self._fail(f"{self._source(node)} is not understood here; there are {known}")

    def _column(self, name: str) -> Expression:
        if self._numbers is not None:
            if name not in self._numbers:
                self._fail(f"no measure is named {_shown(name)}{suggest(name, self._numbers)}")
            return Name(name, "integer")
        column = BY_NAME.get(name)
        if column is None:
            self._fail(f"no column is named {_shown(name)}{suggest(name, BY_NAME)}")
        if column.type == "map":
            self._fail("`args` is all arguments; write args.NAME")
        return Name(name, "integer" if column.type == "integer" else "text")

    def _constant(self, value: object) -> Expression:
        if value is None:
            self._fail("a value is compared with None by `is None` or `is not None`")
        if type(value) is int and value in INTEGERS:
            return Constant(value)
        if isinstance(value, str):
            return Constant(value)
        # Python refuses to write very long numbers in decimal.
        shown = hex(value) if isinstance(value, int) and value.bit_length() > 1024 else str(value)
        self._fail(f"{_shown(shown)} is neither a text nor a whole number of 64 bits")

    def _int(self, argument: ast.expr, depth: int) -> Expression:
        inner = self._value(argument, depth + 1)
        if not isinstance(inner, Arg) or inner.type != "text":
            self._fail(f"int takes args.NAME, not {self._source(argument)}")
        return Arg(inner.name, "integer")

    def _prefix(self, subject: ast.expr, count: object, depth: int) -> Expression:
        text = self._text_value(subject, depth + 1)
        if type(count) is not int or not 1 <= count <= MAX_PREFIX:
            self._fail(f"prefix takes a number of components from 1 to {MAX_PREFIX}")
        return Call("prefix", text, count)

    def _text_value(self, node: ast.expr, depth: int) -> Expression:
        value = self._value(node, depth)
        if type_of(value) != "text" or isinstance(value, Constant):
            self._fail(f"{self._source(node)} is not a text column of an event")
        return value

    def _check_plain(self, call: ast.Call) -> None:
        if call.keywords or any(isinstance(each, ast.Starred) for each in call.args):
            self._fail(f"{self._source(call)} takes neither names nor stars")

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._fail(f"is nested more than {MAX_DEPTH} deep")

    def _source(self, node: ast.expr) -> str:
        """Return a node's text, cut."""
        return _shown(ast.get_source_segment(self._text, node) or self._text)

    def _fail(self, message: str) -> NoReturn:
        """Raise the error; where the message begins with a verb, the text is its subject."""
        whole = message.startswith("is ")
        raise _error(f"{_shown(self._text)} {message}" if whole else message, self._text)


def _article(type: ExpressionType) -> str:
    return {"integer": "a number", "text": "text", "boolean": "a condition"}[type]
