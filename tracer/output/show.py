"""Show decoded values as text: what a JSON value looks like in strace's notation, by its kind."""

import os
from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeAlias

from traceleft.tracer.decode.cases import list_cases
from traceleft.tracer.decode.fixed_part import Notes
from traceleft.tracer.decode.signals import SIGNALS, show_wait_text
from traceleft.tracer.decode.texts import to_bytes
from traceleft.tracer.decode.value import Value
from traceleft.tracer.schema.spec import ArgSpec, StructSpec, Tables, ValueSpec

Show: TypeAlias = Callable[[Value], str]
Shown: TypeAlias = Callable[[Value, str, Notes], str]

_NAMED_ESCAPES: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\v": "\\v", "\f": "\\f"}


def escape(text: str) -> str:
    r"""Escape a text for a terminal: backslashes doubled, what does not print as in C, or each byte as ``\xNN``."""
    text = text.replace("\\", "\\\\")
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape_one(character) for character in text)


def _escape_one(character: str) -> str:
    named = _NAMED_ESCAPES.get(character)
    return named or "".join(f"\\x{byte:02x}" for byte in to_bytes(character))


def quote(text: Value) -> str:
    """Return a decoded string in quotes."""
    if not isinstance(text, str):
        return show_plain(text)
    return f'"{escape(text).replace(chr(34), chr(92) + chr(34))}"'


def show_plain(value: Value) -> str:
    """Return a value without regard to a kind: strings bare, objects in braces, lists in brackets."""
    match value:
        case None:
            return "NULL"
        case str():
            return escape(value)
        case list():
            return f"[{', '.join(map(show_plain, value))}]"
        case dict():
            return f"{{{', '.join(f'{name}: {show_plain(item)}' for name, item in value.items())}}}"
    return str(value)


def compile_shown(arg: ArgSpec, tables: Tables) -> Shown:
    """Return what shows an argument's decoded value."""
    if arg.slot is None:
        show = compile_show(arg.value, tables)
        return _by_case(arg.value, lambda value, name, notes: show(value), tables)
    shown = _compile_pointer(_by_case(arg.value, _compile_parts(arg.value, tables), tables))
    if arg.slot_out is None:
        return shown
    is_value = arg.value.kind == "value"

    def show_both(value: Value, name: str, notes: Notes) -> str:
        if not isinstance(value, dict):
            return show_plain(value)
        before = shown(value["in"], name, notes)
        if f"{name}.out" in notes.absent or value["out"] == value["in"]:
            return before
        after = shown(value["out"], f"{name}.out", notes)
        if is_value and name not in notes.absent:
            return f"{before[:-1]} => {after[1:]}"
        return f"[{before} => {after}]"

    return show_both


def _by_case(value: ValueSpec, plain: Shown, tables: Tables) -> Shown:
    """Return what shows a value as the case that it was decoded by."""
    if value.cases is None:
        return plain
    shows = [compile_show(case, tables) for case in list_cases(value)]

    def shown(item: Value, name: str, notes: Notes) -> str:
        rank = notes.chosen.get(name)
        return plain(item, name, notes) if rank is None else shows[rank](item)

    return shown


def _compile_pointer(show: Shown) -> Shown:
    """Return what shows what a pointer led to; an address stays one."""

    def shown(value: Value, name: str, notes: Notes) -> str:
        if value is None:
            return "NULL"
        return show_plain(value) if name in notes.absent else show(value, name, notes)

    return shown


def _compile_parts(value: ValueSpec, tables: Tables) -> Shown:
    """Return what shows captured bytes, with dots where there was more than was captured."""
    match value.kind:
        case "strings":
            return _show_strings
        case "iovec":
            return lambda item, name, notes: _show_list(item, name, notes, _show_quoting, _show_unread_buffer)
        case "msghdr":
            return _show_message
    show = compile_show(value, tables)
    if value.kind in ("path", "text", "buffer") and value.show != "bits":
        return lambda item, name, notes: f"{show(item)}..." if name in notes.more else show(item)
    return lambda item, name, notes: _add_dots(show(item)) if name in notes.more else show(item)


def _show_strings(items: Value, name: str, notes: Notes) -> str:
    """Show strings as a list; of an environment perhaps only how many there are, as strace does."""
    if isinstance(items, dict):
        count = f"{items['count']}{'+' if name in notes.more else ''}"
        return f"{items['address']} /* {count} var{'' if count == '1' else 's'} */"
    return _show_list(items, name, notes, quote, _show_unread)


def _add_dots(text: str) -> str:
    """Put dots into a list that has less than all of its elements."""
    return f"{text[:-1]}, ...]" if text.startswith("[") and len(text) > 2 else text


def _show_list(items: Value, name: str, notes: Notes, show: Show, show_lost: Show, *, first: int = 0) -> str:
    """Show parts as a list, the rank of its first among all parts being ``first``."""
    if not isinstance(items, list):
        return show_plain(items)
    cut: Collection[int] = notes.cut_parts.get(name, ())
    lost: Collection[int] = notes.lost_parts.get(name, ())
    shown = [(show_lost if first + rank in lost else show)(item) for rank, item in enumerate(items)]
    shown = [_cut(text) if first + rank in cut else text for rank, text in enumerate(shown)]
    return f"[{', '.join([*shown, '...'] if name in notes.more else shown)}]"


def _show_unread(item: Value) -> str:
    """Show a string that could not be read: where it lies, if that is known."""
    return "???" if item is None else show_plain(item)


