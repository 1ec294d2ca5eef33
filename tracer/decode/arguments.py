"""Compile what decodes one argument from an unpacked record.

An argument is read from the record's fields (see ``FixedPart``) and its bytes. What a reader has to know about a value
other than the value itself goes into ``Notes``.
"""

from collections.abc import Callable
from typing import Final

from traceleft.linux import MAX_ERROR
from traceleft.record_layout import COUNTED, NEW_STACK, STATUS_LONGER, STATUS_NOT_READ, SUBSTITUTE, SUBSTITUTES
from traceleft.tracer.decode.cases import has_scalar_cases, read_by_case, read_register_by_case, show_by_case
from traceleft.tracer.decode.fixed_part import (
    FLAGS_FIELD,
    HEADER_FIELDS,
    RET_FIELD,
    Fields,
    FixedPart,
    Notes,
    ReadArg,
    ReadTail,
)
from traceleft.tracer.decode.lists import (
    ADDRESS_BYTES,
    show_bases,
    show_fdset,
    show_iovec,
    show_sigset,
    show_strings,
    split_iovec,
    split_strings,
)
from traceleft.tracer.decode.sockets import show_msghdr, show_sockaddr, split_msghdr
from traceleft.tracer.decode.structs import compile_array, compile_element, compile_struct
from traceleft.tracer.decode.texts import to_text
from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import ByteOrder, compile_scalar, compile_set, show_pointer
from traceleft.tracer.schema.spec import ArgSpec, Tables, ValueSpec

NOTHING: Final = (None, STATUS_NOT_READ)
UNREADABLE: Final = (None, -1)
ENVIRONMENT: Final = "envp"
# How far the kernel counts (COUNTED_MAX of templates/include/vector.h).
COUNTED_MAX: Final = 512
# What a new image may be given something else for.
REPLACEABLE: Final = frozenset({"path", "strings"})
REPLACEABLE_SLOTS: Final = 4
IN_PARTS: Final = frozenset({"strings", "iovec", "msghdr"})


def compile_arg(arg: ArgSpec, fixed: FixedPart, tables: Tables) -> ReadArg:
    """Return what decodes one argument."""
    position = HEADER_FIELDS + arg.index
    if arg.slot is None:
        return _compile_plain(arg.name, position, arg.value, tables)
    read_tail = _compile_captured(arg, fixed.slot(arg.slot), tables)
    in_parts = arg.value.kind in IN_PARTS
    first = _compile_pointer(arg.name, arg.name, position, fixed.slot(arg.slot), read_tail, in_parts=in_parts)
    if arg.value.kind in REPLACEABLE and arg.slot < REPLACEABLE_SLOTS and arg.slot_out is None:
        first = _compile_substitute(arg.name, position, SUBSTITUTE << arg.slot, _compile_environment(arg, fixed, first))
    if has_scalar_cases(arg.value):
        return read_register_by_case(arg.name, position, arg.value, first, tables)
    if arg.slot_out is None:
        return first
    out = f"{arg.name}.out"
    second = _compile_pointer(arg.name, out, position, fixed.slot(arg.slot_out), read_tail, in_parts=in_parts)

    def read(fields: Fields, data: bytes, notes: Notes) -> Value:
        if not fields[position]:
            return None
        return {"in": first(fields, data, notes), "out": second(fields, data, notes)}

    return read


def is_error(ret: int) -> bool:
    """Tell whether a result is an error number."""
    return -MAX_ERROR <= ret < 0


def _compile_substitute(name: str, position: int, flag: int, first: ReadArg) -> ReadArg:
    """Return what decodes an argument of an exec, or gives its address where what was read is the new image's."""

    def read(fields: Fields, data: bytes, notes: Notes) -> Value:
        flags = fields[FLAGS_FIELD]
        # Records from before there were flags of single slots tell only that one is.
        if not flags & NEW_STACK or (flags & SUBSTITUTES and not flags & flag):
            return first(fields, data, notes)
        notes.substitute(name, lambda others: first(fields, data, others))
        return show_pointer(fields[position])

    return read


