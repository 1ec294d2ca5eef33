"""Arithmetic that breaks the verifiers of 4.14 to 4.19.0: what is reported, and what is not."""

import lzma
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.battery.test_verifier import (
    DONE,
    EQUAL,
    FOUND,
    INSTRUCTION,
    MAPS,
    PID,
    ZEROED,
    add,
    copy,
    jump,
    move,
    put,
    read,
    stack,
    with_value,
)
from tests.battery.test_walk import KEPT, OBJECTS
from tests.support.assembly import EXIT, R0, R1, R2, R6, R7, R10, call, insn
from traceleft.battery.level import LEVELS
from traceleft.battery.objects.elf import inspect_object
from traceleft.battery.objects.insns import decode
from traceleft.battery.since import NEVER
from traceleft.battery.verifier.floor import check_floor, find_floor
from traceleft.battery.verifier.hazard import find_hazards
from traceleft.errors import BatteryError

NUMBER: Final = move(R7, 8)


def added(to: int, source: int, operation: int = 0x0F) -> bytes:
    return insn(operation, to=to, source=source)


def places(code: bytes) -> list[int]:
    instructions = decode(code)
    maps = {each.at: MAPS[0] for each in instructions if each.opcode == 0x18 and each.source == 1}
    return [each.at for each in find_hazards(instructions, maps)]


HAZARDS: Final = {
    "number plus value": with_value(NUMBER + added(R7, R0)),
    "number minus value": with_value(NUMBER + added(R7, R0, 0x1F)),
    "number and value": with_value(NUMBER + added(R7, R0, 0x5F)),
    "value not compared with null": FOUND + NUMBER + added(R7, R0) + DONE,
    "value that was moved": with_value(copy(R6, R0) + NUMBER + added(R7, R6)),
    "value kept on the stack": with_value(put(R10, R0, -24) + NUMBER + read(R2, R10, -24) + added(R7, R2)),
    "value kept through an address": with_value(
        stack(R6, -24) + put(R6, R0, 0) + NUMBER + read(R2, R10, -24) + added(R7, R2)
    ),
    "value read through an address": with_value(
        put(R10, R0, -24) + stack(R6, -32) + NUMBER + read(R2, R6, 8) + added(R7, R2)
    ),
    "value with a number added": with_value(copy(R6, R0) + add(R6, 8) + NUMBER + added(R7, R6)),
    "number on one of two ways": with_value(
        copy(R6, R0) + call(PID) + copy(R7, R6) + jump(EQUAL, R0, 7, over=NUMBER) + added(R7, R6)
    ),
    "number from memory": with_value(read(R7, R0, 0) + added(R7, R0)),
}
SOUND: Final = {
    "value plus number": with_value(NUMBER + added(R0, R7)),
    "value minus constant": with_value(add(R0, -8)),
    "number plus number": NUMBER + call(PID) + added(R7, R0) + DONE,
    "number plus stack": ZEROED + NUMBER + added(R7, R10) + DONE,
    "number plus context": NUMBER + added(R7, R1) + DONE,
    "32-bit sum": with_value(NUMBER + added(R7, R0, 0x0C)),
    "number or value": with_value(NUMBER + added(R7, R0, 0x4F)),
    "part of a value's address": with_value(insn(0xBC, to=R6, source=R0) + NUMBER + added(R7, R6)),
    "content of a value": with_value(read(R6, R0, 0) + NUMBER + added(R7, R6)),
    "register lost in a call": with_value(copy(R1, R0) + NUMBER + call(PID) + added(R7, R0)),
    "kept value overwritten": with_value(
        put(R10, R0, -24) + NUMBER + put(R10, R7, -24) + read(R2, R10, -24) + added(R7, R2)
    ),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_address_added_to_a_number_is_found(name: str) -> None:
    found = places(HAZARDS[name])

    assert len(found) == 1
    assert decode(HAZARDS[name])[[each.at for each in decode(HAZARDS[name])].index(found[0])].opcode in (15, 31, 95)


@pytest.mark.parametrize("name", SOUND)
def test_other_arithmetic_is_left_alone(name: str) -> None:
    assert places(SOUND[name]) == []


def test_all_places_are_found_in_order() -> None:
    code = with_value(NUMBER + added(R7, R0) + move(R6, 1) + added(R6, R0))

    found = places(code)

    assert len(found) == 2
    assert found == sorted(found)


def test_loops_end() -> None:
    code = move(R6, 0) + FOUND + copy(R7, R0) + added(R6, R7) + insn(0x15, to=R6, offset=-3, value=1) + DONE

    assert len(places(code)) == 1


@pytest.mark.parametrize("entry", KEPT, ids=lambda entry: entry["object"])
def test_objects_have_the_hazards_that_were_counted(entry: dict[str, object]) -> None:
    data = lzma.decompress((OBJECTS / str(entry["object"])).read_bytes())

    found = sum(len(find_hazards(program.code, program.maps)) for program in inspect_object(data).programs)

    assert found == entry["hazards"]


def test_object_with_a_hazard_is_refused_on_every_level_before_all_else() -> None:
    entry = next(entry for entry in KEPT if entry["hazards"])
    floor = find_floor(lzma.decompress((OBJECTS / entry["object"]).read_bytes()))

    assert floor.kernel == NEVER
    for level in LEVELS.values():
        with pytest.raises(
            BatteryError, match=r"a map's address added to a number, on which the verifiers of 4\.14 to"
        ):
            check_floor(floor, level)


@settings(max_examples=150, deadline=None)
@given(st.lists(INSTRUCTION, max_size=40))
def test_any_code_has_an_answer(parts: list[bytes]) -> None:
    code = decode(b"".join(parts) + EXIT)

    assert all(each.at in {known.at for known in code} for each in find_hazards(code))
