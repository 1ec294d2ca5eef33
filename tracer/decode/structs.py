"""Decode structs, by member, and arrays."""

from collections.abc import Callable
from typing import TypeAlias

from traceleft.tracer.decode.lists import show_sigset
from traceleft.tracer.decode.sockets import show_sockaddr
from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import compile_integer, show_until_nul
from traceleft.tracer.schema.spec import MemberSpec, StructSpec, Tables, ValueSpec

Read: TypeAlias = Callable[[bytes], Value]


def compile_struct(spec: StructSpec, tables: Tables) -> Callable[[bytes], dict[str, Value]]:
    """Return what decodes a struct; members beyond the bytes that were captured are left out."""
    members = [_compile_member(member, spec, tables) for member in spec.members]

    def read(data: bytes) -> dict[str, Value]:
        size = len(data)
        return {
            name: decode(data[start:end])
            for name, start, end, decode, is_there in members
            if end <= size and (is_there is None or is_there(data))
        }

    return read


def compile_element(value: ValueSpec, tables: Tables) -> tuple[int, Read]:
    """Return an element's size in bytes and what decodes one."""
    if value.kind == "struct":
        spec = tables.structs[value.struct_name]
        return spec.size, compile_struct(spec, tables)
    return value.width, compile_integer(value, tables)


def compile_array(value: ValueSpec, tables: Tables) -> Callable[[bytes], list[Value]]:
    """Return what decodes elements laid end to end, as many as are whole."""
    assert value.element is not None
    width, decode = compile_element(value.element, tables)
    stride = max(value.size, 1)

    def read(data: bytes) -> list[Value]:
        return [decode(data[at : at + width]) for at in range(0, len(data) - stride + 1, stride)]

    return read


def _compile_member(
    member: MemberSpec, spec: StructSpec, tables: Tables
) -> tuple[str, int, int, Read, Callable[[bytes], bool] | None]:
    size, decode = _sized(member.value, tables)
    return member.name, member.offset, member.offset + size, decode, _compile_when(member, spec, tables)


def _sized(value: ValueSpec, tables: Tables) -> tuple[int, Read]:
    match value.kind:
        case "array":
            return value.count * value.size, compile_array(value, tables)
        case "text":
            return value.count, show_until_nul
        case "sockaddr":
            return value.count, lambda data: show_sockaddr(data, tables.byte_order)
        case "sigset":
            return 8, lambda data: show_sigset(data, tables.byte_order)
    return compile_element(value, tables)


def _compile_when(member: MemberSpec, spec: StructSpec, tables: Tables) -> Callable[[bytes], bool] | None:
    """Return what tells whether a union's member is the one in use; None for a member that always is there."""
    tests = [_compile_condition(name, wanted, spec, tables) for name, wanted in member.when]
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda data: all(test(data) for test in tests)


def _compile_condition(name: str, wanted: frozenset[int], spec: StructSpec, tables: Tables) -> Callable[[bytes], bool]:
    selector = next((other for other in spec.members if other.name == name and other.value.kind != "array"), None)
    if selector is None:
        return lambda data: False
    start, end, order = selector.offset, selector.offset + selector.value.width, tables.byte_order
    ones = (1 << 8 * selector.value.width) - 1
    numbers = frozenset(number & ones for number in wanted)
    return lambda data: end <= len(data) and int.from_bytes(data[start:end], order) in numbers
