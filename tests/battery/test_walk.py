"""What verifiers from 4.11 to 5.7 take and refuse: programs put together by hand, a pair or more for each rule.

tests/data/objects has objects of an earlier battery with what real kernels said of each of their programs.
"""

import json
import lzma
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.battery.test_verifier import (
    DONE,
    EQUAL,
    EVENTS,
    FOUND,
    INSTRUCTION,
    KEYED,
    LONG,
    LOOKUP,
    MAPS,
    OUTPUT,
    PID,
    PROBE_READ,
    PROGRAMS,
    TABLE,
    TAIL_CALL,
    UNEQUAL,
    UPDATE,
    WORD,
    ZEROED,
    add,
    copy,
    jump,
    map_of,
    move,
    put,
    put_value,
    read,
    stack,
    with_value,
)
from tests.support.assembly import EXIT, R0, R1, R2, R3, R4, R5, R6, R7, R8, R10, call, insn, load64
from tests.support.paths import TESTS
from traceleft.battery.objects.elf import inspect_object
from traceleft.battery.objects.insns import decode
from traceleft.battery.since import Kernel, load_since
from traceleft.battery.verifier.before_4_11 import judge_old
from traceleft.battery.verifier.era import ERAS, Era
from traceleft.battery.verifier.floor import find_floor
from traceleft.battery.verifier.shape import Refusal
from traceleft.battery.verifier.verifier_rules import CONTEXTS, RULES
from traceleft.battery.verifier.walk import Walk, judge

OBJECTS: Final = TESTS / "data" / "objects"
READ_STR: Final = 45
V411, V414, V418, V53 = ERAS


def refusal(code: bytes, era: Era, context: str = "kprobe", kernel: Kernel | None = None) -> Refusal | None:
    instructions = decode(code)
    maps = {each.at: MAPS[each.immediate] for each in instructions if each.opcode == 0x18 and each.source}
    return judge(instructions, maps, context=CONTEXTS[context], era=era, kernel=kernel).refusal


def alu(operation: int, to: int, value: int) -> bytes:
    return insn(0x07 | operation, to=to, value=value)


def added(to: int, source: int) -> bytes:
    return insn(0x0F, to=to, source=source)


def masked(to: int, mask: int) -> bytes:
    return alu(0x50, to, mask)


def reads(size: bytes, *, into: bytes = copy(R1, R6), helper: int = PROBE_READ) -> bytes:
    """Read into a map's value, in register 6, or elsewhere; register 7 has a number that nothing is known about."""
    body = copy(R6, R0) + call(PID) + copy(R7, R0) + size + move(R3, 0) + into + call(helper) + copy(R8, R0)
    return FOUND + jump(EQUAL, R0, 0, over=body + move(R0, 0)) + EXIT


def placed(number: bytes, size: int = LONG) -> bytes:
    """Read a map's value at a place that a number of register 7 makes."""
    body = copy(R6, R0) + call(PID) + copy(R7, R0) + number + added(R6, R7) + read(R1, R6, 0, size)
    return with_value(body)


SPILLED: Final = masked(R7, 7) + put(R10, R7, -24) + read(R2, R10, -24)
NULLED: Final = copy(R6, R0) + jump(EQUAL, R6, 0, over=read(R1, R0, 0))
UNBOUND, HIGH, NEGATIVE = "has no lower bound", "without an upper bound", "may be negative, or without bounds"
NO_NUMBER = "which holds a number"

