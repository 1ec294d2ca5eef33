"""A source's events → the schema document (docs/reference/schema.md, section 1)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from traceleft.errors import FormatError
from traceleft.expression import Catalogue, suggest
from traceleft.generator.classes import classes_of, load_classes
from traceleft.generator.config import Config, choose_arguments
from traceleft.generator.format_source import FormatSource
from traceleft.generator.layout import SYSCALL_ARGUMENTS, lay_out
from traceleft.generator.meaning import declared_meaning, entry_of, meaning, return_meaning, tracepoint_meaning
from traceleft.generator.model import Argument, Events, Syscall, Tracepoint, read_events
from traceleft.generator.printfmt import parse_print_fmt
from traceleft.generator.tables import SyscallEntry, load_errno, load_sets, load_structs, load_syscalls

SCHEMA_VERSION: Final = 1
FIRST_RANKED_ID: Final = 1024
MAX_TYPE: Final = 200
# What events need whose programs are the core's (tracer/session/task_events.py): no event of a document names it.
CORE_TABLES: Final = {"struct": "siginfo"}

Document = dict[str, Any]
Wanted = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Schema:
    """The document of the chosen events, and notices for its reader."""

    document: Document
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Maker:
    """What all events of one document share; `sets` gathers those that formats bring with them."""

    events: Events
    numbers: Mapping[str, SyscallEntry]
    ranks: Mapping[str, int]
    wanted: Wanted
    config: Config | None
    sets: dict[str, Any] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def make(self, name: str) -> Document:
        if ":" in name:
            return self._make_tracepoint(self.events.tracepoint(name))
        return self._make_syscall(self.events.syscall(name))

    def _make_syscall(self, call: Syscall) -> Document:
        number = self.numbers.get(call.name)
        arguments = [self._argument(call, argument) for argument in self._choose(call.name, call.arguments)]
        entry = entry_of(call.name, arguments)
        if entry == "emit":
            arguments = [argument | {"at": "entry"} if "direction" in argument else argument for argument in arguments]
        identity = number.number if number else self.ranks[call.name]
        layout, placed = lay_out(identity, arguments, args=SYSCALL_ARGUMENTS)
        return {
            "id": identity,
            "kind": "syscall",
            "number": number.number if number else None,
            "aliases": sorted(number.aliases) if number else [],
            "classes": sorted(classes_of(call.name)),
            "format": call.digest,
            "borrowed": call.borrowed,
            "registers": len(call.arguments),
            "entry": entry,
            "ret": dict(return_meaning(call.name, arguments=len(call.arguments))),
            "layout": layout.to_document(),
            "args": placed,
        }

    def _argument(self, call: Syscall, argument: Argument) -> Document:
        if _is_unknown(call.name, argument):
            self.notices.append(
                f"{call.name}: {argument.name}: `{argument.type}` is not known; it is shown as an address"
            )
        keys = meaning(
            call.name,
            index=argument.index,
            name=argument.name,
            type=argument.type,
            is_pointer=argument.ctype.is_pointer,
            arguments=len(call.arguments),
        )
        return _common_keys(argument) | dict(keys)

    def _make_tracepoint(self, tracepoint: Tracepoint) -> Document:
        tables = parse_print_fmt(tracepoint.print_fmt)
        arguments: list[Document] = []
        for argument in self._choose(tracepoint.name, tracepoint.fields):
            keys = _field_keys(tracepoint.name, argument)
            if keys["kind"] == "int" and argument.name in tables and argument.array is None:
                keys |= {"kind": "set", "set": f"{tracepoint.name.replace(':', '__')}__{argument.name}"}
                self.sets[keys["set"]] = tables[argument.name].to_set(argument.size)
            arguments.append(_common_keys(argument) | keys)
        identity = self.ranks[tracepoint.name]
        layout, placed = lay_out(identity, arguments, args=max(1, len(tracepoint.fields)))
        return {
            "id": identity,
            "kind": "tracepoint",
            "number": None,
            "aliases": [],
            "classes": [],
            "format": tracepoint.digest,
            "borrowed": False,
            "registers": len(tracepoint.fields),
            "entry": "none",
            "layout": layout.to_document(),
            "args": placed,
        }

    def _choose(self, event: str, arguments: tuple[Argument, ...]) -> tuple[Argument, ...]:
        if event not in self.wanted:
            return arguments
        check_arguments(event, [argument.name for argument in arguments], self.wanted[event], self.config)
        return tuple(argument for argument in arguments if argument.name in self.wanted[event])


def make_schema(source: FormatSource, *, events: Sequence[str], config: Config | None = None) -> Schema:
    """Make the document of `events` of `source`; FormatError names what cannot be read.

    UnsupportedError for a machine that there are no syscall numbers for.
    The same source, events and configuration give the same document.
    """
    numbers = load_syscalls(source.machine)
    offered = read_events(source.formats, place=source.place)
    catalogue = make_catalogue(offered, source.machine)
    maker = _Maker(offered, numbers, _rank(offered, numbers), choose_arguments(config, catalogue), config)
    for name in sorted(set(maker.wanted) - set(events)):
        maker.make(name)
    maker.sets.clear()
    maker.notices.clear()
    made = {name: maker.make(name) for name in sorted(events)}
    document: Document = {
        "schema": SCHEMA_VERSION,
        "machine": source.machine,
        "byte_order": "little",
        "release": source.release,
        "events": made,
        "tables": _make_tables(made, maker.sets),
    }
    return Schema(document, tuple(maker.notices))


def make_catalogue(events: Events, machine: str) -> Catalogue:
    """Return what expressions choose from: all events of an input, and the borrowed syscalls."""
    numbers = load_syscalls(machine)
    aliases = {name: numbers[name].aliases for name in events.syscalls if name in numbers and numbers[name].aliases}
    return Catalogue(frozenset(events.syscalls) | frozenset(events.tracepoints), aliases, load_classes())


def check_arguments(event: str, known: Sequence[str], wanted: Sequence[str], config: Config | None) -> None:
    """Refuse the first of the `wanted` arguments that is not `known`, at its place in the configuration."""
    for name in wanted:
        if name not in known:
            message = f"{event} has no argument {name!r}{suggest(name, known) or _list(known)}"
            raise config.error(message, name, event=event) if config else FormatError(message)


def _list(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"; it has {listed}" if listed else "; it has none"


def _rank(events: Events, numbers: Mapping[str, SyscallEntry]) -> dict[str, int]:
    """Number the events that have no syscall number, whether chosen or not."""
    ranked = sorted([*(name for name in events.syscalls if name not in numbers), *events.tracepoints])
    return {name: FIRST_RANKED_ID + rank for rank, name in enumerate(ranked)}


def _common_keys(argument: Argument) -> Document:
    return {
        "name": argument.name,
        "type": (argument.type if argument.array is None else f"{argument.type}[{argument.array}]")[:MAX_TYPE],
        "index": argument.index,
        "width": argument.width,
        "signed": argument.signed,
    }


def _field_keys(event: str, argument: Argument) -> Document:
    is_array = argument.array is not None
    keys = tracepoint_meaning(
        event,
        name=argument.name,
        type=argument.type,
        size=argument.size,
        signed=argument.signed,
        is_pointer=argument.ctype.is_pointer,
        element_width=_element_width(argument) if is_array else None,
        is_data_loc=argument.is_data_loc,
    )
    place: Document = {"offset": argument.offset, "size": argument.size}
    return dict(keys) | place | ({"data_loc": True} if argument.is_data_loc else {})


def _element_width(argument: Argument) -> int:
    """Return the bytes of one element of an array; 1 where that is not known, so that it is shown as bytes."""
    width = argument.ctype.width
    return width if width and argument.size % width == 0 else 1


def _is_unknown(syscall: str, argument: Argument) -> bool:
    """True for a pointer to a type that neither C nor our data say anything about."""
    pointee = argument.ctype.pointee
    if pointee is None or pointee.kind not in ("struct", "union", "unknown"):
        return False
    return declared_meaning(syscall, index=argument.index, name=argument.name, type=argument.type) is None


def _make_tables(events: Document, sets: Mapping[str, Any]) -> Document:
    """Pick the sets and structs that the events name, and what those name in turn; errno is always whole."""
    structs = _reach({"events": events, "core": CORE_TABLES}, load_structs())
    known = {**load_sets(), **sets}
    named = sorted(_names(events, "set") | _names(structs, "set"))
    return {
        "sets": {name: _look_up(known, name, "set") for name in named},
        "structs": structs,
        "errno": dict(load_errno()),
    }


def _reach(events: Document, known: Mapping[str, Any]) -> Document:
    structs: Document = {}
    open_names = _names(events, "struct")
    while open_names:
        name = open_names.pop()
        structs[name] = _look_up(known, name, "struct")
        open_names |= _names(structs[name], "struct") - structs.keys()
    return dict(sorted(structs.items()))


def _look_up(known: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in known:
        message = f"{what} `{name}` is named but not in tables.json: run scripts/make_tables.py"
        raise FormatError(message, file="arguments.toml")
    return known[name]


def _names(document: object, key: str) -> set[str]:
    """Return every name that `key` (`set` or `struct`) has anywhere in a document."""
    names: set[str] = set()
    pending = [document]
    while pending:
        match pending.pop():
            case dict(inner):
                names |= {value for name, value in inner.items() if name == key and isinstance(value, str)}
                pending.extend(inner.values())
            case list(items):
                pending.extend(items)
    return names
