"""One value at a time: text, scalars, sets, structs, lists."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import SETS, STRUCTS, iovec, part, spec_of
from traceleft.tracer.decode.lists import show_fdset, show_sigset, show_strings, split_iovec, split_strings
from traceleft.tracer.decode.signals import SIGNALS
from traceleft.tracer.decode.structs import compile_array, compile_struct
from traceleft.tracer.decode.texts import to_bytes, to_text
from traceleft.tracer.decode.values import (
    compile_scalar,
    compile_set,
    error_name,
    show_char,
    show_comm,
    show_dirfd,
    show_pointer,
    show_uid,
    to_signed,
)
from traceleft.tracer.schema.spec import SetSpec, Tables, ValueSpec

OPEN = SetSpec("open", 4, 3, ((0, "O_RDONLY"), (1, "O_WRONLY")), ((64, "O_CREAT"), (524288, "O_CLOEXEC")))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"/etc/passwd", "/etc/passwd"),
        ("grün".encode(), "grün"),
        (b"a\xffb", "a\udcffb"),
        (rb"a\xff", r"a\xff"),
        (b"gr\xc3", "gr\udcc3"),
        (b"\xed\xa0\x80", "\udced\udca0\udc80"),
        (b"a\x00\n", "a\x00\n"),
    ],
    ids=["ascii", "utf-8", "invalid", "backslash", "cut in a character", "surrogate", "control"],
)
def test_bytes_become_text(data: bytes, text: str) -> None:
    assert to_text(data) == text
    assert to_bytes(text) == data


@given(st.binary(), st.binary())
def test_text_of_bytes_has_one_meaning(one: bytes, other: bytes) -> None:
    assert (to_text(one) == to_text(other)) == (one == other)


def test_comm_ends_at_its_nul() -> None:
    assert show_comm(b"cat\0garbage\0") == "cat"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "O_RDONLY"),
        (0o2000001, "O_WRONLY|O_CLOEXEC"),
        (2, "0x2"),
        (3 | 64, "0x3|O_CREAT"),
        (0x40000000, "O_RDONLY|0x40000000"),
    ],
)
def test_set_names_parts_and_leaves_unknown_ones_in_hex(value: int, text: str) -> None:
    assert compile_set(OPEN, 4)(value) == text


def test_set_of_bits_without_any_is_zero() -> None:
    assert compile_set(SetSpec("prot", 8, 0, (), ((1, "PROT_READ"),)))(0) == "0"


def test_nothing_of_a_set_has_the_set_s_name_for_it() -> None:
    assert compile_set(SetSpec("access", 4, 0, (), ((4, "R_OK"),), "F_OK"), 4)(0) == "F_OK"


def test_set_takes_a_composite_before_its_parts() -> None:
    show = compile_set(SetSpec("sync", 4, 0, (), ((0o4010000, "O_SYNC"), (0o10000, "O_DSYNC"))), 4)

    assert show(0o4010000) == "O_SYNC"
    assert show(0o10000) == "O_DSYNC"


def test_enum_knows_negative_values() -> None:
    assert compile_set(SetSpec("who", 4, -1, ((-1, "ANY"), (0, "SELF")), ()), 4)(0xFFFFFFFF) == "ANY"


def test_scalars_show_what_their_kind_says() -> None:
    assert (show_dirfd(-100), show_dirfd(3)) == ("AT_FDCWD", 3)
    assert (show_pointer(0), show_pointer(0x7FFE)) == (None, "0x7ffe")
    assert (show_uid(0xFFFFFFFF, 4), show_uid(0xFFFF, 2), show_uid(1000, 4)) == (-1, -1, 1000)
    assert (show_char(ord("S")), show_char(0xFF)) == ("S", "\udcff")
    assert to_signed(0xFFFFFFFF, 4) == -1


def test_wide_fd_is_read_from_its_low_half() -> None:
    show = compile_scalar(ValueSpec("fd", 8), Tables())

    assert show is not None
    assert (show(-1), show(0xFFFFFFFF), show(3)) == (-1, -1, 3)


@pytest.mark.parametrize(
    ("number", "name"),
    [(2, "ENOENT"), (11, "EAGAIN"), (95, "EOPNOTSUPP"), (512, "ERESTARTSYS"), (516, "ERESTART_RESTARTBLOCK")],
)
def test_errors_have_the_kernels_names(number: int, name: str) -> None:
    assert error_name(number) == name


def test_struct_is_an_object_by_member() -> None:
    _, tables = spec_of(tables={"structs": STRUCTS})
    decode = compile_struct(tables.structs["timespec"], tables)

    assert decode(struct.pack("<qq", 1, -5)) == {"tv_sec": 1, "tv_nsec": -5}


def test_struct_stops_at_the_bytes_captured() -> None:
    _, tables = spec_of(tables={"structs": STRUCTS})
    decode = compile_struct(tables.structs["timespec"], tables)

    assert decode(struct.pack("<q", 1) + b"\1") == {"tv_sec": 1}


def test_member_of_a_union_is_there_only_while_it_is_used() -> None:
    union = {"name": "fd", "offset": 4, "width": 4, "kind": "fd", "when": {"member": "kind", "in": [-1, 7]}}
    members = [{"name": "kind", "offset": 0, "width": 4, "signed": True, "kind": "int"}, union]
    _, tables = spec_of(tables={"structs": {"either": {"size": 8, "members": members}}})
    decode = compile_struct(tables.structs["either"], tables)

    assert decode(struct.pack("<ii", 7, 3)) == {"kind": 7, "fd": 3}
    assert decode(struct.pack("<ii", -1, 3)) == {"kind": -1, "fd": 3}
    assert decode(struct.pack("<ii", 8, 3)) == {"kind": 8}


def test_struct_holds_structs_arrays_and_text() -> None:
    members = [
        {"name": "when", "offset": 0, "kind": "struct", "struct": "timespec"},
        {"name": "n", "offset": 16, "kind": "array", "count": 2, "size": 2, "element": {"kind": "int", "width": 2}},
        {"name": "comm", "offset": 20, "kind": "text", "count": 4},
        {"name": "mask", "offset": 24, "kind": "sigset"},
    ]
    _, tables = spec_of(tables={"structs": STRUCTS | {"all": {"size": 32, "members": members}}})

    shown = compile_struct(tables.structs["all"], tables)(struct.pack("<qqHH4sQ", 1, 2, 3, 4, b"ab\0c", 2))

    assert shown == {"when": {"tv_sec": 1, "tv_nsec": 2}, "n": [3, 4], "comm": "ab", "mask": ["SIGINT"]}


def test_array_leaves_out_an_element_that_is_not_whole() -> None:
    value = ValueSpec("array", element=ValueSpec("set", 4, set_name="open_flags"), size=4)
    _, tables = spec_of(tables={"sets": SETS})

    assert compile_array(value, tables)(struct.pack("<II", 1, 2) + b"\0") == ["O_WRONLY", "O_RDWR"]


def test_strings_tell_which_could_not_be_read() -> None:
    parts = split_strings(part(b"ls") + part(b"", -14) + part(b"longer", 99), "little")

    assert show_strings(parts, "little") == ["ls", None, "longer"]
    assert [piece.is_cut for piece in parts] == [False, False, True]


@pytest.mark.parametrize("data", [b"\1\0\0", struct.pack("<Ii", 9, 0) + b"abc", struct.pack("<Ii", 0xFFFFFFFF, 0)])
def test_strings_that_do_not_fit_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        split_strings(data, "little")


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_iovec_comes_apart_as_it_was_put_together(datas: list[bytes]) -> None:
    parts = split_iovec(b"".join(iovec(data, base=7) for data in datas), "little")

    assert [(piece.data, piece.base, piece.length) for piece in parts] == [(data, 7, len(data)) for data in datas]


@given(st.sets(st.integers(1, 64)))
def test_sigset_lists_its_signals(numbers: set[int]) -> None:
    mask = sum(1 << number - 1 for number in numbers)

    assert show_sigset(mask.to_bytes(8, "little"), "little") == [SIGNALS[number - 1] for number in sorted(numbers)]


def test_signals_have_their_numbers() -> None:
    assert (SIGNALS[8], SIGNALS[14], SIGNALS[30], SIGNALS[31], SIGNALS[32]) == (
        *("SIGKILL", "SIGTERM", "SIGSYS", "SIGRTMIN", "SIGRT_1"),
    )


@given(st.sets(st.integers(0, 255)))
def test_fdset_lists_the_fds_below_its_limit(fds: set[int]) -> None:
    data = sum(1 << fd for fd in fds).to_bytes(32, "little")

    assert show_fdset(data, "little", 100) == [fd for fd in sorted(fds) if fd < 100]
