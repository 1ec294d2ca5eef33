"""What verifiers below 4.11 take and refuse: programs put together by hand, a pair or more for each rule."""

import os
import struct
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.asking import KPROBE, load_program
from tests.support.assembly import EXIT, R0, R1, R2, R3, R4, R5, R6, R7, R10, call, insn, load64
from traceleft.battery.objects.insns import decode
from traceleft.battery.objects.map_btf import MapFacts
from traceleft.battery.since import Kernel
from traceleft.battery.verifier.before_4_11 import judge_old
from traceleft.battery.verifier.shape import Refusal
from traceleft.battery.verifier.verifier_rules import CONTEXTS, RULES, Rules, takes_map
from traceleft.tracer import _native

V44, V49 = RULES
TABLE = MapFacts("table", {"type": 1, "key_size": 4, "value_size": 16})
EVENTS = MapFacts("events", {"type": 4, "key_size": 4, "value_size": 4})
PROGRAMS = MapFacts("programs", {"type": 3, "key_size": 4, "value_size": 4})
MAPS: Final = (TABLE, EVENTS, PROGRAMS)

LOOKUP, UPDATE, PROBE_READ, TAIL_CALL, PID, COMM, OUTPUT = 1, 2, 4, 12, 14, 16, 25
BYTE, HALF, WORD, LONG = 0x10, 0x08, 0x00, 0x18
EQUAL, UNEQUAL, ABOVE = 0x15, 0x55, 0x25


def move(to: int, value: int) -> bytes:
    return insn(0xB7, to=to, value=value)


def copy(to: int, source: int) -> bytes:
    return insn(0xBF, to=to, source=source)


def add(to: int, value: int) -> bytes:
    return insn(0x07, to=to, value=value)


def stack(to: int, at: int) -> bytes:
    return copy(to, R10) + add(to, at)


def map_of(to: int, used: MapFacts) -> bytes:
    """Load a map: its place in MAPS stands where the kernel has a file descriptor."""
    return insn(0x18, to=to, source=1, value=MAPS.index(used)) + insn(0)


def read(to: int, source: int, offset: int, size: int = LONG) -> bytes:
    return insn(0x61 | size, to=to, source=source, offset=offset)


def put(to: int, source: int, offset: int, size: int = LONG) -> bytes:
    return insn(0x63 | size, to=to, source=source, offset=offset)


def put_value(to: int, value: int, offset: int, size: int = LONG) -> bytes:
    return insn(0x62 | size, to=to, offset=offset, value=value)


