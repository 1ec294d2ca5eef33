"""Programs that crash the verifiers of 4.14 to 4.19.0 are refused before any kernel sees them."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.assembly import EXIT, R0, R1, R2, R6, R7, R8, R10, call, insn
from tests.support.paths import TESTS
from traceleft.errors import ProbeError
from traceleft.tracer import _native
from traceleft.tracer.session.attach import convert_error

NONE, SUM, CALL = 0, 1, 2
LOOKUP, PID = 1, 14
PSEUDO_CALL: Final = 1
# 64-bit: move, add, subtract a register; a jump where a register is 0; the other way round.
MOVE, ADD, SUBTRACT, AND, JUMP_ZERO = 0xBF, 0x0F, 0x1F, 0x5F, 0x15
MOVE32, MOVE_VALUE = 0xBC, 0xB7
STORE, LOAD = 0x7B, 0x79

Find = Callable[..., tuple[int, int]]

# r6 is a map's value, r7 a number.
VALUE = call(LOOKUP) + insn(JUMP_ZERO, to=R0, offset=0) + insn(MOVE, to=R6, source=R0)
NUMBER = call(PID) + insn(MOVE, to=R7, source=R0)
BOTH = VALUE + NUMBER
SUM_AT = len(BOTH) // 8
HAZARD = insn(ADD, to=R7, source=R6)
DONE = insn(MOVE_VALUE, to=R0) + EXIT


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Return what looks for a hazard under sanitizers: its kind, and the instruction."""
    program = tmp_path_factory.mktemp("hazard") / "hazard"
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    sources = (TESTS / "data/hazard.c", TESTS.parent / "tracer/native/hazard.c")
    subprocess.run(
        ["gcc", "-g", "-O1", *sanitizers, f"-I{TESTS.parent / 'tracer/native'}", *sources, "-o", program], check=True
    )

    def run(code: bytes, *, calls_are_safe: bool = False) -> tuple[int, int]:
        done = subprocess.run([program], input=bytes([calls_are_safe]) + code, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        kind, at = map(int, done.stdout.split())
        return kind, at

    return run


def test_a_number_plus_a_value_is_found(find: Find) -> None:
    assert find(BOTH + HAZARD + DONE) == (SUM, SUM_AT)


def test_a_value_plus_a_number_is_allowed(find: Find) -> None:
    assert find(BOTH + insn(ADD, to=R6, source=R7) + DONE)[0] == NONE


def test_a_value_less_a_number_stays_a_value(find: Find) -> None:
    assert find(BOTH + insn(SUBTRACT, to=R6, source=R7) + HAZARD + DONE) == (SUM, SUM_AT + 1)


@pytest.mark.parametrize("operation", [SUBTRACT, AND], ids=["subtracted", "and"])
def test_other_sums_that_4_14_makes_addresses_of_are_found(find: Find, operation: int) -> None:
    assert find(BOTH + insn(operation, to=R7, source=R6) + DONE) == (SUM, SUM_AT)


def test_a_value_moved_as_32_bits_is_a_number(find: Find) -> None:
    assert find(BOTH + insn(MOVE32, to=R6, source=R6) + HAZARD + DONE)[0] == NONE


def test_a_value_is_known_again_from_the_stack(find: Find) -> None:
    spilled = insn(STORE, to=R10, source=R6, offset=-8) + insn(LOAD, to=R8, source=R10, offset=-8)

    assert find(BOTH + spilled + insn(ADD, to=R7, source=R8) + DONE) == (SUM, SUM_AT + 2)


def test_a_value_is_known_again_through_a_copy_of_the_frame_pointer(find: Find) -> None:
    copied = insn(MOVE, to=R1, source=R10) + insn(STORE, to=R1, source=R6, offset=-16)
    again = insn(LOAD, to=R8, source=R10, offset=-16)

    assert find(BOTH + copied + again + insn(ADD, to=R7, source=R8) + DONE)[0] == SUM


def test_what_is_loaded_from_a_value_is_a_number(find: Find) -> None:
    assert find(BOTH + insn(LOAD, to=R8, source=R6) + insn(ADD, to=R7, source=R8) + DONE)[0] == NONE


def test_one_path_of_two_suffices(find: Find) -> None:
    # r8 is a number on one path and a map's value on the other.
    branch = insn(MOVE, to=R8, source=R7) + insn(JUMP_ZERO, to=R7, offset=1) + insn(MOVE, to=R8, source=R6)

    assert find(BOTH + branch + insn(ADD, to=R7, source=R8) + DONE) == (SUM, SUM_AT + 3)


def test_a_lookup_that_found_nothing_is_a_number(find: Find) -> None:
    code = VALUE + call(LOOKUP) + insn(ADD, to=R0, source=R6) + DONE

    assert find(code)[0] == SUM


def test_what_a_call_leaves_in_its_arguments_is_forgotten(find: Find) -> None:
    code = BOTH + insn(MOVE, to=R2, source=R6) + call(PID) + insn(ADD, to=R7, source=R2) + DONE

    assert find(code)[0] == NONE


def test_a_loop_ends(find: Find) -> None:
    loop = insn(ADD, to=R6, source=R7) + insn(JUMP_ZERO, to=R7, offset=-2)

    assert find(BOTH + loop + HAZARD + DONE)[0] == SUM


def test_calls_of_functions_need_a_kernel_that_has_the_fix(find: Find) -> None:
    code = NUMBER + call(0, of=PSEUDO_CALL) + DONE

    assert find(code) == (CALL, 2)
    assert find(code, calls_are_safe=True)[0] == NONE


@given(code=st.lists(st.binary(min_size=8, max_size=8), max_size=64).map(b"".join))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_followed_to_an_end(find: Find, code: bytes) -> None:
    kind, at = find(code)

    assert kind in (NONE, SUM, CALL)
    assert at <= len(code) // 8


SOURCE: Final = """
struct { int (*type)[2]; int (*max_entries)[1]; unsigned *key; unsigned long long *value; } table
	__attribute__((section(".maps"), used));
static void *(*lookup)(void *map, const void *key) = (void *)1;
static unsigned long long (*pid)(void) = (void *)14;

__attribute__((section("kprobe"), used)) int program(void *ctx)
{
	unsigned key = 0;
	void *value = lookup(&table, &key);
	unsigned long long number = pid() & 1;

	if (!value)
		return 0;
	asm volatile("%0 += %1" : "+r"(number) : "r"(value));
	return number != 0;
}
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


def test_the_loader_refuses_an_object_with_the_remedy(tmp_path: Path) -> None:
    source, compiled = tmp_path / "hazard.c", tmp_path / "hazard.o"
    source.write_text(SOURCE)
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", "-c", source, "-o", compiled], check=True)

    with pytest.raises(_native.Error) as caught:
        _native.Object(compiled.read_bytes(), role="core", programs=["program"])

    error = convert_error(caught.value, "object")
    assert isinstance(error, ProbeError)
    assert "program program adds a pointer to a map's value to a number at instruction" in str(error)
    assert "build the battery again" in str(error)
