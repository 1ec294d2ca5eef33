"""The document `data/arguments.toml` → `Declarations`; whatever it does not expect is a `FormatError`."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from traceleft.errors import FormatError

Meaning: TypeAlias = Mapping[str, object]
Table: TypeAlias = Mapping[str, object]

SCALAR_KINDS: Final = frozenset(
    {
        *("int", "hex", "pointer", "fd", "dirfd", "mode", "set", "dev", "pid", "uid", "char", "wait_status"),
        *("futex_wake_op", "none"),
    }
)
RETURN_KINDS: Final = frozenset({"int", "hex", "pointer", "fd", "mode", "pid", "set", "uid"})
_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "path": frozenset(),
    "text": frozenset(),
    "buffer": frozenset({"length"}),
    "struct": frozenset({"struct"}),
    "array": frozenset({"element", "length", "size"}),
    "value": frozenset({"element"}),
    "sockaddr": frozenset({"length"}),
    "strings": frozenset(),
    "iovec": frozenset({"length"}),
    "msghdr": frozenset(),
    "sigset": frozenset({"length"}),
    "fdset": frozenset({"length"}),
    "bytes": frozenset({"show"}),
}
SLOT_KINDS: Final = frozenset(_REQUIRED)
# What a case may say that the bytes of a buffer are.
CAPTURED_KINDS: Final = frozenset({"value", "struct", "text"})
# A msghdr's set names the flags in it.
_OPTIONAL: Final[Mapping[str, frozenset[str]]] = {
    "struct": frozenset({"length", "cases"}),
    "msghdr": frozenset({"set"}),
    "buffer": frozenset({"cases", "show"}),
}
_SLOT_OPTIONS: Final = frozenset({"kind", "direction", "on_error", "on_zero", "at"})
_CHOICES: Final[Mapping[str, tuple[object, ...]]] = {
    "direction": ("in", "out", "inout"),
    "at": ("entry", "exit"),
    "on_zero": (True, False),
    "show": ("text", "ipv4", "ipv6", "hex", "bits"),
}
_LENGTH_KEYS: Final = (
    frozenset({"arg"}),
    frozenset({"ret"}),
    frozenset({"ret", "arg"}),
    frozenset({"pointer", "width"}),
    frozenset({"constant"}),
)
_ARGUMENT_KEY = re.compile(r"(?P<index>[0-5]) (?P<names>[A-Za-z_]\w*(\|[A-Za-z_]\w*)*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """One argument of one syscall, with the names that it has had."""

    names: tuple[str, ...]
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class Rule:
    """What arguments of these types mean, if they bear one of the names (any, if there are none)."""

    types: frozenset[str]
    names: frozenset[str]
    meaning: Meaning

    def covers(self, type: str, name: str) -> bool:
        """True if the rule speaks of an argument."""
        return type in self.types and (not self.names or name in self.names)


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What fields of tracepoints mean; what is empty or None demands nothing. Arrays hold bytes."""

    events: frozenset[str]
    types: frozenset[str]
    names: frozenset[str]
    arrays: bool
    count: int | None
    meaning: Meaning

    def covers(self, *, event: str, type: str, name: str, count: int | None) -> bool:
        """True if the rule speaks of a field; `count` is the number of elements, None if it is not an array."""
        return (
            (self.arrays or self.count is not None) == (count is not None)
            and (self.count is None or self.count == count)
            and (not self.events or event in self.events)
            and (not self.types or type in self.types)
            and (not self.names or name in self.names)
        )


@dataclass(frozen=True, slots=True)
class Declarations:
    """The whole document: per syscall the arguments by index, the meanings of return values, and the rules in order."""

    arguments: Mapping[str, Mapping[int, Entry]]
    returns: Mapping[str, Meaning]
    rules: tuple[Rule, ...]
    fields: tuple[FieldRule, ...]


def plain_type(type: str) -> str:
    """Return a C type without what does not matter to the caller: `const` of the value itself, extra space."""
    words = type.split()
    if "*" not in type:
        return " ".join(word for word in words if word != "const")
    return " ".join(words).removesuffix("const").rstrip()


def parse_declarations(text: str, *, file: str) -> Declarations:
    """Read a document; a malformed one is a `FormatError` that names the place in it."""
    try:
        document = tomllib.loads(text)
        return _Reader(document).read()
    except tomllib.TOMLDecodeError as error:
        raise FormatError(str(error), file=file) from error
    except _MalformedError as error:
        raise FormatError(str(error), file=file) from error


