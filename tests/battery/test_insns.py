"""Instructions, decoded: what a function calls and needs, where it loops, how deep it goes."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.assembly import EXIT, R0, R1, R2, R3, R10, call, insn, load64
from traceleft.battery.objects.flow import has_loop
from traceleft.battery.objects.insns import UNKNOWN, decode, read_code
from traceleft.battery.since import load_since


def features(*code: bytes) -> set[str]:
    return set(read_code(b"".join(code) + EXIT).features)


def test_second_half_of_a_wide_load_is_no_instruction_of_its_own() -> None:
    hidden_call = insn(0x18) + call(77)

    found = read_code(hidden_call + call(5) + EXIT)

    assert (found.count, found.helpers) == (4, frozenset({5}))
    assert [each.at for each in decode(hidden_call + call(5) + EXIT)] == [0, 2, 3]


def test_big_endian_registers_are_the_other_way_round() -> None:
    code = struct.pack(">BBhi", 0xBF, 0x12, 0, -2)

    (found,) = decode(code, byte_order="big")

    assert (found.destination, found.source, found.immediate) == (1, 2, -2)


def test_calls_are_told_apart_by_source_register() -> None:
    helper, program, kfunc = (read_code(call(9, of=source) + EXIT) for source in (0, 1, 2))

    assert (helper.helpers, helper.calls, helper.features) == (frozenset({9}), (), frozenset())
    assert (program.helpers, program.calls, program.features) == (frozenset(), ((0, 9),), frozenset({"program_call"}))
    assert (kfunc.helpers, kfunc.features) == (frozenset(), frozenset({"kfunc"}))


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        (insn(0x15, offset=0), set()),
        (insn(0xA5, offset=0), {"jlt"}),
        (insn(0xDD, offset=0), {"jlt"}),
        (insn(0x16, offset=0), {"jmp32"}),
        (insn(0x06, value=0), {"cpu_v4"}),
        (insn(0xE5, offset=0), {"may_goto"}),
        (insn(0x04, value=1), set()),
        (insn(0xBC, to=R1), set()),
        (insn(0xBF, to=R1, offset=8), {"cpu_v4"}),
        (insn(0xBF, to=R1, offset=1), {"arena"}),
        (insn(0x3F, to=R1, offset=1), {"cpu_v4"}),
        (insn(0xD7, value=64), {"cpu_v4"}),
        (insn(0xDC, value=64), set()),
        (insn(0x81, to=R1, source=R10, offset=-8), {"cpu_v4"}),
        (insn(0xDB, to=R10, offset=-8, value=0), set()),
        (insn(0xC3, to=R10, offset=-8, value=0), set()),
        (insn(0xDB, to=R10, offset=-8, value=1), {"atomic"}),
        (insn(0xDB, to=R10, offset=-8, value=0x40), {"atomic"}),
        (insn(0xD3, to=R10, offset=-8, value=0x110), {"load_acquire"}),
        (insn(0xD3, to=R10, offset=-8, value=0), {UNKNOWN}),
        (insn(0xF7), {UNKNOWN}),
        (insn(0x20), {UNKNOWN}),
        (call(1, of=3), {UNKNOWN}),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "+".join(value) or "nothing",
)
def test_instruction_needs(code: bytes, needed: set[str]) -> None:
    assert features(code) == needed
    assert needed - {UNKNOWN} <= load_since().features.keys()


@pytest.mark.parametrize(
    ("source", "needed"), [(1, set()), (2, {"global_data"}), (4, {"callback"}), (5, {"map_index"}), (9, {UNKNOWN})]
)
def test_64_bit_load_needs_what_its_source_says(source: int, needed: set[str]) -> None:
    assert features(insn(0x18, to=R1, source=source) + insn(0)) == needed


def test_jump_back_that_closes_a_circle_is_a_loop() -> None:
    body = insn(0x07, to=R1, value=1) + insn(0x55, to=R1, offset=-2, value=9)

    assert "loop" in features(body)


def test_jump_back_without_a_circle_is_no_loop() -> None:
    # 0: to 3; 1: to 4; 3: back to 1.
    code = insn(0x05, offset=2) + insn(0x05, offset=2) + insn(0xB7) + insn(0x05, offset=-3) + insn(0xB7)

    assert features(code) == set()


def test_loop_that_nothing_reaches_is_none() -> None:
    assert not has_loop({0: (), 1: (1,)})


def test_long_function_is_walked_without_recursion() -> None:
    count = 200_000

    assert has_loop({**{place: (place + 1,) for place in range(count)}, count: (0,)})


def test_stack_is_as_deep_as_it_is_used() -> None:
    direct = insn(0x7B, to=R10, source=R1, offset=-24)
    through = insn(0xBF, to=R2, source=R10) + insn(0x07, to=R2, value=-40)

    assert read_code(direct + EXIT).stack_bytes == 24
    assert read_code(through + EXIT).stack_bytes == 40
    assert read_code(through + insn(0x7B, to=R2, source=R1, offset=-8) + EXIT).stack_bytes == 48


def test_register_that_was_set_anew_is_no_address_on_the_stack() -> None:
    code = insn(0xBF, to=R2, source=R10) + insn(0xB7, to=R2, value=0) + insn(0x07, to=R2, value=-600)

    assert read_code(code + EXIT).stack_bytes == 0


@pytest.mark.parametrize("cpu", [load64(R3, 0xFFFF_FFFF), insn(0xB4, to=R3, value=-1)], ids=["wide", "mov32"])
def test_output_to_the_current_cpu_is_seen(cpu: bytes) -> None:
    assert features(cpu, call(25)) == {"current_cpu"}
    assert features(cpu, call(26)) == set()
    assert features(cpu, insn(0xBF, to=R3, source=R0), call(25)) == set()


@pytest.mark.parametrize(
    "code",
    [b"\0" * 7, insn(0x18), insn(0x05, offset=5), insn(0x05, offset=-2), insn(0xB7)],
    ids=["odd", "cut", "out", "before", "end"],
)
def test_code_that_is_none_is_refused(code: bytes) -> None:
    with pytest.raises(ValueError):
        read_code(code)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64 * 8).map(lambda data: data[: len(data) // 8 * 8]))
def test_arbitrary_code_raises_nothing_but_a_value_error(code: bytes) -> None:
    try:
        found = read_code(code)
    except ValueError:
        return
    assert found.count == len(code) // 8
