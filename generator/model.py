"""What an input offers: syscalls and tracepoints, parsed when they are asked for."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, TypeAlias

from traceleft.errors import FormatError
from traceleft.generator.cdecl import CType, read_type
from traceleft.generator.format import Field, Format, digest_formats, parse_format

ENTER: Final = "syscalls/sys_enter_"
EXIT: Final = "syscalls/sys_exit_"
MAX_ARGUMENTS: Final = 6
MAX_TRACEPOINT_FIELDS: Final = 64
REGISTER_BYTES: Final = 8
NUMBER_FIELDS: Final = frozenset({"nr", "__syscall_nr"})

# A name that begins with a digit (9p:9p_client_req) can be no C identifier.
_EVENT_KEY = re.compile(r"[A-Za-z_]\w{0,63}/(?!sys_(enter|exit)_$)[A-Za-z_]\w{0,127}", re.ASCII)


Prototypes: TypeAlias = Mapping[str, tuple[tuple[str, str], ...]]
"""Syscall → (type, name) of each argument."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a syscall, or a field of a tracepoint; `offset` and `size` are those in a tracepoint's record."""

    name: str
    type: str
    ctype: CType
    index: int
    width: int
    signed: bool
    offset: int = 0
    size: int = REGISTER_BYTES
    array: str | None = None
    is_data_loc: bool = False


@dataclass(frozen=True, slots=True)
class Syscall:
    """A syscall by its kernel name; `borrowed` if the input has no format for it."""

    name: str
    arguments: tuple[Argument, ...]
    digest: str
    file: str
    borrowed: bool = False


@dataclass(frozen=True, slots=True)
class Tracepoint:
    """Any other tracepoint; `name` is `category:event`."""

    name: str
    fields: tuple[Argument, ...]
    digest: str
    file: str
    print_fmt: str


@dataclass(frozen=True, slots=True)
class Events:
    """The events of an input by name; nothing is parsed before it is asked for."""

    formats: Mapping[str, str]
    place: str
    syscalls: tuple[str, ...]
    tracepoints: tuple[str, ...]
    borrowed: Prototypes

    @property
    def own_syscalls(self) -> tuple[str, ...]:
        """The syscalls that the input has formats for."""
        return tuple(name for name in self.syscalls if name not in self.borrowed)

    @property
    def default_syscalls(self) -> tuple[str, ...]:
        """Those that are taken where none is named: all, if the input has formats of syscalls at all."""
        return self.syscalls if self.own_syscalls else ()

    def syscall(self, name: str) -> Syscall:
        """Parse the syscall `name`."""
        if name in self.borrowed:
            return _make_borrowed(name, self.borrowed[name])
        file = f"{self.place}{ENTER}{name}/format"
        enter, leave = self.formats[ENTER + name], self.formats.get(EXIT + name, "")
        format_ = _parse_named(enter, f"sys_enter_{name}", file)
        return Syscall(name, _read_arguments(format_), digest_formats(enter, leave), file)

    def tracepoint(self, name: str) -> Tracepoint:
        """Parse the tracepoint `name`."""
        key = name.replace(":", "/", 1)
        format_ = _parse_named(self.formats[key], name.partition(":")[2], f"{self.place}{key}/format")
        fields = format_.own_fields
        if len(fields) > MAX_TRACEPOINT_FIELDS:
            raise FormatError(f"has more than {MAX_TRACEPOINT_FIELDS} fields", file=format_.file)
        arguments = tuple(_make_field(field, index, format_.file) for index, field in enumerate(fields))
        _check_names(arguments, format_.file)
        return Tracepoint(name, arguments, format_.digest, format_.file, format_.print_fmt)


@cache
def load_borrowed() -> Prototypes:
    """Return the prototypes of calls that every kernel has, though some lack their formats."""
    text = files("traceleft.generator").joinpath("data/borrowed.toml").read_text(encoding="utf-8")
    calls = tomllib.loads(text)["syscall"]
    return {name: tuple((type_, argument) for type_, argument in call["arguments"]) for name, call in calls.items()}