def _show_unread_buffer(item: Value) -> str:
    """Show an iovec's element whose data could not be read: they are where its base says."""
    if not isinstance(item, dict):
        return show_plain(item)
    members = {**item, "data": item["base"]}
    return f"{{{', '.join(f'{name}: {show_plain(member)}' for name, member in members.items())}}}"


def _cut(text: str) -> str:
    """Put dots after a cut string: the whole text, or what an object ends with."""
    return f"{text[:-1]}...}}" if text.endswith("}") else f"{text}..."


def _show_message(message: Value, name: str, notes: Notes) -> str:
    """Show a message; its name and its control messages are the first two parts, then comes its iovec."""
    if not isinstance(message, dict):
        return show_plain(message)
    iov = _show_list(message["iov"], name, notes, _show_quoting, _show_unread_buffer, first=2)
    members = [f"{key}: {iov if key == 'iov' else _show_member(key, item)}" for key, item in message.items()]
    return f"{{{', '.join(members)}}}"


def compile_show(value: ValueSpec, tables: Tables) -> Show:
    """Return what shows a decoded value of one kind."""
    match value.kind:
        case "buffer" if value.show == "bits":
            return _show_numbers
        case "path" | "text" | "buffer":
            return quote
        case "mode":
            return _show_mode
        case "dev":
            return _show_dev
        case "hex":
            return _show_hex
        case "wait_status":
            return show_wait_text
        case "char":
            return lambda item: f"'{escape(item)}'" if isinstance(item, str) else show_plain(item)
        case "struct":
            return _compile_struct(tables.structs[value.struct_name], tables)
        case "array":
            return _compile_list(value, tables)
        case "value":
            return _compile_value(value, tables)
        case "strings":
            return lambda item: f"[{', '.join(map(quote, item))}]" if isinstance(item, list) else show_plain(item)
        case "bytes":
            return _compile_bytes(value, tables)
        case "sigset":
            return _show_sigset
        case "fdset":
            return _show_numbers
        case "sockaddr" | "iovec" | "msghdr":
            return _show_quoting
    return show_plain


_FILE_TYPES: Final = {
    0o140000: "S_IFSOCK",
    0o120000: "S_IFLNK",
    0o100000: "S_IFREG",
    0o060000: "S_IFBLK",
    0o040000: "S_IFDIR",
    0o020000: "S_IFCHR",
    0o010000: "S_IFIFO",
}
_MODE_BITS: Final = {0o4000: "S_ISUID", 0o2000: "S_ISGID", 0o1000: "S_ISVTX"}


def _show_mode(value: Value) -> str:
    """Return a mode in octal; where it tells the type of a file, that and the special bits by name."""
    if not isinstance(value, int) or not value:
        return show_plain(value)
    kind = _FILE_TYPES.get(value & 0o170000)
    if kind is None:
        return f"0{value:03o}"
    special = [name for bit, name in _MODE_BITS.items() if value & bit]
    return "|".join([kind, *special, f"0{value & 0o777:02o}"])


def _show_dev(value: Value) -> str:
    if not isinstance(value, int) or not value:
        return show_plain(value)
    major, minor = (_show_hex(hex(part)) for part in (os.major(value), os.minor(value)))
    return f"makedev({major}, {minor})"


def _show_hex(value: Value) -> str:
    return "0" if value == "0x0" else show_plain(value)


def _compile_struct(spec: StructSpec, tables: Tables) -> Show:
    shows = {member.name: compile_show(member.value, tables) for member in spec.members}

    def show(value: Value) -> str:
        if not isinstance(value, dict):
            return show_plain(value)
        return f"{{{', '.join(f'{name}: {shows[name](item)}' for name, item in value.items())}}}"

    return show


def _compile_list(value: ValueSpec, tables: Tables) -> Show:
    assert value.element is not None
    show = compile_show(value.element, tables)
    return lambda items: f"[{', '.join(map(show, items))}]" if isinstance(items, list) else show_plain(items)


def _compile_value(value: ValueSpec, tables: Tables) -> Show:
    assert value.element is not None
    show = compile_show(value.element, tables)
    return lambda item: f"[{show(item)}]"


def _compile_bytes(value: ValueSpec, tables: Tables) -> Show:
    if value.element is not None:
        return _compile_list(value, tables)
    return quote if value.show == "text" else show_plain


def _show_numbers(value: Value) -> str:
    return f"[{' '.join(map(str, value))}]" if isinstance(value, list) else show_plain(value)


def _show_sigset(value: Value) -> str:
    """Return a set of signals in strace's short form: the names less SIG, or those that are missing after a ``~``."""
    if not isinstance(value, list):
        return show_plain(value)
    names = set(map(str, value))
    if len(names) > len(SIGNALS) // 2:
        return f"~[{_short(name for name in SIGNALS if name not in names)}]"
    return f"[{_short(name for name in SIGNALS if name in names)}]"


def _short(names: Iterable[str]) -> str:
    return " ".join(name.removeprefix("SIG") for name in names)


_BARE: Final = frozenset({"family", "base", "groups", "flags", "level", "type", "protocol"})
"""Members of socket addresses, iovecs and messages whose strings are names or addresses, not bytes."""


def _show_quoting(value: Value) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_show_quoting, value))}]"
        case dict():
            return f"{{{', '.join(f'{name}: {_show_member(name, item)}' for name, item in value.items())}}}"
        case str():
            return quote(value)
    return show_plain(value)


def _show_member(name: str, value: Value) -> str:
    # A message's name and control messages are addresses where they could not be read.
    is_address = name in ("name", "control") and isinstance(value, str)
    return show_plain(value) if name in _BARE or is_address else _show_quoting(value)
