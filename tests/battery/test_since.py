"""The table of what came with which kernel: whole, and right where the kernel underneath can be asked."""

import itertools
import os

import pytest

from tests.support.asking import KPROBE, RAW_TRACEPOINT, TRACEPOINT, load_program
from tests.support.assembly import EXIT, call, insn
from traceleft.battery.since import NEVER, Kernel, load_since
from traceleft.errors import BatteryError
from traceleft.tracer import _native

TYPES = {"kprobe": KPROBE, "tracepoint": TRACEPOINT, "raw tracepoint": RAW_TRACEPOINT}
REFUSALS = ("unknown func", "invalid func", "cannot use helper", "program of this type")
PAGE = os.sysconf("SC_PAGESIZE")


def ask_for_helper(kind: int, number: int) -> str:
    """Load a program that calls a helper with nothing in its registers; return the verifier's words."""
    return load_program(kind, call(number) + insn(0xB7) + EXIT)[1]


def is_refused(words: str) -> bool:
    return any(refusal in words for refusal in REFUSALS)


def test_releases_compare_by_number() -> None:
    assert Kernel.parse("5.10.0-46-cloud-amd64") == Kernel(5, 10) > Kernel.parse("5.9")
    assert max(Kernel.parse("6.18"), NEVER) == NEVER


@pytest.mark.parametrize("text", ["", "five", "5", "5.", "-1.2", "5.10101010", "\u0665.\u0661", "\x1b[2J5.8"])
def test_text_that_is_no_release_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BatteryError, match="not a kernel release") as caught:
        Kernel.parse(text)

    assert str(caught.value).isprintable()


def test_helpers_are_numbered_without_a_gap_and_came_in_that_order() -> None:
    helpers = load_since().helpers
    releases = [helpers[number].since for number in sorted(helpers)]

    assert sorted(helpers) == list(range(1, len(helpers) + 1))
    assert releases == sorted(releases)


def test_no_tracing_program_may_call_a_helper_before_there_is_one() -> None:
    for helper in load_since().helpers.values():
        assert helper.tracing is None or helper.tracing >= helper.since


def test_map_types_came_in_order() -> None:
    releases = [thing.since for _, thing in sorted(load_since().map_types.items())]

    assert all(earlier <= later for earlier, later in itertools.pairwise(releases))


@pytest.mark.parametrize(
    ("count", "kernel"), [(4095, "4.4"), (4096, "4.12"), (4097, "5.2"), (1_000_000, "5.2"), (1_000_001, "999.0")]
)
def test_programs_have_as_many_instructions_as_a_kernel_takes(count: int, kernel: str) -> None:
    assert load_since().takes(count) == Kernel.parse(kernel)


def test_rewritten_helper_is_as_old_as_what_libbpf_puts_in_its_place() -> None:
    user, text = load_since().helper(112), load_since().helper(114)

    assert user is not None and text is not None
    assert (user.name, user.tracing, text.tracing) == ("probe_read_user", Kernel(4, 1), Kernel(4, 11))


# What measured kernels said (KERNELS.md): all that a kprobe program may call there.
@pytest.mark.parametrize(
    ("kernel", "helpers"),
    [
        ("4.4", {1, 2, 3, 4, 5, 6, 8, 12, 14, 15, 16, 22, 25}),
        ("4.9", {1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 15, 16, 22, 25, 27, 35, 37}),
    ],
)
def test_old_kernels_have_what_was_measured(kernel: str, helpers: set[int]) -> None:
    table = load_since().helpers

    # 36 writes into memory of the caller: not for tracing, whatever the kernel says.
    assert {
        number for number, each in table.items() if each.tracing and each.tracing <= Kernel.parse(kernel)
    } == helpers


@pytest.mark.kernel
@pytest.mark.parametrize("kind", TYPES)
def test_this_kernel_has_every_helper_that_the_table_gives_it(kind: str) -> None:
    here = Kernel.parse(os.uname().release)
    claimed = {n: each for n, each in load_since().helpers.items() if each.tracing and each.tracing <= here}

    refused = {
        f"{each.name}: {words}"
        for number, each in claimed.items()
        if is_refused(words := ask_for_helper(TYPES[kind], number))
    }

    assert len(claimed) > 20
    assert refused == set()


@pytest.mark.kernel
def test_this_kernel_refuses_a_helper_that_nobody_has_in_words_that_are_known() -> None:
    assert all(is_refused(ask_for_helper(kind, 60_000)) for kind in TYPES.values())


@pytest.mark.kernel
def test_this_kernel_has_the_map_types_that_the_table_gives_it() -> None:
    shapes = {1: (4, 4, 1), 2: (4, 4, 1), 3: (4, 4, 1), 4: (4, 4, 1), 5: (4, 4, 1), 6: (4, 4, 1), 8: (4, 4, 1)}
    shapes |= {9: (4, 4, 1), 10: (4, 4, 1), 22: (0, 4, 1), 23: (0, 4, 1), 27: (0, 0, PAGE)}
    here = Kernel.parse(os.uname().release)

    for number, shape in shapes.items():
        if load_since().map_types[number].since <= here:
            os.close(_native.map_create(number, *shape))