def read_events(formats: Mapping[str, str], *, place: str = "", borrowed: Prototypes | None = None) -> Events:
    """Sort the keys `category/event` of `formats` into events.

    Of the `borrowed` prototypes (`load_borrowed` by default) those count whose formats are lacking, if there are any
    syscalls at all.
    """
    borrowed = load_borrowed() if borrowed is None else borrowed
    keys = sorted(key for key in formats if _EVENT_KEY.fullmatch(key))
    own = {key.removeprefix(ENTER) for key in keys if key.startswith(ENTER)}
    lacking = {name: prototype for name, prototype in borrowed.items() if name not in own} if own else {}
    tracepoints = tuple(sorted(key.replace("/", ":") for key in keys if not key.startswith("syscalls/")))
    return Events(formats, place, tuple(sorted(own | lacking.keys())), tracepoints, lacking)


def _parse_named(text: str, name: str, file: str) -> Format:
    format_ = parse_format(text, file=file)
    if format_.name != name:
        raise FormatError(f"is the format of {format_.name}, not of {name}", file=file, line=1)
    return format_


def _read_arguments(format_: Format) -> tuple[Argument, ...]:
    """Take the fields after the number; those that carry no register (`__data_loc`) are not arguments."""
    fields = format_.own_fields
    if not fields or fields[0].name not in NUMBER_FIELDS:
        raise FormatError("has no field for the syscall's number where it belongs", file=format_.file)
    registers = [field for field in fields[1:] if not field.is_data_loc]
    if len(registers) > MAX_ARGUMENTS:
        raise FormatError(f"has {len(registers)} arguments, a syscall has at most {MAX_ARGUMENTS}", file=format_.file)
    _check_registers(registers, format_.file)
    arguments = tuple(_make_argument(field, index, format_.file) for index, field in enumerate(registers))
    _check_names(arguments, format_.file)
    return arguments


def _check_registers(fields: Sequence[Field], file: str) -> None:
    """Refuse fields that are not one register each, one after the other."""
    for index, field in enumerate(fields):
        if field.size != REGISTER_BYTES:
            message = f"argument `{field.name}` has {field.size} bytes, a register has {REGISTER_BYTES}"
            raise FormatError(message, file=file, line=field.line)
        if field.offset != fields[0].offset + index * REGISTER_BYTES:
            message = f"argument `{field.name}` does not lie where the one before it ends"
            raise FormatError(message, file=file, line=field.line)


def _make_argument(field: Field, index: int, file: str) -> Argument:
    return _make_register(field.name, field.type, index, file=file, line=field.line)


def _make_register(name: str, type_: str, index: int, *, file: str, line: int | None) -> Argument:
    ctype = read_type(type_, file=file, line=line)
    if not (ctype.is_scalar or ctype.is_pointer):
        raise FormatError(f"type `{type_}` does not fit a register", file=file, line=line)
    return Argument(name, type_, ctype, index, ctype.width, ctype.signed)


def _make_borrowed(name: str, prototype: Sequence[tuple[str, str]]) -> Syscall:
    file = f"borrowed.toml: {name}"
    arguments = tuple(
        _make_register(argument, type_, index, file=file, line=None)
        for index, (type_, argument) in enumerate(prototype)
    )
    text = "".join(f"{argument.type} {argument.name};" for argument in arguments)
    return Syscall(name, arguments, digest_formats(name, text), file, borrowed=True)


def _make_field(field: Field, index: int, file: str) -> Argument:
    """Make a tracepoint's field: its own size and sign are the true ones, also where the type is unknown to us."""
    type_ = field.type.removeprefix("__data_loc ").removeprefix("__rel_loc ")
    return Argument(
        field.name,
        field.type,
        _read_field_type(type_, field, file),
        index,
        field.size,
        field.signed,
        field.offset,
        field.size,
        field.array,
        field.is_data_loc,
    )


def _read_field_type(type_: str, field: Field, file: str) -> CType:
    try:
        return read_type(type_, file=file, line=field.line)
    except FormatError:
        is_integer = field.size in (1, 2, 4, 8) and field.array is None
        return CType("integer" if is_integer else "unknown", type_[:64], field.size, field.signed)


def _check_names(arguments: tuple[Argument, ...], file: str) -> None:
    names = [argument.name for argument in arguments]
    for name in names:
        if names.count(name) > 1:
            raise FormatError(f"has `{name}` twice", file=file)