class _MalformedError(Exception):
    """A place in the document and what is wrong there."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")


class _Reader:
    """Reads one document; `elements` and `cases` are what its meanings refer to."""

    def __init__(self, document: Table) -> None:
        _check_keys(document, "document", {"element", "cases", "rule", "syscall", "tracepoint"})
        self.document = document
        self.elements: dict[str, Table] = {}
        self.cases: dict[str, Table] = {}

    def read(self) -> Declarations:
        for name, value in _table(self.document.get("element", {}), "element").items():
            self.elements[name] = self._element(value, f"element.{name}")
        for name, value in _table(self.document.get("cases", {}), "cases").items():
            self.cases[name] = self._cases(_table(value, f"cases.{name}"), f"cases.{name}")
        syscalls = {
            name: _table(value, f"syscall.{name}")
            for name, value in _table(self.document.get("syscall", {}), "syscall").items()
        }
        return Declarations(
            arguments={name: self._entries(table, f"syscall.{name}") for name, table in syscalls.items()},
            returns={name: self._returned(table["ret"], name) for name, table in syscalls.items() if "ret" in table},
            rules=tuple(self._rule(*numbered) for numbered in _numbered(self.document, "rule")),
            fields=tuple(self._field_rule(*numbered) for numbered in _numbered(self.document, "tracepoint")),
        )

    def _entries(self, table: Table, place: str) -> dict[int, Entry]:
        entries: dict[int, Entry] = {}
        for key, value in table.items():
            if key == "ret":
                continue
            match = _ARGUMENT_KEY.fullmatch(key)
            if match is None or int(match["index"]) in entries:
                raise _MalformedError(place, f'"{key}" must be a key `INDEX NAME|NAME`, no index given twice')
            names = tuple(match["names"].split("|"))
            entries[int(match["index"])] = Entry(names, self._meaning(value, f'{place}."{key}"'))
        return entries

    def _rule(self, place: str, table: Table) -> Rule:
        _check_keys(table, place, {"types", "names", "meaning"})
        types = _names(table, "types", place)
        if not types:
            raise _MalformedError(place, "a rule needs types")
        return Rule(types, _names(table, "names", place), self._meaning(table.get("meaning"), place))

    def _field_rule(self, place: str, table: Table) -> FieldRule:
        _check_keys(table, place, {"events", "types", "names", "arrays", "count", "meaning"})
        count = table.get("count")
        return FieldRule(
            events=_names(table, "events", place),
            types=_names(table, "types", place),
            names=_names(table, "names", place),
            arrays=table.get("arrays") is True,
            count=None if count is None else _number(count, place),
            meaning=self._meaning(table.get("meaning"), place),
        )

    def _meaning(self, value: object, place: str) -> Meaning:
        meaning = _with_kind(value, place)
        if "element" in meaning:
            meaning["element"], meaning["size"] = self._sized_element(meaning["element"], place)
            if meaning["kind"] == "value":
                del meaning["size"]
        if "cases" in meaning:
            meaning["cases"] = _lookup(self.cases, meaning["cases"], place)
        if meaning["kind"] in SLOT_KINDS:
            meaning.setdefault("direction", "in")
            meaning.setdefault("at", "entry" if meaning["direction"] == "inout" else "exit")
        _check_meaning(meaning, place)
        return meaning

    def _returned(self, value: object, name: str) -> Meaning:
        place = f"syscall.{name}"
        meaning = _with_kind(value, place)
        if meaning["kind"] not in RETURN_KINDS:
            raise _MalformedError(place, f"ret cannot be {value!r}")
        return self._meaning(meaning, place)

    def _element(self, value: object, place: str) -> Table:
        element = _with_kind(value, place)
        known = {"kind", "struct", "size"} if element["kind"] == "struct" else {"kind", "width", "signed", "set"}
        _check_keys(element, place, known)
        _number(element.get("size" if element["kind"] == "struct" else "width"), place)
        return element

    def _sized_element(self, name: object, place: str) -> tuple[Table, object]:
        element = _lookup(self.elements, name, place)
        if element["kind"] == "struct":
            return {"kind": "struct", "struct": element["struct"]}, element["size"]
        return element, element["width"]

    def _cases(self, table: Table, place: str) -> Table:
        lacking = {str(_number(number, place)): "none" for number in _list(table.get("none", []), place)}
        numbers = {key: value for key, value in table.items() if key not in ("arg", "ignore", "none")}
        if lacking.keys() & numbers.keys():
            raise _MalformedError(place, "none lists a number that has a case")
        kinds = {key: self._case(value, f"{place}.{key}") for key, value in (lacking | numbers).items()}
        sorts = {meaning["kind"] in SCALAR_KINDS for meaning in kinds.values()}
        if len(sorts) != 1 or not all(key.isdecimal() for key in kinds):
            raise _MalformedError(place, "cases lead from a number to a scalar kind, or all to what bytes are")
        ignore = {"ignore": _number(table["ignore"], place)} if "ignore" in table else {}
        return {"arg": _number(table.get("arg"), place), **ignore, "kinds": kinds}

    def _case(self, value: object, place: str) -> Meaning:
        meaning = _with_kind(value, place)
        if meaning["kind"] not in CAPTURED_KINDS:
            return self._meaning(meaning, place)
        _check_keys(meaning, place, {"kind", "element", "struct", "cases"})
        cases = {"cases": _lookup(self.cases, meaning.pop("cases"), place)} if "cases" in meaning else {}
        captured = self._meaning(meaning, place)
        return {key: captured[key] for key in ("kind", "element", "struct") if key in captured} | cases


def _with_kind(value: object, place: str) -> dict[str, object]:
    """Spell a meaning out: a string is a kind, and `set` and `struct` imply theirs."""
    if isinstance(value, str):
        return {"kind": value}
    meaning = dict(_table(value, place))
    implied = next((key for key in ("set", "struct") if key in meaning), None)
    if "kind" not in meaning and implied is None:
        raise _MalformedError(place, "no kind")
    meaning.setdefault("kind", implied)
    if not isinstance(meaning["kind"], str):
        raise _MalformedError(place, f"unknown kind {meaning['kind']!r}")
    return meaning


def _check_meaning(meaning: Meaning, place: str) -> None:
    kind = meaning["kind"]
    if kind in SCALAR_KINDS:
        required = {"set"} if kind == "set" else set()
        known = {"kind", "cases"} | required | ({"set"} if kind == "int" else set())
    elif kind in SLOT_KINDS:
        required = set(_REQUIRED[str(kind)])
        known = required | _SLOT_OPTIONS | _OPTIONAL.get(str(kind), frozenset())
    else:
        raise _MalformedError(place, f"unknown kind {kind!r}")
    _check_keys(meaning, place, known)
    if not required <= meaning.keys():
        raise _MalformedError(place, f"kind {kind} needs {', '.join(sorted(required - meaning.keys()))}")
    for key, choices in _CHOICES.items():
        if key in meaning and meaning[key] not in choices:
            raise _MalformedError(place, f"{key} cannot be {meaning[key]!r}")
    if not _is_on_error(meaning.get("on_error", True)):
        raise _MalformedError(place, "on_error is true, false, or a list of error numbers")
    if "length" in meaning:
        _check_length(_table(meaning["length"], place), place)


def _is_on_error(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and all(type(each) is int for each in value))


def _check_length(length: Table, place: str) -> None:
    if frozenset(length) not in _LENGTH_KEYS:
        raise _MalformedError(place, f"no length: {dict(length)}")
    for key, value in length.items():
        if key == "ret" and value is True:
            continue
        if _number(value, place) > 5 and key in ("arg", "pointer"):
            raise _MalformedError(place, f"a syscall has no argument {value}")


def _check_keys(table: Table, place: str, known: set[str] | frozenset[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise _MalformedError(place, f"unknown key {unknown[0]}")


def _numbered(document: Table, key: str) -> list[tuple[str, Table]]:
    value = document.get(key, [])
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _MalformedError(key, "no list of tables")
    return [(f"{key} {rank}", _table(table, f"{key} {rank}")) for rank, table in enumerate(value, start=1)]


def _lookup(tables: Mapping[str, Table], name: object, place: str) -> Table:
    if not isinstance(name, str) or name not in tables:
        raise _MalformedError(place, f"{name!r} is not declared")
    return tables[name]


def _list(value: object, place: str) -> list[object]:
    if not isinstance(value, list):
        raise _MalformedError(place, f"{value!r} is not a list")
    return value


def _names(table: Table, key: str, place: str) -> frozenset[str]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _MalformedError(place, f"{key} must be a list of names")
    return frozenset(value)


def _number(value: object, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _MalformedError(place, f"{value!r} is not a number")
    return value


def _table(value: object, place: str) -> Table:
    if not isinstance(value, Mapping):
        raise _MalformedError(place, "no table")
    return cast(Table, value)  # TOML's tables have strings as keys
