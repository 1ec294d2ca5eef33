"""Names of values that a format's own `print fmt` gives: `__print_flags` and `__print_symbolic` tables."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_CALLS: Final = 64
MAX_CALL: Final = 64 << 10
MAX_ENTRIES: Final = 1024

_CALL = re.compile(r"__print_(flags|symbolic)(?:_u64)?\(")
_ENTRY = re.compile(r'\{([^{}"]{1,200}),\s{0,8}"([^"\\]{1,64})"\s{0,8}\}')
_CAST = re.compile(r"\(\s{0,4}[A-Za-z_][\w ]{0,40}\)", re.ASCII)
_ADJACENT = re.compile(r'"\s{1,8}"')
_CONSTANT = re.compile(r"[0-9a-fA-FxX|&+\-~<() ]{1,200}")
_SUFFIX = re.compile(r"\b(0[xX][0-9a-fA-F]{1,16}|\d{1,20})[uUlL]{1,3}\b", re.ASCII)
# Names that the schema takes; a value with any other text is shown as a number.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:+-]{0,63}")
_SUBJECT = re.compile(r"\(*\s*REC->(\w{1,128})\s*\)*(?:\s*&(.{1,200}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PrintTable:
    """The names of one field's values: flags to be joined, or an enumeration."""

    is_flags: bool
    mask: int | None
    entries: tuple[tuple[int, str], ...]

    def to_set(self, width: int) -> dict[str, object]:
        """Return the table as a SET of the schema, for a field of `width` bytes."""
        ones = (1 << 8 * width) - 1
        entries = list({value & ones: [value & ones, name] for value, name in reversed(self.entries)}.values())[::-1]
        if self.is_flags:
            return {"mask": 0, "values": [], "bits": [entry for entry in entries if entry[0]], "width": width}
        mask = ones if self.mask is None else self.mask & ones
        return {"mask": mask, "values": sorted(entries), "bits": [], "width": width}


def parse_print_fmt(print_fmt: str) -> dict[str, PrintTable]:
    """Return the table of each field that `print_fmt` names values of; what cannot be worked out is left out."""
    tables: dict[str, PrintTable] = {}
    ambiguous: set[str] = set()
    for index, call in enumerate(_CALL.finditer(print_fmt)):
        if index == MAX_CALLS:
            break
        arguments = print_fmt[call.end() : _call_end(print_fmt, call.end())]
        subject = _SUBJECT.fullmatch(_CAST.sub("", _first_argument(arguments)).strip())
        table = _read_table(call[1] == "flags", arguments, subject[2] if subject else None)
        if not subject or not table:
            continue
        # Two different tables are alternatives that something else in the record decides between.
        if tables.setdefault(subject[1], table) != table:
            ambiguous.add(subject[1])
    return {name: table for name, table in tables.items() if name not in ambiguous}


def _call_end(text: str, start: int) -> int:
    """Return where the parenthesis opened before `start` closes, or `start` if it is nowhere near."""
    depth, quoted = 1, False
    for index in range(start, min(len(text), start + MAX_CALL)):
        match text[index]:
            case '"':
                quoted = not quoted
            case "(" if not quoted:
                depth += 1
            case ")" if not quoted:
                depth -= 1
        if not depth:
            return index
    return start


def _first_argument(arguments: str) -> str:
    depth = 0
    for index, character in enumerate(arguments):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            return arguments[:index]
    return ""


def _read_table(is_flags: bool, arguments: str, mask: str | None) -> PrintTable | None:
    entries = tuple(_read_entries(arguments))
    if not entries or any(value is None for value, _ in entries):
        return None
    known = tuple((value, name) for value, name in entries if value is not None and _NAME.fullmatch(name))
    return PrintTable(is_flags, read_number(mask) if mask else None, known)


def _read_entries(arguments: str) -> Iterator[tuple[int | None, str]]:
    for index, entry in enumerate(_ENTRY.finditer(_ADJACENT.sub("", arguments))):
        if index == MAX_ENTRIES:
            return
        yield read_number(entry[1]), entry[2]


def read_number(text: str) -> int | None:
    """Work out a constant C expression such as `(1UL << 3) | 0x2`; None if it is not one."""
    source = _SUFFIX.sub(r"\1", _CAST.sub("", text)).strip()
    if not _CONSTANT.fullmatch(source):
        return None
    try:
        return _evaluate(ast.parse(source, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return ~_evaluate(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return _combine(_evaluate(left), operator, _evaluate(right))
    raise ValueError


def _combine(left: int, operator: ast.operator, right: int) -> int:
    match operator:
        case ast.BitOr():
            return left | right
        case ast.BitAnd():
            return left & right
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.LShift() if 0 <= right < 64:
            return (left << right) & (1 << 64) - 1
    raise ValueError
