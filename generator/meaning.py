"""What an argument or a field means: `data/arguments.toml` applied to plain values.

A meaning is a mapping with the keys that docs/reference/schema.md gives an ARG beyond name, type, index, width and
sign, less the slots' numbers. Where it has a slot, `at` says when the (first) slot is captured, `entry` or `exit`.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from traceleft.generator.declarations import SLOT_KINDS, Declarations, Meaning, parse_declarations, plain_type
from traceleft.linux import EXECS

MAX_ARGUMENTS: Final = 6
ENDING: Final = frozenset({"exit", "exit_group"})

_FILE = Path(__file__).with_name("data") / "arguments.toml"
_INTEGER: Final[Meaning] = {"kind": "int"}
_ADDRESS: Final[Meaning] = {"kind": "pointer"}
_SCALAR_WIDTHS: Final = frozenset({1, 2, 4, 8})


@cache
def load_declarations() -> Declarations:
    """Read the shipped document."""
    return parse_declarations(_FILE.read_text(encoding="utf-8"), file=_FILE.name)


def meaning(
    syscall: str, *, index: int, name: str, type: str, is_pointer: bool, arguments: int = MAX_ARGUMENTS
) -> Meaning:
    """Say what argument `index` of a syscall with that many `arguments` means; integer or address by default.

    What is declared counts only where the format agrees with it: a format from elsewhere may give an argument another
    type, or fewer arguments than a length refers to.
    """
    declared = declared_meaning(syscall, index=index, name=name, type=type)
    if declared is not None and _fits(declared, is_pointer=is_pointer, arguments=arguments):
        return declared
    return _ADDRESS if is_pointer else _INTEGER


def declared_meaning(syscall: str, *, index: int, name: str, type: str) -> Meaning | None:
    """Return what the document says about an argument, None if nothing."""
    declarations = load_declarations()
    entry = declarations.arguments.get(syscall, {}).get(index)
    if entry is not None:
        return entry.meaning
    plain = plain_type(type)
    matching = (rule.meaning for rule in declarations.rules if rule.covers(plain, name))
    return next(matching, None)


def return_meaning(syscall: str, *, arguments: int = MAX_ARGUMENTS) -> Meaning:
    """Say what the return value of a syscall with that many `arguments` means, an integer if nothing is declared."""
    declared = load_declarations().returns.get(syscall, _INTEGER)
    return declared if all(index < arguments for index in _referred(declared)) else _INTEGER


def tracepoint_meaning(
    event: str,
    *,
    name: str,
    type: str,
    size: int,
    signed: bool = False,
    is_pointer: bool = False,
    element_width: int | None = None,
    is_data_loc: bool = False,
) -> Meaning:
    """Say what a field of the tracepoint `event` (`category:name`) means.

    `size` is the field's in bytes; `element_width` is that of one element of an array, None if it is not an array.
    A `__data_loc` field has the type of its element in `type`, as in `__data_loc char[]`.
    """
    if is_data_loc:
        return _located(name, type)
    if element_width is None and size not in _SCALAR_WIDTHS:
        return _array(size, 1, signed=False)
    if element_width not in (None, 1):
        return _array(size, element_width, signed=signed)
    count = None if element_width is None else size
    for rule in load_declarations().fields:
        if rule.covers(event=event, type=plain_type(type), name=name, count=count):
            return rule.meaning if count is None else {**rule.meaning, "count": count}
    if count is not None:
        return _array(size, 1, signed=False)
    return _ADDRESS if is_pointer else _INTEGER


def entry_of(syscall: str, meanings: Iterable[Meaning]) -> str:
    """Say what a syscall's handler does at entry: the event's `entry` key."""
    if syscall in ENDING:
        return "emit"
    if syscall == "rt_sigreturn":
        return "number"
    saves = syscall in EXECS or any(meaning.get("at") == "entry" for meaning in meanings)
    return "save" if saves else "none"


def _fits(declared: Meaning, *, is_pointer: bool, arguments: int) -> bool:
    kind = declared["kind"]
    if kind != "pointer" and (kind in SLOT_KINDS) != is_pointer:
        return False
    return all(index < arguments for index in _referred(declared))


def _referred(declared: Meaning) -> Iterator[int]:
    """Yield the indices of the arguments that a length or a choice of cases looks at."""
    for key in ("length", "cases"):
        table = declared.get(key, {})
        if isinstance(table, Mapping):
            yield from (table[name] for name in ("arg", "pointer") if name in table)
            for case in table.get("kinds", {}).values():
                yield from _referred(case)


def _located(name: str, type: str) -> Meaning:
    """A `__data_loc` field: text where it is made of characters, else bytes, as many as there are."""
    if "char" not in type:
        return {"kind": "bytes", "show": "hex", "direction": "in", "at": "exit"}
    kind = "path" if name in ("filename", "interp") else "text"
    return {"kind": kind, "direction": "in", "at": "exit"}


def _array(size: int, element_width: int | None, *, signed: bool) -> Meaning:
    common = {"kind": "bytes", "direction": "in", "at": "exit"}
    if element_width is None or element_width == 1 or element_width not in _SCALAR_WIDTHS:
        return {**common, "show": "hex", "count": size}
    element = {"kind": "int", "width": element_width, "signed": signed}
    return {**common, "element": element, "size": element_width, "count": size // element_width}
