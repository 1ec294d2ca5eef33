"""C declarations → CType."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import TESTS
from traceleft.errors import FormatError
from traceleft.generator.cdecl import read_type

ARGUMENTS = TESTS / "data" / "arguments-by-release.json"


@pytest.mark.parametrize(
    ("declaration", "width", "signed"),
    [
        ("int", 4, True),
        ("unsigned", 4, False),
        ("unsigned long", 8, False),
        ("long long", 8, True),
        ("char", 1, True),
        ("unsigned short int", 2, False),
        ("const clockid_t", 4, True),
        ("umode_t", 2, False),
        ("size_t", 8, False),
        ("loff_t", 8, True),
        ("pid_t", 4, True),
        ("uid_t", 4, False),
        ("aio_context_t", 8, False),
        ("rwf_t", 4, True),
        ("bool", 1, False),
        ("enum landlock_rule_type", 4, False),
        ("const char *const *", 8, False),
        ("cap_user_data_t", 8, False),
    ],
    ids=str,
)
def test_width_and_sign_follow_c(declaration: str, width: int, signed: bool) -> None:
    ctype = read_type(declaration)

    assert (ctype.width, ctype.signed) == (width, signed)


def test_pointer_tells_what_it_leads_to() -> None:
    ctype = read_type("const char *const *")

    assert ctype.is_pointer and ctype.pointee is not None and ctype.pointee.is_pointer
    assert ctype.pointee.const
    character = ctype.pointee.pointee
    assert character is not None and (character.name, character.width) == ("char", 1) and character.const


def test_pointer_behind_a_typedef_is_a_pointer_to_its_struct() -> None:
    ctype = read_type("cap_user_header_t")

    assert ctype.is_pointer and ctype.pointee is not None
    assert ctype.pointee.name == "struct __user_cap_header_struct"


def test_pointer_to_an_unknown_type_is_a_pointer() -> None:
    ctype = read_type("brand_new_t *")

    assert ctype.is_pointer and ctype.pointee is not None
    assert (ctype.pointee.kind, ctype.pointee.name) == ("unknown", "brand_new_t")


def test_pointer_to_an_unknown_struct_names_it() -> None:
    ctype = read_type("struct brand_new __user *")

    assert ctype.pointee is not None and ctype.pointee.name == "struct brand_new"


def test_unknown_type_by_value_names_its_place() -> None:
    with pytest.raises(FormatError, match=r"^sys_enter_x/format:9: type `brand_new_t` is unknown") as caught:
        read_type("brand_new_t", file="sys_enter_x/format", line=9)

    assert (caught.value.file, caught.value.line) == ("sys_enter_x/format", 9)


@pytest.mark.parametrize(
    "declaration",
    ["", " ", "*", "[", "struct", "return", "typedef int", "int a", "int;int", "int)(int", "x y z", "double", "a" * 300,
     "int " + "*" * 60, "int" + "[2]" * 60, "int[", "int /* x */", "é", "int\0"],
    ids=repr,
)  # fmt: skip
def test_what_is_no_type_is_refused(declaration: str) -> None:
    with pytest.raises(FormatError):
        read_type(declaration)


@given(st.text(max_size=300) | st.text(alphabet="int*[]const struct_2 ", max_size=80))
def test_arbitrary_text_raises_nothing_but_format_error(text: str) -> None:
    try:
        ctype = read_type(text)
    except FormatError:
        return
    assert ctype.kind != "unknown"


def test_every_captured_argument_fits_a_register() -> None:
    captures = json.loads(ARGUMENTS.read_text())
    types = {type_ for calls in captures.values() for arguments in calls.values() for type_, _ in arguments}

    unfit = sorted(type_ for type_ in types if not (read_type(type_).is_scalar or read_type(type_).is_pointer))

    assert len(types) > 100
    assert unfit == []