def _compile_environment(arg: ArgSpec, fixed: FixedPart, strings: ReadArg) -> ReadArg:
    """Return what decodes strings, or tells how many they are where only that was taken."""
    if arg.value.kind != "strings" or arg.name != ENVIRONMENT:
        return strings
    assert arg.slot is not None
    name, position, slot = arg.name, HEADER_FIELDS + arg.index, fixed.slot(arg.slot)

    def read(fields: Fields, data: bytes, notes: Notes) -> Value:
        if not fields[FLAGS_FIELD] & COUNTED or not fields[position]:
            return strings(fields, data, notes)
        offset, length, status = fields[slot], fields[slot + 1], fields[slot + 2]
        if status < 0:
            notes.absent.add(name)
            if status != STATUS_NOT_READ:
                notes.fail(name)
            return show_pointer(fields[position])
        count, is_all = (status, status != STATUS_LONGER) if not offset else _count_addresses(data, offset, length)
        if not is_all:
            notes.truncated[name] = None
            notes.more.add(name)
        return {"address": show_pointer(fields[position]), "count": COUNTED_MAX if count == STATUS_LONGER else count}

    return read


def _count_addresses(data: bytes, offset: int, length: int) -> tuple[int, bool]:
    """Return how many addresses there are before a null one, and whether there is one."""
    for rank in range(length // ADDRESS_BYTES):
        at = offset + ADDRESS_BYTES * rank
        if not any(data[at : at + ADDRESS_BYTES]):
            return rank, True
    return length // ADDRESS_BYTES, False


def _compile_plain(name: str, position: int, value: ValueSpec, tables: Tables) -> ReadArg:
    if value.cases:
        return show_by_case(name, position, value, tables)
    show = compile_scalar(value, tables)
    if show is None:
        return lambda fields, data, notes: fields[position]
    return lambda fields, data, notes: show(fields[position])


def _compile_pointer(name: str, part: str, position: int, slot: int, read_tail: ReadTail, *, in_parts: bool) -> ReadArg:
    """Return what decodes what a pointer led to, or gives its address where that was not captured.

    Of what lies ``in_parts`` those that could be read are shown, though others could not.
    """

    def read(fields: Fields, data: bytes, notes: Notes) -> Value:
        offset, length, status = fields[slot], fields[slot + 1], fields[slot + 2]
        if offset and (status >= 0 or (in_parts and length)):
            value, captured = read_tail(data[offset : offset + length], fields, notes)
            if status < 0:
                notes.fail(name)
                return value
            if captured < 0:
                return absent(fields, notes, captured)
            if status > captured:
                notes.truncated[name] = None if status == STATUS_LONGER else status
                notes.more.add(part)
            return value
        return absent(fields, notes, status)

    def absent(fields: Fields, notes: Notes, status: int) -> Value:
        address = show_pointer(fields[position])
        if address is not None:
            notes.absent.add(part)
        if status and status != STATUS_NOT_READ:
            notes.fail(name)
        return address

    return read


def _compile_captured(arg: ArgSpec, slot: int, tables: Tables) -> ReadTail:
    """Return what decodes an argument's bytes, or refuses them where the call leaves them as they were."""
    read_tail = compile_tail(arg, tables)
    if arg.value.cases and not has_scalar_cases(arg.value):
        read_tail = read_by_case(arg.name, slot, arg.value, read_tail, tables)
    if arg.on_zero and not arg.errors:
        return read_tail
    on_zero, errors = arg.on_zero, arg.errors

    def read(data: bytes, fields: Fields, notes: Notes) -> tuple[Value, int]:
        ret = fields[RET_FIELD]
        is_written = on_zero if not ret else not (errors and is_error(ret)) or -ret in errors
        return read_tail(data, fields, notes) if is_written else NOTHING

    return read


def compile_tail(arg: ArgSpec, tables: Tables) -> ReadTail:
    """Return what decodes the bytes that an argument of a pointer kind led to."""
    order = tables.byte_order
    match arg.value.kind:
        case "buffer" if arg.value.show == "bits":
            return lambda data, fields, notes: (show_fdset(data, order, 8 * len(data)), len(data))
        case "path" | "text" | "buffer":
            return lambda data, fields, notes: (to_text(data), len(data))
        case "struct":
            decode = compile_struct(tables.structs[arg.value.struct_name], tables)
            return lambda data, fields, notes: (decode(data), len(data))
        case "sockaddr":
            return lambda data, fields, notes: (show_sockaddr(data, order), len(data)) if data else NOTHING
        case "sigset":
            return lambda data, fields, notes: (show_sigset(data, order), len(data))
        case "fdset":
            return _compile_fdset(arg, order)
        case "array":
            return _compile_counted(arg.value, tables)
        case "value":
            return _compile_value(arg.value, tables)
        case "bytes":
            return _compile_bytes(arg.value, tables)
    return _compile_parts(arg, tables)


def _compile_fdset(arg: ArgSpec, order: ByteOrder) -> ReadTail:
    """Fds beyond nfds mean nothing, whatever the words hold."""
    limit = None if arg.length_arg is None else HEADER_FIELDS + arg.length_arg

    def read(data: bytes, fields: Fields, notes: Notes) -> tuple[Value, int]:
        fds = 8 * len(data) if limit is None else fields[limit]
        return show_fdset(data, order, fds), len(data)

    return read


def _compile_counted(value: ValueSpec, tables: Tables) -> ReadTail:
    decode, size = compile_array(value, tables), max(value.size, 1)
    return lambda data, fields, notes: (decode(data), len(data) // size)


def _compile_value(value: ValueSpec, tables: Tables) -> ReadTail:
    """Bytes that are fewer than the value's give no value: it counts as unreadable."""
    assert value.element is not None
    width, decode = compile_element(value.element, tables)
    return lambda data, fields, notes: UNREADABLE if len(data) < width else (decode(data[:width]), STATUS_LONGER)


def _compile_bytes(value: ValueSpec, tables: Tables) -> ReadTail:
    if value.element is not None:
        decode = compile_array(value, tables)
        return lambda data, fields, notes: (decode(data), len(data))
    family = {"ipv4": b"\x02\0" + bytes(2), "ipv6": b"\x0a\0" + bytes(6)}.get(value.show)
    size = {"ipv4": 4, "ipv6": 16}.get(value.show, 0)
    if family is not None:
        return lambda data, fields, notes: (_show_address(family, data[:size], size), len(data))
    if value.show == "text":
        return lambda data, fields, notes: (to_text(data.partition(b"\0")[0]), len(data))
    return lambda data, fields, notes: (data.hex(), len(data))


def _show_address(family: bytes, data: bytes, size: int) -> Value:
    return show_sockaddr(family + data, "little")["addr"] if len(data) == size else data.hex()


def _compile_parts(arg: ArgSpec, tables: Tables) -> ReadTail:
    name, order = arg.name, tables.byte_order

    def read_strings(data: bytes, fields: Fields, notes: Notes) -> tuple[Value, int]:
        parts = split_strings(data, order)
        notes.look_at(name, parts)
        return show_strings(parts, order), len(parts)

    is_out = arg.direction == "out"

    def read_iovec(data: bytes, fields: Fields, notes: Notes) -> tuple[Value, int]:
        parts = split_iovec(data, order)
        if is_out and is_error(fields[RET_FIELD]):
            return show_bases(parts), len(parts)
        notes.look_at(name, parts)
        return show_iovec(parts), len(parts)

    if arg.value.kind == "msghdr":
        return _compile_msghdr(arg, tables)
    return read_strings if arg.value.kind == "strings" else read_iovec


def _compile_msghdr(arg: ArgSpec, tables: Tables) -> ReadTail:
    name, order = arg.name, tables.byte_order
    show_flags = compile_set(tables.sets[arg.value.set_name], 4) if arg.value.set_name else None

    def read(data: bytes, fields: Fields, notes: Notes) -> tuple[Value, int]:
        parts = split_msghdr(data, order)
        is_written = arg.direction != "out" or not is_error(fields[RET_FIELD])
        shown = show_msghdr(parts, order, is_written=is_written)
        if show_flags:
            shown["flags"] = show_flags(int.from_bytes(data[48:52], order))
        count = int.from_bytes(data[24:32], order)
        if is_written:
            notes.look_at(name, (parts[1], parts[2], *parts[3]))
        if count > len(parts[3]):
            notes.truncated[name] = None
            notes.more.add(name)
        return shown, STATUS_LONGER

    return read


def compile_check(arg: ArgSpec, tables: Tables) -> Callable[[bytes], object] | None:
    """Return what raises ``ValueError`` for a tail whose parts do not fit; None where any bytes do."""
    order = tables.byte_order
    match arg.value.kind:
        case "strings":
            return lambda data: split_strings(data, order)
        case "iovec":
            return lambda data: split_iovec(data, order)
        case "msghdr":
            return lambda data: split_msghdr(data, order)
    return None
