"""Tables of names in `print fmt`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.generator.printfmt import parse_print_fmt, read_number


def test_symbolic_table_is_an_enumeration() -> None:
    tables = parse_print_fmt('"%s", __print_symbolic(REC->family, { 2, "AF_INET" }, { 10, "AF_INET6" })')

    assert tables["family"].to_set(2) == {
        "mask": 0xFFFF,
        "values": [[2, "AF_INET"], [10, "AF_INET6"]],
        "bits": [],
        "width": 2,
    }


def test_flags_table_names_bits() -> None:
    tables = parse_print_fmt('"%s", __print_flags(REC->flags, "|", { 0, "NONE" }, { (1UL << 3), "A" }, {0x40, "B"})')

    assert tables["flags"].to_set(4) == {"mask": 0, "values": [], "bits": [[8, "A"], [64, "B"]], "width": 4}


def test_mask_before_a_table_is_kept() -> None:
    tables = parse_print_fmt('"%s", __print_symbolic(REC->reason & 0xff, { 1, "A" })')

    assert tables["reason"].to_set(4)["mask"] == 0xFF


def test_negative_values_are_taken_in_the_width_of_the_field() -> None:
    tables = parse_print_fmt('"%s", __print_symbolic(REC->error, { -1, "A" })')

    assert tables["error"].to_set(4)["values"] == [[0xFFFFFFFF, "A"]]


def test_string_made_of_two_is_one_name() -> None:
    tables = parse_print_fmt('"%s", __print_symbolic(REC->reg, { 0x20, "APIC_" "ID" })')

    assert tables["reg"].entries == ((0x20, "APIC_ID"),)


@pytest.mark.parametrize(
    "print_fmt",
    [
        '"%s", __print_symbolic(REC->state, { TCP_ESTABLISHED, "TCP_ESTABLISHED" })',
        '"%s", __print_symbolic((REC->dm >> 8 & 0x7), {0x0, "Fixed"})',
        '"%s", __print_symbolic(REC->a ? REC->b : 0, {0x0, "Fixed"})',
        '"%s", __print_symbolic(REC->a, {0x0, "Fixed"}',
        '"%s", __print_symbolic(REC->a)',
        '"%s%s", __print_symbolic(REC->a, {0, "X"}), __print_symbolic(REC->a, {0, "Y"})',
    ],
    ids=["constant-unknown", "shifted", "conditional", "cut-off", "empty", "two-alternatives"],
)
def test_table_that_cannot_be_worked_out_is_left_out(print_fmt: str) -> None:
    assert parse_print_fmt(print_fmt) == {}


def test_name_that_the_schema_cannot_hold_is_left_out() -> None:
    tables = parse_print_fmt('"%s", __print_symbolic(REC->a, { 0, "ok" }, { 1, "not ok" })')

    assert tables["a"].entries == ((0, "ok"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("0x1fUL", 31),
        ("(1 << 4) | 2", 18),
        ("((gfp_t)0x400u)", 0x400),
        ("-1", -1),
        ("~0 & 0xff", 255),
        ("((((0x1 | 0x2) + 1) << 1) - 1)", 7),
        ("1 << 9999999", None),
        ("2 ** 3", None),
        ("A", None),
        ("", None),
        ("(" * 150, None),
        ("9" * 300, None),
    ],
    ids=str,
)
def test_constant_is_worked_out(text: str, expected: int | None) -> None:
    assert read_number(text) == expected


@given(st.text() | st.text(alphabet='_print_flags(REC->a,{0x1,"A"})|&~<+- ', max_size=300))
def test_arbitrary_text_raises_nothing(text: str) -> None:
    for print_fmt in (text, f"__print_flags({text}", f'__print_symbolic(REC->a, {{ {text}, "A" }})'):
        for table in parse_print_fmt(print_fmt).values():
            table.to_set(4)