# What is done, and why verifiers of 4.11, 4.14, 4.18 and 5.3 refuse it; None where they take it.
CASES: Final[dict[str, tuple[Any, ...]]] = {
    "nothing": (DONE, None, None, None, None),
    # Places in a map's value.
    "value by a constant": (with_value(add(R0, 8) + read(R1, R0, 0)), *[None] * 4),
    "value past its end": (with_value(add(R0, 8) + read(R1, R0, 8)), *["of a value of map table"] * 4),
    "value before": (with_value(add(R0, -8) + read(R1, R0, 0)), "before its value", *["at -8 of a value"] * 3),
    "value before and back": (with_value(add(R0, -8) + add(R0, 8) + read(R1, R0, 0)), "before", None, None, None),
    "value by a masked number": (placed(masked(R7, 8)), *[None] * 4),
    "value by a number masked too far": (placed(masked(R7, 15)), *["of a value of map table"] * 4),
    "value by any number": (placed(b""), "before its value", *[UNBOUND] * 3),
    "value by a shifted number": (placed(alu(0x70, R7, 63)), "before its value", None, None, None),
    "value by a compared number": (placed(insn(0x25, to=R7, offset=2, value=8)), *[None] * 4),
    "value by a number on a path that cannot be": (
        # Above 8 and not above 8: only 5.0 and later see that, and the bounds contradict each other.
        placed(insn(0x25, to=R7, offset=0, value=8) + insn(0x25, to=R7, offset=2, value=8)),
        None,
        *[NO_NUMBER] * 2,
        None,
    ),
    "value by a number compared with its sign": (
        placed(insn(0x65, to=R7, offset=2, value=8)),
        "before its value",
        *[UNBOUND] * 3,
    ),
    "number plus value": (with_value(move(R7, 8) + added(R7, R0) + read(R1, R7, 0)), NO_NUMBER, None, None, None),
    "value minus value": (with_value(copy(R7, R0) + insn(0x1F, to=R7, source=R0)), *[None] * 4),
    "value plus value": (with_value(copy(R7, R0) + added(R7, R0)), None, *["arithmetic with a map's value"] * 3),
    "mask of a value": (with_value(masked(R0, 7)), None, *["makes a number of it"] * 3),
    "32-bit sum with a value": (with_value(insn(0x04, to=R0, value=8)), None, *["makes a number of it"] * 3),
    "value that may be null": (FOUND + add(R0, 8) + DONE, None, *["may be null"] * 3),
    "value not aligned": (with_value(read(R1, R0, 4)), "not a multiple", None, None, None),
    "copy of a value compared": (FOUND + NULLED + DONE, *[None] * 4),
    "null read": (FOUND + jump(UNEQUAL, R0, 0, over=read(R1, R0, 0)) + DONE, *[NO_NUMBER] * 4),
    "sum in a value": (with_value(move(R1, 1) + insn(0xDB, to=R0, source=R1, offset=8)), *[None] * 4),
    "sum in a value not aligned": (
        with_value(move(R1, 1) + insn(0xDB, to=R0, source=R1, offset=4)),
        "not a multiple",
        *["is not aligned"] * 3,
    ),
    # Sizes.
    "size masked": (reads(copy(R2, R7) + masked(R2, 7) + add(R2, 1)), *[None] * 4),
    "size masked in another register": (reads(masked(R7, 7) + copy(R2, R7) + add(R2, 1)), *[None] * 4),
    "size that may be 0": (reads(copy(R2, R7) + masked(R2, 7)), "may be 0", "may be 0", None, None),
    "size of 0": (reads(move(R2, 0)), "may be 0", "may be 0", None, None),
    "size too large": (reads(copy(R2, R7) + masked(R2, 31) + add(R2, 1)), *["of a value of map table"] * 4),
    "size unknown": (reads(copy(R2, R7)), *[NEGATIVE] * 4),
    "size kept on the stack": (reads(SPILLED + add(R2, 1)), *[NEGATIVE] * 4),
    "constant size kept on the stack": (
        reads(move(R7, 8) + put(R10, R7, -24) + read(R2, R10, -24)),
        *[NEGATIVE] * 3,
        None,
    ),
    "size from a byte": (reads(read(R2, R6, 0, 0x10) + alu(0x70, R2, 5) + add(R2, 1)), NEGATIVE, None, None, None),
    "size by an upper bound alone": (
        reads(copy(R2, R7) + insn(0x65, to=R2, offset=1, value=8) + insn(0x05, offset=2) + DONE),
        *[NEGATIVE] * 4,
    ),
    "result as a size": (
        reads(move(R2, 8) + move(R3, 0) + copy(R1, R6) + call(READ_STR) + copy(R2, R0)),
        NEGATIVE,
        NEGATIVE,
        None,
        NEGATIVE,
    ),
    # What helpers take.
    "key in a map": (with_value(copy(R2, R0) + map_of(R1, TABLE) + call(LOOKUP)), *["the key of"] * 2, None, None),
    "value in a map": (
        with_value(copy(R3, R0) + stack(R2, -4) + move(R4, 0) + map_of(R1, TABLE) + call(UPDATE)),
        *["a map's value as the value of map_update_elem"] * 2,
        None,
        None,
    ),
    "value in a map past its end": (
        with_value(copy(R3, R0) + add(R3, 8) + stack(R2, -4) + move(R4, 0) + map_of(R1, TABLE) + call(UPDATE)),
        *["as the value of map_update_elem"] * 2,
        *["of a value of map table"] * 2,
    ),
    "output of a map's value": (
        copy(R6, R1)
        + with_value(copy(R1, R6) + move(R3, 0) + map_of(R2, EVENTS) + copy(R4, R0) + move(R5, 16) + call(OUTPUT)),
        *[None] * 4,
    ),
    "context with something added": (
        copy(R6, R1)
        + add(R6, 8)
        + with_value(copy(R1, R6) + move(R3, 0) + map_of(R2, EVENTS) + copy(R4, R0) + move(R5, 16) + call(OUTPUT)),
        "as the context",
        *["with something added"] * 3,
    ),
    "tail calls into two maps": (
        copy(R6, R1)
        + call(PID)
        + map_of(R2, PROGRAMS)
        + jump(EQUAL, R0, 7, over=map_of(R2, EVENTS))
        + copy(R1, R6)
        + move(R3, 0)
        + call(TAIL_CALL)
        + DONE,
        *["takes none of its type"] * 4,
    ),
    "helper of a newer kernel": (call(80) + DONE, *["a call of get_current_cgroup_id"] * 2, None, None),
    # The stack.
    "stack by a masked number": (
        ZEROED + call(PID) + masked(R0, 8) + stack(R6, -16) + added(R6, R0) + read(R1, R6, 0) + DONE,
        NO_NUMBER,
        *["a place on the stack that is not known"] * 3,
    ),
    "stack minus a constant": (
        ZEROED + stack(R6, -8) + alu(0x10, R6, 8) + read(R1, R6, 0) + DONE,
        NO_NUMBER,
        *["makes a number of it"] * 3,
    ),
    "part of a kept pointer overwritten": (
        put(R10, R1, -8) + put_value(R10, 0, -8, 0x10) + read(R1, R10, -4, WORD) + DONE,
        *["a part of a pointer"] * 3,
        None,
    ),
    "part of a kept constant": (move(R1, 7) + put(R10, R1, -8) + read(R2, R10, -8, WORD) + DONE, *[None] * 4),
    "stack not all written": (put_value(R10, 0, -8, WORD) + read(R0, R10, -8) + EXIT, *["nothing was written"] * 4),
    # Branches that are decided.
    "other constant": (
        move(R1, 1)
        + jump(EQUAL, R1, 2, over=b"")
        + insn(0x15, to=R1, offset=1, value=2)
        + DONE[:0]
        + insn(0x05, offset=1)
        + read(R2, R1, 0)
        + DONE,
        *[NO_NUMBER] * 2,
        None,
        None,
    ),
    "zero on the stack": (
        move(R1, 0) + put(R10, R1, -8) + read(R2, R10, -8) + jump(EQUAL, R2, 0, over=read(R3, R2, 0)) + DONE,
        *[NO_NUMBER] * 2,
        None,
        None,
    ),
    "number out of range": (
        call(PID)
        + masked(R0, 7)
        + insn(0x25, to=R0, offset=1, value=9)
        + insn(0x05, offset=1)
        + read(R2, R0, 0)
        + DONE,
        *[NO_NUMBER] * 3,
        None,
    ),
    # The context.
    "context by a constant": (add(R1, 8) + read(R0, R1, 0) + EXIT, "read through", *["something added"] * 3),
    "context past its end": (read(R0, R1, 168) + EXIT, *["of its context"] * 4),
    # Instructions.
    "jump on less": (move(R1, 1) + insn(0xA5, to=R1, value=7) + DONE, "a jump on less", None, None, None),
    "32-bit jump": (move(R1, 1) + insn(0x16, to=R1, value=7) + DONE, *["a 32-bit jump"] * 3, None),
    "signed shift of 32 bits": (move(R1, 8) + insn(0xC4, to=R1, value=1) + DONE, *["a signed shift"] * 3, None),
    "call of a function": (call(0, of=1) + EXIT, *["a call of another function"] * 4),
    "loop": (move(R1, 9) + add(R1, -1) + insn(UNEQUAL, to=R1, offset=-2) + DONE, *["a loop"] * 4),
    "unreached": (DONE + DONE, *["nothing leads to"] * 4),
    "write to the frame pointer": (move(R10, 0) + DONE, *["a write to the frame pointer"] * 4),
    "wide number": (load64(R1, 1 << 40) + copy(R0, R1) + EXIT, *[None] * 4),
    "half a wide load": (insn(0x18, to=R1) + call(PID) + DONE, *["a reserved field"] * 4),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("era", ERAS, ids=lambda era: str(era.kernel))
def test_program_is_taken_or_refused(name: str, era: Era) -> None:
    code, *expected = CASES[name]
    why = expected[ERAS.index(era)]

    found = refusal(code, era)

    assert (found is None) == (why is None), found
    assert why is None or why in str(found)


def test_raw_tracepoints_have_twelve_arguments() -> None:
    assert refusal(read(R0, R1, 88) + EXIT, V418, "raw tracepoint") is None
    assert "at 96 of its context" in str(refusal(read(R0, R1, 96) + EXIT, V418, "raw tracepoint"))


def test_feature_that_came_within_an_era_is_taken_from_its_kernel_on() -> None:
    code = move(R1, 1) + insn(0x16, to=R1, value=7) + DONE

    assert "a 32-bit jump" in str(refusal(code, V418))
    assert refusal(code, V418, kernel=Kernel(5, 1)) is None


def forks(count: int) -> bytes:
    """Branch so often, each way leaving the stack its own, which is read at the end."""
    ways = [put(R10, R10, -8 * (index + 1)) for index in range(count)]
    filled = b"".join(put_value(R10, 0, -8 * (index + 1)) for index in range(count))
    used = b"".join(read(R1, R10, -8 * (index + 1)) for index in range(count))
    branches = b"".join(jump(0x45, R0, 1 << index, over=way) for index, way in enumerate(ways))
    return filled + call(PID) + branches + used + DONE


@pytest.mark.parametrize("era", ERAS[:3], ids=lambda era: str(era.kernel))
def test_too_many_paths_are_refused(era: Era) -> None:
    assert refusal(forks(6), era) is None
    assert f"more than {era.steps_max} instructions on all its paths" in str(refusal(forks(19), era))


def test_only_what_is_read_later_is_compared() -> None:
    dead = call(PID) + b"".join(jump(0x45, R0, 1, over=move(R6, index)) for index in range(40)) + DONE

    code = decode(dead)
    walk = Walk(code, {}, CONTEXTS["kprobe"], V418)
    walk.follow()

    assert walk.count < 4 * len(code)


def test_instruction_of_the_context_on_one_path_alone_is_refused() -> None:
    code = (
        (ZEROED + copy(R6, R1) + call(PID) + copy(R7, R6) + jump(EQUAL, R0, 3, over=copy(R7, R10) + add(R7, -8)))
        + read(R0, R7, 0)
        + EXIT
    )

    assert all("its context on one path" in str(refusal(code, era)) for era in ERAS)


@pytest.mark.parametrize("name", CASES)
def test_verdict_that_is_plain_is_that_of_all_later_verifiers(name: str) -> None:
    code = decode(CASES[name][0])
    maps = {each.at: MAPS[each.immediate] for each in code if each.opcode == 0x18 and each.source}

    old = judge_old(code, maps, context=CONTEXTS["kprobe"], rules=RULES[1])
    verdicts = [judge(code, maps, context=CONTEXTS["kprobe"], era=era) for era in ERAS]

    plain = next((place for place, each in enumerate((old, *verdicts)) if each.is_plain), len(verdicts))
    assert [each.refusal for each in verdicts[plain:]] == [None] * len(verdicts[plain:])


@settings(max_examples=150, deadline=None)
@given(st.lists(INSTRUCTION, max_size=30), st.sampled_from(ERAS))
def test_likely_code_has_an_answer(parts: list[bytes], era: Era) -> None:
    found = refusal(ZEROED + b"".join(parts) + DONE, era)

    assert found is None or (found.at >= 0 and str(found).isprintable())


@settings(max_examples=200, deadline=None)
@given(st.lists(INSTRUCTION, max_size=30))
def test_likely_code_that_is_plain_is_taken_later(parts: list[bytes]) -> None:
    code = decode(ZEROED + KEYED + b"".join(parts) + DONE)
    maps = {each.at: MAPS[each.immediate] for each in code if each.opcode == 0x18 and each.source}
    old = judge_old(code, maps, context=CONTEXTS["kprobe"], rules=RULES[1])

    verdicts = [judge(code, maps, context=CONTEXTS["kprobe"], era=era) for era in ERAS]

    assert not old.is_plain or not any(each.refusal for each in verdicts)
    assert not verdicts[1].is_plain or not any(each.refusal for each in verdicts[2:])


KEPT: Final[list[dict[str, Any]]] = json.loads((OBJECTS / "verdicts.json").read_text())


def kept(name: str) -> bytes:
    return lzma.decompress((OBJECTS / name).read_bytes())


@pytest.mark.parametrize("entry", KEPT, ids=lambda entry: entry["object"])
def test_objects_are_judged_as_real_kernels_judged_them(entry: dict[str, Any]) -> None:
    facts = inspect_object(kept(entry["object"]))
    maps, programs = {each.name: each for each in facts.maps}, {each.name: each for each in facts.programs}
    eras = {str(era.kernel): era for era in ERAS}

    for verdict in entry["verdicts"]:
        program = programs[verdict["program"]]
        used = {at: maps[name] for at, name in program.maps.items()}
        context = CONTEXTS[load_since().sections[program.section.split("/")[0]].name]
        found = judge(program.code, used, context=context, era=eras[verdict["era"]]).refusal
        assert (found and str(found)) == verdict.get("why"), verdict


@pytest.mark.parametrize("entry", KEPT, ids=lambda entry: entry["object"])
def test_objects_that_a_kernel_refused_are_no_longer_for_their_level(entry: dict[str, Any]) -> None:
    floor = find_floor(kept(entry["object"]))

    is_refused = any("words" in verdict for verdict in entry["verdicts"])
    assert (floor.kernel > Kernel.parse(entry["level"])) == is_refused, floor.reasons[:1]