def jump(condition: int, register: int, value: int, *, over: bytes) -> bytes:
    """Skip the instructions after this one where a register is so."""
    return insn(condition, to=register, value=value, offset=len(over) // 8) + over


def judge(code: bytes, rules: Rules = V44, context: str = "kprobe") -> Refusal | None:
    instructions = decode(code)
    maps = {each.at: MAPS[each.immediate] for each in instructions if each.opcode == 0x18 and each.source}
    return judge_old(instructions, maps, context=CONTEXTS[context], rules=rules).refusal


DONE: Final = move(R0, 0) + EXIT
ZEROED: Final = b"".join(put_value(R10, 0, at) for at in (-8, -16))
KEYED: Final = put_value(R10, 0, -4, WORD) + stack(R2, -4)
FOUND: Final = KEYED + map_of(R1, TABLE) + call(LOOKUP)


def with_value(body: bytes) -> bytes:
    """Look up a value of 16 bytes, and do something where it is there."""
    return FOUND + jump(EQUAL, R0, 0, over=body) + DONE


def reads(destination: bytes, *, size: bytes = move(R2, 16), before: bytes = b"") -> bytes:
    return before + move(R3, 0) + size + destination + call(PROBE_READ) + DONE


# What is done, where 4.4 refuses it and why, and where 4.9 does; None where it is taken.
CASES: Final[dict[str, tuple[bytes, str | None, str | None]]] = {
    "nothing": (DONE, None, None),
    "result not set": (EXIT, "read of register 0, which holds nothing (instruction 0)", "register 0"),
    "register not set": (copy(R0, R7) + EXIT, "read of register 7, which holds nothing", "register 7"),
    "sum of what is not set": (add(R7, 1) + DONE, "read of register 7, which holds nothing", "register 7"),
    "shift of what is not set": (insn(0x67, to=R7, value=1) + DONE, "read of register 7", "read of register 7"),
    "negation of what is not set": (insn(0x87, to=R7) + DONE, "read of register 7", "read of register 7"),
    "sum with what is not set": (move(R0, 1) + insn(0x0F, to=R0, source=R7) + DONE, "of register 7", "of register 7"),
    "comparison of what is not set": (jump(EQUAL, R7, 1, over=DONE) + DONE, "of register 7", "of register 7"),
    "comparison with what is not set": (
        move(R0, 1) + insn(0x1D, to=R0, source=R7) + DONE,
        "read of register 7",
        "read of register 7",
    ),
    "register lost in a call": (call(PID) + copy(R0, R1) + EXIT, "read of register 1", "read of register 1"),
    "register kept in a call": (move(R6, 1) + call(PID) + copy(R0, R6) + EXIT, None, None),
    "result of a call": (call(PID) + EXIT, None, None),
    "tail call has none": (
        move(R3, 0) + map_of(R2, PROGRAMS) + call(TAIL_CALL) + EXIT,
        "read of register 0",
        "read of register 0",
    ),
    "write to the frame pointer": (move(R10, 0) + DONE, "write to the frame pointer", "write to the frame pointer"),
    "register that does not exist": (
        insn(0xBF, to=R0, source=11) + EXIT,
        "a register that does not exist",
        "a register",
    ),
    "copy to itself": (copy(R1, R1) + read(R0, R1, 0) + EXIT, "read through", "read through"),
    # Pointers: only the frame's end plus a constant is followed.
    "stack by a constant": (stack(R1, -8) + put_value(R1, 0, 0) + DONE, None, None),
    "stack by two constants": (stack(R1, -16) + add(R1, 8) + put_value(R1, 0, 0) + DONE, "write through", None),
    "stack beside its end": (
        stack(R1, -16) + add(R1, 24) + DONE,
        None,
        "an address outside the stack, at 8 (instruction 2)",
    ),
    "stack by a number": (
        call(PID) + stack(R1, -16) + insn(0x0F, to=R1, source=R0) + put_value(R1, 0, 0) + DONE,
        "write through register 1, which holds a number",
        "write through register 1",
    ),
    "32-bit sum": (copy(R1, R10) + insn(0x04, to=R1, value=-8) + put_value(R1, 0, 0) + DONE, "through", "through"),
    "32-bit copy": (insn(0xBC, to=R6, source=R1) + read(R0, R6, 0) + EXIT, "read through", "read through"),
    "map's value by a number": (
        with_value(call(PID) + read(R1, R0, 0)),
        "read through register 0, which holds a number",
        "read through",
    ),
    "map's value by a constant": (with_value(add(R0, 8) + read(R1, R0, 0)), "read through", "read through"),
    # The stack.
    "stack read before it is written": (read(R0, R10, -8) + EXIT, "to which nothing was written", "to which nothing"),
    "stack half written": (
        put_value(R10, 0, -8, WORD) + read(R0, R10, -8) + EXIT,
        "read of 8 bytes of the stack at -8",
        "read of 8 bytes",
    ),
    "stack written in parts": (
        put_value(R10, 0, -8, WORD) + put_value(R10, 0, -4, WORD) + read(R0, R10, -8) + EXIT,
        None,
        None,
    ),
    "stack to its end": (put_value(R10, 0, -512) + DONE, None, None),
    "stack past its end": (put_value(R10, 0, -520) + DONE, "outside the stack, at -520", "outside the stack"),
    "stack above": (put_value(R10, 0, 0) + DONE, "outside the stack, at 0", "outside the stack"),
    "stack not aligned": (put_value(R10, 0, -12) + DONE, "8 bytes at -12, which is not a multiple", "not a multiple"),
    "pointer kept": (put(R10, R1, -8) + read(R6, R10, -8) + read(R0, R6, 0) + EXIT, None, None),
    "pointer kept in part": (put(R10, R1, -8, WORD) + DONE, "a part of the context kept", "a part of the context"),
    "part of a kept pointer": (put(R10, R1, -8) + read(R0, R10, -8, WORD) + EXIT, "a part of a pointer", "a part"),
    "kept pointer overwritten": (
        put(R10, R1, -8) + put_value(R10, 0, -4, BYTE) + read(R0, R10, -8) + EXIT,
        "a part of a pointer kept on the stack at -8",
        "a part of a pointer",
    ),
    "kept pointer replaced": (put(R10, R1, -8) + put_value(R10, 0, -8) + read(R0, R10, -8) + EXIT, None, None),
    "kept number is no constant": (
        ZEROED + move(R1, 16) + put(R10, R1, -24) + move(R3, 0) + read(R2, R10, -24) + stack(R1, -16) + call(4) + DONE,
        "a number that is not constant as the size of probe_read",
        "as the size of probe_read",
    ),
    "add in memory": (ZEROED + move(R1, 1) + insn(0xDB, to=R10, source=R1, offset=-8) + DONE, None, None),
    "add in memory not written": (
        move(R1, 1) + insn(0xDB, to=R10, source=R1, offset=-8) + DONE,
        "to which nothing was written",
        "to which nothing was written",
    ),
    # The context.
    "context": (read(R0, R1, 160) + EXIT, None, None),
    "context past its end": (read(R0, R1, 168) + EXIT, "read of 8 bytes at 168 of its context", "of its context"),
    "context before": (read(R0, R1, -8) + EXIT, "read of 8 bytes at -8 of its context", "of its context"),
    "context not aligned": (read(R0, R1, 4) + EXIT, "not a multiple", "not a multiple"),
    "context written": (put_value(R1, 0, 0) + DONE, "write of 8 bytes at 0 of its context", "of its context"),
    "context by a constant": (add(R1, 8) + read(R0, R1, 0) + EXIT, "read through register 1", "read through"),
    "context or stack": (
        ZEROED
        + copy(R6, R1)
        + call(PID)
        + copy(R7, R6)
        + jump(EQUAL, R0, 3, over=copy(R7, R10) + add(R7, -8))
        + read(R0, R7, 0)
        + EXIT,
        "its context on one path",
        "its context on one path",
    ),
    # Maps.
    "map": (FOUND + DONE, None, None),
    "map not compared": (FOUND + read(R1, R0, 0) + DONE, "holds a map's value that may be null", "may be null"),
    "map compared": (with_value(read(R1, R0, 8)), None, None),
    "map compared the other way": (
        FOUND + jump(UNEQUAL, R0, 0, over=DONE) + read(R1, R0, 8) + put(R0, R1, 0) + DONE,
        None,
        None,
    ),
    "null": (
        FOUND + jump(UNEQUAL, R0, 0, over=read(R1, R0, 0) + DONE) + DONE,
        "read through register 0, which holds a constant",
        "read through register 0, which holds a number",
    ),
    "map compared with one": (FOUND + jump(EQUAL, R0, 1, over=read(R1, R0, 0)) + DONE, "may be null", "may be null"),
    "copy not compared": (
        FOUND + copy(R6, R0) + jump(EQUAL, R0, 0, over=read(R1, R6, 0)) + DONE,
        "read through register 6, which holds a map's value that may be null",
        "may be null",
    ),
    "kept copy not compared": (
        FOUND + put(R10, R0, -16) + jump(EQUAL, R0, 0, over=read(R6, R10, -16) + read(R1, R6, 0)) + DONE,
        "read through register 6, which holds a map's value that may be null",
        "may be null",
    ),
    "copied once compared": (with_value(copy(R6, R0) + put(R10, R0, -16) + read(R1, R6, 0)), None, None),
    "kept copy once compared": (with_value(put(R10, R0, -16) + read(R6, R10, -16) + read(R1, R6, 0)), None, None),
    "value past its end": (
        with_value(read(R1, R0, 16)),
        "an access of 8 bytes at 16 of a value of map table, which has 16",
        "of a value of map table",
    ),
    "value before": (with_value(read(R1, R0, -8)), "at -8 of a value", "at -8 of a value"),
    "value not aligned": (with_value(read(R1, R0, 4)), "not a multiple", "not a multiple"),
    "key not written": (
        stack(R2, -4) + map_of(R1, TABLE) + call(LOOKUP) + DONE,
        "4 bytes at -4 of the stack, not all of them written before, as the key of map_lookup_elem (instruction 4)",
        "as the key of map_lookup_elem",
    ),
    "key too short": (
        put_value(R10, 0, -8) + stack(R2, -2) + map_of(R1, TABLE) + call(LOOKUP) + DONE,
        "4 bytes at -2 of the stack as the key",
        "as the key",
    ),
    "key in a map": (
        with_value(copy(R2, R0) + map_of(R1, TABLE) + call(LOOKUP)),
        "a map's value as the key of map_lookup_elem",
        "a map's value as the key",
    ),
    "value not written": (
        KEYED + stack(R3, -24) + move(R4, 0) + map_of(R1, TABLE) + call(UPDATE) + DONE,
        "16 bytes at -24 of the stack, not all of them written before, as the value of map_update_elem",
        "as the value of map_update_elem",
    ),
    "value written": (
        ZEROED + KEYED + stack(R3, -16) + move(R4, 0) + map_of(R1, TABLE) + call(UPDATE) + DONE,
        None,
        None,
    ),
    "number as a map": (KEYED + move(R1, 0) + call(LOOKUP) + DONE, "a constant as the map of map_lookup", "as the map"),
    "wide number": (load64(R1, 1 << 40) + copy(R0, R1) + EXIT, None, None),
    "map of another type": (
        KEYED + map_of(R1, PROGRAMS) + call(LOOKUP) + DONE,
        "map programs given to map_lookup_elem, which takes none of its type",
        "map programs given to",
    ),
    # What helpers read and write.
    "destination written before": (reads(stack(R1, -16), before=ZEROED), None, None),
    "destination not written before": (
        reads(stack(R1, -16)),
        "not all of them written before, as the destination of probe_read (instruction 4)",
        None,
    ),
    "destination with a kept pointer": (
        reads(stack(R1, -16), before=ZEROED + put(R10, R1, -16)),
        "not all of them written before, as the destination",
        None,
    ),
    "kept pointer overwritten by a helper": (
        reads(stack(R1, -16), before=ZEROED + put(R10, R1, -16) + put_value(R10, 0, -16, BYTE) + read(R6, R10, -8)),
        "not all of them written",
        None,
    ),
    "destination at the frame's end": (reads(copy(R1, R10)), "the frame's end as the destination", "the frame's end"),
    "destination beside the stack": (
        reads(stack(R1, -8), before=ZEROED),
        "16 bytes at -8 of the stack as the destination",
        "16 bytes at -8",
    ),
    "destination in a map": (
        with_value(copy(R1, R0) + move(R2, 8) + move(R3, 0) + call(PROBE_READ)),
        "a map's value as the destination of probe_read (instruction 10)",
        "a map's value as the destination",
    ),
    "size unknown": (
        ZEROED + call(PID) + copy(R2, R0) + move(R3, 0) + stack(R1, -16) + call(PROBE_READ) + DONE,
        "a number that is not constant as the size of probe_read",
        "as the size of probe_read",
    ),
    "size bounded": (
        ZEROED
        + call(PID)
        + copy(R2, R0)
        + insn(0x57, to=R2, value=15)
        + move(R3, 0)
        + stack(R1, -16)
        + call(PROBE_READ)
        + DONE,
        "a number that is not constant as the size of probe_read",
        "as the size of probe_read",
    ),
    "size one of two": (
        ZEROED
        + call(PID)
        + move(R2, 8)
        + jump(EQUAL, R0, 0, over=move(R2, 16))
        + move(R3, 0)
        + stack(R1, -16)
        + call(PROBE_READ)
        + DONE,
        None,
        None,
    ),
    "size by a sum": (reads(stack(R1, -16), size=move(R2, 8) + add(R2, 8), before=ZEROED), "is not constant", None),
    "size by a comparison": (
        ZEROED
        + call(PID)
        + copy(R2, R0)
        + jump(EQUAL, R2, 16, over=DONE)
        + move(R3, 0)
        + stack(R1, -16)
        + call(PROBE_READ)
        + DONE,
        None,
        "as the size of probe_read",
    ),
    "size nothing": (reads(stack(R1, -16), size=move(R2, 0), before=ZEROED), "0 bytes at -16", "0 bytes at -16"),
    "size negative": (reads(stack(R1, -16), size=move(R2, -1), before=ZEROED), "-1 bytes at -16", "-1 bytes"),
    "size of 32 bits": (reads(stack(R1, -16), size=insn(0xB4, to=R2, value=16), before=ZEROED), None, None),
    "rewritten helper": (
        ZEROED + move(R3, 0) + move(R2, 16) + stack(R1, -16) + call(112) + DONE,
        None,
        None,
    ),
    "name": (ZEROED + stack(R1, -16) + move(R2, 16) + call(COMM) + DONE, None, None),
    "output": (
        ZEROED + move(R3, 0) + map_of(R2, EVENTS) + stack(R4, -16) + move(R5, 16) + call(OUTPUT) + DONE,
        None,
        None,
    ),
    "output not written before": (
        move(R3, 0) + map_of(R2, EVENTS) + stack(R4, -16) + move(R5, 16) + call(OUTPUT) + DONE,
        "not all of them written before, as the source of perf_event_output",
        "as the source of perf_event_output",
    ),
    "output without its context": (
        ZEROED + move(R1, 0) + move(R3, 0) + map_of(R2, EVENTS) + stack(R4, -16) + move(R5, 16) + call(OUTPUT) + DONE,
        "a constant as the context of perf_event_output",
        "as the context",
    ),
    "output of a map's value": (
        copy(R6, R1)
        + with_value(copy(R1, R6) + move(R3, 0) + map_of(R2, EVENTS) + copy(R4, R0) + move(R5, 16) + call(OUTPUT)),
        "a map's value as the source of perf_event_output",
        "a map's value as the source",
    ),
    "helper that is not known": (call(4000) + EXIT, "a call of a helper that is not known", "not known"),
    "helper of a newer kernel": (call(114) + EXIT, "a call of probe_read_user_str", "a call of probe_read_user_str"),
    # Branches.
    "branch not taken": (move(R1, 1) + jump(EQUAL, R1, 1, over=read(R2, R1, 0)) + DONE, None, None),
    "branch taken": (move(R1, 1) + jump(UNEQUAL, R1, 1, over=DONE) + DONE, None, None),
    "branch that may be taken": (move(R1, 1) + jump(EQUAL, R1, 2, over=read(R2, R1, 0)) + DONE, "read through", "read"),
    "known after a comparison": (
        call(PID) + jump(UNEQUAL, R0, 7, over=jump(EQUAL, R0, 7, over=read(R1, R0, 0))) + DONE,
        None,
        "read through register 0",
    ),
    "second comparison with null": (
        FOUND
        + copy(R6, R0)
        + jump(EQUAL, R6, 0, over=insn(0xB7, to=R1))
        + jump(EQUAL, R6, 0, over=read(R1, R6, 0))
        + DONE,
        None,
        "read through register 6, which holds a number",
    ),
    "one of two ways is bad": (
        call(PID) + jump(ABOVE, R0, 9, over=copy(R6, R0)) + copy(R0, R6) + EXIT,
        "read of register 6, which holds nothing (instruction 3)",
        "read of register 6",
    ),
    "sound way does not stand for a worse one": (
        # Falling through, the slot is written; taken, it is not.
        call(PID) + jump(ABOVE, R0, 9, over=put_value(R10, 0, -8)) + read(R0, R10, -8) + EXIT,
        "to which nothing was written",
        "to which nothing was written",
    ),
    # The program as a whole.
    "loop": (add(R1, 1) + insn(0x55, to=R1, offset=-2) + DONE, "a loop", "a loop"),
    "unreached": (DONE + DONE, "an instruction that nothing leads to (instruction 2)", "nothing leads to"),
    "out": (insn(0x05, offset=9) + DONE, "leads out of its function", "leads out of its function"),
    "no end": (move(R0, 0), "leads out of its function", "leads out of its function"),
    "empty": (b"", "no instruction", "no instruction"),
    "into a wide load": (
        insn(0x15, to=R1, offset=1) + load64(R0, 1) + EXIT,
        "leads out of its function",
        "leads out of its function",
    ),
    # Instructions.
    "call of a program": (call(0, of=1) + EXIT, "a call of another function", "a call of another function"),
    "jump on less": (insn(0xA5, to=R1, offset=0) + DONE, "a jump on less", "a jump on less"),
    "division": (move(R0, 7) + insn(0x37, to=R0, value=3) + EXIT, None, None),
    "division by zero": (move(R0, 7) + insn(0x37, to=R0, value=0) + EXIT, "a division by zero", "a division by zero"),
    "shift": (move(R0, 7) + insn(0x67, to=R0, value=63) + EXIT, None, None),
    "shift too far": (move(R0, 7) + insn(0x67, to=R0, value=64) + EXIT, "a shift by 64", "a shift by 64"),
    "shift too far for 32 bits": (move(R0, 7) + insn(0x64, to=R0, value=32) + EXIT, "a shift by 32", "a shift by 32"),
    "signed shift": (move(R0, 7) + insn(0xC7, to=R0, value=3) + EXIT, None, None),
    "signed shift of 32 bits": (move(R0, 7) + insn(0xC4, to=R0, value=3) + EXIT, "a signed shift", "a signed shift"),
    "negation": (move(R0, 7) + insn(0x87, to=R0) + EXIT, None, None),
    "swap": (move(R0, 7) + insn(0xDC, to=R0, value=16) + EXIT, None, None),
    "swap of 8 bits": (move(R0, 7) + insn(0xDC, to=R0, value=8) + EXIT, "a reserved field", "a reserved field"),
    "reserved field of a sum": (move(R0, 7) + insn(0x07, to=R0, source=R1) + EXIT, "a reserved field", "reserved"),
    "reserved field of a call": (insn(0x85, to=R1, value=PID) + EXIT, "a reserved field", "a reserved field"),
    "reserved field of a jump": (insn(0x05, value=1) + DONE, "a reserved field", "a reserved field"),
    "reserved field of a load": (insn(0x79, to=R0, source=R1, value=1) + EXIT, "a reserved field", "reserved"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rules", RULES, ids=lambda rules: str(rules.kernel))
def test_program_is_taken_or_refused(name: str, rules: Rules) -> None:
    code, *expected = CASES[name]
    why = expected[RULES.index(rules)]

    found = judge(code, rules)

    assert (found is None) == (why is None), found
    assert why is None or why in str(found)


def test_tracepoints_have_a_context_of_their_own() -> None:
    assert judge(read(R0, R1, 1024) + EXIT, V49, "tracepoint") is None
    assert "read of 8 bytes at 0 of its context" in str(judge(read(R0, R1, 0) + EXIT, V49, "tracepoint"))
    assert "read of 8 bytes at 2048 of its context" in str(judge(read(R0, R1, 2048) + EXIT, V49, "tracepoint"))


def test_lookups_of_each_map_keep_its_size() -> None:
    small = MapFacts("small", {"type": 1, "key_size": 4, "value_size": 8})
    code = decode(FOUND + jump(EQUAL, R0, 0, over=read(R1, R0, 8)) + DONE)

    assert [judge_old(code, {3: TABLE}, context=range(168), rules=each).refusal for each in RULES] == [None, None]
    assert "which has 8" in str(judge_old(code, {3: small}, context=range(168), rules=RULES[1]).refusal)


def test_map_that_is_not_defined_is_refused() -> None:
    found = judge_old(decode(FOUND + DONE), {}, context=range(168), rules=RULES[0]).refusal

    assert str(found) == "a load of a map that is not defined (instruction 3)"


def forks(count: int, *, differs: bool) -> bytes:
    """Branch so often, each way leaving the stack its own, or the same."""
    ways = [
        put_value(R10, 0, -8 * (index + 1)) if differs else move(R6, 0) + put_value(R10, 0, -8)
        for index in range(count)
    ]
    return call(PID) + b"".join(jump(ABOVE, R0, index + 9, over=way) for index, way in enumerate(ways)) + DONE


def test_paths_that_meet_in_one_state_are_followed_once() -> None:
    assert judge(ZEROED + move(R6, 0) + forks(60, differs=False)) is None


@pytest.mark.parametrize(
    ("rules", "steps"), [(V44, 32_768), (V49, 65_536)], ids=lambda value: str(getattr(value, "kernel", value))
)
def test_too_many_paths_are_refused(rules: Rules, steps: int) -> None:
    few, many = forks(9, differs=True), forks(15, differs=True)

    # The way on which more was written is followed first, and covers no other.
    assert judge(few, rules) is None
    assert f"more than {steps} instructions on all its paths" in str(judge(many, rules))


def test_limit_is_that_of_instructions_followed() -> None:
    straight = move(R0, 0) * 32_767 + EXIT

    assert judge(straight) is None
    assert "more than 32768 instructions" in str(judge(move(R0, 0) + straight))
    assert judge(move(R0, 0) + straight, V49) is None


def test_branches_that_wait_are_limited() -> None:
    waiting = b"".join(insn(ABOVE, to=R0, value=index, offset=1024 - index) for index in range(1024))

    assert judge(call(PID) + waiting + DONE) is None
    assert "more than 1024 branches at once" in str(
        judge(call(PID) + insn(ABOVE, to=R0, value=5, offset=1) + waiting + DONE)
    )


@pytest.mark.parametrize(
    ("helper", "map_type", "taken"),
    [(LOOKUP, 1, True), (LOOKUP, 4, False), (OUTPUT, 4, True), (OUTPUT, 1, False), (TAIL_CALL, 3, True), (27, 7, True)],
)
def test_helpers_take_maps_of_their_types(helper: int, map_type: int, taken: bool) -> None:
    assert takes_map(helper, map_type) is taken


def test_rules_are_of_kernels_in_order() -> None:
    assert [rules.kernel for rules in RULES] == [Kernel(4, 4), Kernel(4, 9)]


REGISTER = st.integers(0, 11)
OPCODES = st.sampled_from(
    bytes.fromhex("05 07 0f 15 18 25 55 57 61 62 63 69 71 79 7a 7b 85 95 b4 b7 bc bf db"),
)
INSTRUCTION = st.builds(
    lambda opcode, to, source, offset, value: (
        map_of(to % 10, MAPS[value % 3])
        if opcode == 0x18
        else insn(opcode, to=to, source=source, offset=offset, value=value)
    ),
    OPCODES,
    REGISTER,
    st.sampled_from([0, 0, 0, 1, 6, 10]),
    st.sampled_from([0, 0, 1, 2, 3, -4, -8, -16, 8]),
    st.sampled_from([0, 0, 1, 2, 4, 8, 14, 16, 25, -8, -16]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(INSTRUCTION, max_size=40), st.sampled_from(RULES))
def test_likely_code_has_an_answer(parts: list[bytes], rules: Rules) -> None:
    found = judge(b"".join(parts) + DONE, rules)

    assert found is None or (found.at >= 0 and str(found).isprintable())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64 * 8).map(lambda data: data[: len(data) // 8 * 8]), st.sampled_from(RULES))
def test_arbitrary_code_has_an_answer(data: bytes, rules: Rules) -> None:
    try:
        code = decode(data)
    except ValueError:
        return

    found = judge_old(code, {}, context=range(168), rules=rules).refusal

    assert found is None or str(found).isprintable()


@pytest.fixture
def made() -> Iterator[dict[int, int]]:
    """Make each of MAPS; yield their descriptors by their places there."""
    fds = {place: _native.map_create(each.type, each.key_bytes, each.value_bytes, 1) for place, each in enumerate(MAPS)}
    yield fds
    for fd in fds.values():
        os.close(fd)


def linked(code: bytes, fds: dict[int, int]) -> bytes:
    """Put descriptors of maps where their places in MAPS stand."""
    whole = bytearray(code)
    for each in decode(code):
        if each.opcode == 0x18 and each.source:
            struct.pack_into("<i", whole, each.at * 8 + 4, fds[each.immediate])
    return bytes(whole)


# What newer verifiers refuse even of root, and old ones did not: arithmetic that makes numbers of addresses.
NEWER: Final = ("pointer arithmetic", "pointer prohibited", "math between", "subtract", "makes")


@pytest.mark.kernel
def test_what_old_verifiers_take_this_kernel_takes(made: dict[int, int]) -> None:
    taken = {name: code for name, (code, *refused) in CASES.items() if refused == [None, None]}

    answers = {name: load_program(KPROBE, linked(code, made)) for name, code in taken.items()}

    assert len(taken) >= 30
    assert {name: words for name, (is_taken, words) in answers.items() if not is_taken} == {}


@pytest.mark.kernel
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(INSTRUCTION, max_size=12))
def test_what_old_verifiers_take_of_likely_code_this_kernel_takes(made: dict[int, int], parts: list[bytes]) -> None:
    code = ZEROED + copy(R6, R1) + b"".join(parts) + DONE
    if any(judge(code, rules) for rules in RULES):
        return

    is_taken, words = load_program(KPROBE, linked(code, made))

    assert is_taken or any(each in words for each in NEWER), words
