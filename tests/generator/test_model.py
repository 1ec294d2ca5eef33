"""Formats → syscalls and tracepoints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.errors import FormatError
from traceleft.generator.model import Events, load_borrowed, read_events

COMMON = "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"


def field(declaration: str, offset: int, size: int = 8, signed: int = 0) -> str:
    return f"\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n"


def text(name: str, *fields: str, print_fmt: str = '""') -> str:
    return f"name: {name}\nID: 1\nformat:\n{COMMON}\n{''.join(fields)}\nprint fmt: {print_fmt}\n"


def syscall(name: str, *fields: str, number: str = "__syscall_nr") -> Events:
    number_field = field(f"int {number}", 8, 4, 1)
    return read_events({f"syscalls/sys_enter_{name}": text(f"sys_enter_{name}", number_field, *fields)}, borrowed={})


def names(events: Events, name: str) -> list[str]:
    return [argument.name for argument in events.syscall(name).arguments]


def test_arguments_follow_the_number() -> None:
    events = syscall("read", field("unsigned int fd", 16), field("char * buf", 24), field("size_t count", 32))

    arguments = events.syscall("read").arguments
    assert [(a.name, a.index, a.width, a.signed) for a in arguments] == [
        ("fd", 0, 4, False),
        ("buf", 1, 8, False),
        ("count", 2, 8, False),
    ]


def test_argument_may_be_named_like_the_number() -> None:
    events = syscall("io_submit", field("aio_context_t ctx_id", 16), field("long nr", 24), number="nr")

    assert names(events, "io_submit") == ["ctx_id", "nr"]


def test_data_loc_fields_are_no_arguments() -> None:
    events = syscall("open", field("const char * filename", 16), field("__data_loc char[] __filename_val", 24, 4))

    assert names(events, "open") == ["filename"]


def test_more_common_fields_shift_the_number_and_the_arguments() -> None:
    extra = field("unsigned char common_preempt_lazy_count", 8, 1)
    events = read_events(
        {
            "syscalls/sys_enter_dup": text(
                "sys_enter_dup", extra, field("int __syscall_nr", 12, 4, 1), field("unsigned int fildes", 24)
            )
        },
        borrowed={},
    )

    assert names(events, "dup") == ["fildes"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([field("brand_new_t x", 16)], r":7: type `brand_new_t` is unknown"),
        ([field("struct stat x", 16)], r":7: type `struct stat` does not fit a register"),
        ([field(f"int a{n}", 16 + 8 * n) for n in range(7)], "has 7 arguments"),
        ([field("int a", 16), field("int a", 24)], "has `a` twice"),
        ([field("int a", 16), field("int b", 16)], ":8: argument `b` does not lie where the one before it ends"),
        ([field("int a", 16), field("int b", 20)], ":8: argument `b` does not lie where the one before it ends"),
        ([field("int a", 16, 4)], ":7: argument `a` has 4 bytes, a register has 8"),
    ],
    ids=["unknown-type", "struct-by-value", "seven", "twice", "same-place", "overlap", "narrow"],
)
def test_what_no_syscall_has_is_refused(fields: list[str], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        syscall("x", *fields).syscall("x")


def test_format_without_the_number_is_refused() -> None:
    events = read_events({"syscalls/sys_enter_x": text("sys_enter_x", field("int fd", 16))}, borrowed={})

    with pytest.raises(FormatError, match="no field for the syscall's number"):
        events.syscall("x")


def test_tracepoint_keeps_its_own_sizes_and_signs() -> None:
    events = read_events(
        {
            "sched/x": text(
                "x",
                field("char comm[16]", 8, 16),
                field("strange_t s", 24, 4, 1),
                field("__data_loc char[] name", 28, 4),
            )
        },
        borrowed={},
    )

    fields = events.tracepoint("sched:x").fields
    assert [(f.name, f.offset, f.size, f.signed, f.array, f.is_data_loc) for f in fields] == [
        ("comm", 8, 16, False, "16", False),
        ("s", 24, 4, True, None, False),
        ("name", 28, 4, False, None, True),
    ]


def test_syscalls_without_formats_are_borrowed() -> None:
    formats = {"syscalls/sys_enter_dup": text("sys_enter_dup", field("int nr", 8, 4), field("int fildes", 16))}

    events = read_events(formats)

    assert events.own_syscalls == ("dup",)
    assert set(events.syscalls) == {"dup", *load_borrowed()}
    assert events.syscall("execve").borrowed
    assert [argument.name for argument in events.syscall("execve").arguments] == ["filename", "argv", "envp"]


def test_own_format_goes_before_a_borrowed_one() -> None:
    formats = {"syscalls/sys_enter_execve": text("sys_enter_execve", field("int nr", 8, 4), field("int x", 16))}

    events = read_events(formats)

    assert not events.syscall("execve").borrowed
    assert names(events, "execve") == ["x"]


def test_input_without_syscalls_borrows_none() -> None:
    assert read_events({"sched/x": text("x")}).syscalls == ()


def test_format_of_another_event_is_refused() -> None:
    events = read_events({"sched/x": text("y", field("int a", 8, 4))}, borrowed={})

    with pytest.raises(FormatError, match=r"^sched/x/format:1: is the format of y, not of x$"):
        events.tracepoint("sched:x")


def test_keys_that_name_no_event_are_ignored() -> None:
    events = read_events({"syscalls/sys_enter_": "", "9p/9p_client_req": "", "sched/../x": "", "x": ""}, borrowed={})

    assert (events.syscalls, events.tracepoints) == ((), ())


@given(
    st.text(alphabet="unsigned int*[]const struct_x2;:\t", max_size=60), st.integers(0, 99), st.sampled_from([0, 4, 8])
)
def test_arbitrary_declarations_raise_nothing_but_format_error(declaration: str, offset: int, size: int) -> None:
    events = syscall("x", field(declaration, offset, size))
    tracepoints = read_events({"a/x": text("x", field(declaration, offset, size))}, borrowed={})

    for parse in (lambda: events.syscall("x"), lambda: tracepoints.tracepoint("a:x")):
        try:
            parse()
        except FormatError as exc:
            assert exc.file is not None
