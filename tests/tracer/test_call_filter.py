"""Filters of system calls, run as the kernel would run them."""

import errno
import os
import struct
from collections.abc import Callable, Sequence

import pytest

from traceleft.tracer import _native
from traceleft.tracer.sandbox import call_filter
from traceleft.tracer.sandbox.call_filter import ALLOW, LOAD, RETURN, Only, allowing, error, of_reader, refusing

INSTRUCTION = struct.Struct("=HBBI")
EPERM = error(errno.EPERM)
JUMPS: dict[int, Callable[[int, int], bool]] = {
    call_filter.JUMP_EQUAL: lambda value, with_: value == with_,
    call_filter.JUMP_AT_LEAST: lambda value, with_: value >= with_,
    call_filter.JUMP_SET: lambda value, with_: bool(value & with_),
}


def run(code: bytes, call: str | int, arguments: Sequence[int] = (), *, machine: int = _native.AUDIT_ARCH) -> int:
    """Return what a filter answers."""
    number = call if isinstance(call, int) else _native.CALL_NUMBERS[call]
    data = struct.pack("=IIQ6Q", number, machine, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    program: list[tuple[int, int, int, int]] = list(INSTRUCTION.iter_unpack(code))
    value, at = 0, 0
    while True:
        kind, then, otherwise, constant = program[at]
        at += 1
        if kind == RETURN:
            return constant
        if kind == LOAD:
            (value,) = struct.unpack_from("=I", data, constant)
        else:
            at += then if JUMPS[kind](value, constant) else otherwise


def test_only_the_calls_of_a_list_are_allowed() -> None:
    code = allowing(["read", "exit_group"])

    assert {call: run(code, call) for call in ("read", "exit_group", "write", "execve")} == {
        "read": ALLOW,
        "exit_group": ALLOW,
        "write": EPERM,
        "execve": EPERM,
    }


def test_all_calls_but_those_of_a_list_are_allowed() -> None:
    code = refusing(["execve", "ptrace"])

    assert [run(code, call) for call in ("execve", "ptrace", "read", "bpf")] == [EPERM, EPERM, ALLOW, ALLOW]
    assert run(code, "clone3") == error(errno.ENOSYS)


def test_calls_of_another_machine_are_refused() -> None:
    assert run(refusing([]), "read", machine=0x40000003) == EPERM
    assert run(allowing(["read"]), "read", machine=0x40000003) == EPERM
    assert run(refusing([]), call_filter.X32 + 1) == EPERM


@pytest.mark.parametrize(
    ("call", "arguments", "is_allowed"),
    [
        *[("bpf", (command,), True) for command in call_filter.MAP_COMMANDS],
        # Load a program, pin, attach, open a program or a map by id, make a link.
        *[("bpf", (command,), False) for command in (0, 5, 6, 8, 13, 14, 17, 18, 28)],
        ("clone", (0x50F00,), True),
        ("clone", (0x1200011,), False),
        ("kill", (os.getpid(), 15), True),
        ("kill", (1, 15), False),
        ("kill", (0, 15), False),
        ("kill", (2**64 - 1, 15), False),
        ("tgkill", (os.getpid(), 7, 15), True),
        ("tgkill", (1, 1, 15), False),
        ("read", (0,), True),
        ("futex", (0,), True),
    ],
)
def test_reader_may_do_what_reading_takes(call: str, arguments: tuple[int, ...], is_allowed: bool) -> None:
    assert run(of_reader(network=False), call, arguments) == (ALLOW if is_allowed else EPERM)


@pytest.mark.parametrize("call", sorted(call_filter.REFUSED & _native.CALL_NUMBERS.keys()))
def test_reader_is_refused(call: str) -> None:
    assert run(of_reader(network=True), call) == EPERM


def test_reader_opens_sockets_where_a_sink_connects() -> None:
    assert run(of_reader(network=False), "socket") == EPERM
    assert run(of_reader(network=True), "socket") == ALLOW


def test_every_call_of_the_filters_has_a_number_here() -> None:
    assert call_filter.REFUSED - _native.CALL_NUMBERS.keys() == set()


def test_argument_is_one_of_several_values() -> None:
    code = refusing([], [Only("bpf", 1, (3, 5))])

    assert [run(code, "bpf", (9, each)) for each in (2, 3, 4, 5)] == [EPERM, ALLOW, EPERM, ALLOW]


@pytest.mark.parametrize("size", [0, 7, 8 * 4097])
def test_code_of_no_whole_instructions_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 4096 instructions"):
        _native.filter_calls(bytes(size))
