"""Format text → Format."""

import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import TESTS
from traceleft.errors import FormatError
from traceleft.generator.format import Format, digest_formats, parse_format

Golden = Callable[[str, str], None]
CAPTURES = sorted((TESTS / "data" / "formats").glob("*.json.xz"))

HEADER = """name: sys_enter_close
ID: 700
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

"""
NUMBER = "\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n"
PRINT = '\nprint fmt: "fd: 0x%08lx", ((unsigned long)(REC->fd))\n'


def parse(fields: str = "", *, header: str = HEADER, print_fmt: str = PRINT) -> Format:
    return parse_format(header + NUMBER + fields + print_fmt, file="close")


def test_field_is_read_from_its_keys() -> None:
    format_ = parse("\tfield:unsigned int fd;\toffset:16;\tsize:8;\tsigned:0;\n")

    field = format_.own_fields[-1]
    assert (field.name, field.type, field.offset, field.size, field.signed) == ("fd", "unsigned int", 16, 8, False)
    assert field.line == 8


def test_fields_are_ordered_by_offset_not_by_line() -> None:
    format_ = parse(
        "\tfield:long second;\toffset:24;\tsize:8;\tsigned:0;\n\tfield:long first;\toffset:16;\tsize:8;\tsigned:0;\n"
    )

    assert [field.name for field in format_.own_fields] == ["__syscall_nr", "first", "second"]


@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        ("char comm[16]", ("char", "comm", "16")),
        ("__data_loc char[] filename", ("__data_loc char[]", "filename", None)),
        ("const char *const * argv", ("const char *const *", "argv", None)),
        ("void *p", ("void *", "p", None)),
        ("__u8 saddr[sizeof(struct sockaddr_in6)]", ("__u8", "saddr", "sizeof(struct sockaddr_in6)")),
        ("int grid[2][3]", ("int", "grid", "2][3")),
    ],
    ids=str,
)
def test_declaration_is_split(declaration: str, expected: tuple[str, str, str | None]) -> None:
    field = parse(f"\tfield:{declaration};\toffset:16;\tsize:8;\tsigned:0;\n").own_fields[-1]

    assert (field.type, field.name, field.array) == expected


def test_data_loc_field_is_known() -> None:
    field = parse("\tfield:__data_loc char[] name;\toffset:16;\tsize:4;\tsigned:0;\n").own_fields[-1]

    assert field.is_data_loc


def test_digest_leaves_the_id_out() -> None:
    first, second = parse(), parse(header=HEADER.replace("700", "701"))

    assert first.digest == second.digest


def test_digest_depends_on_a_field() -> None:
    assert parse().digest != parse("\tfield:int fd;\toffset:16;\tsize:8;\tsigned:0;\n").digest


def test_digest_depends_on_where_a_text_ends() -> None:
    assert digest_formats("ab", "c") != digest_formats("a", "bc")


def test_print_fmt_may_span_lines() -> None:
    assert parse(print_fmt='\nprint fmt: "a\nfield:b", REC->c\n').print_fmt == '"a\nfield:b", REC->c'


BAD = {
    "empty": "",
    "blank": "\n\n",
    "binary": "\x7fELF\x02\x01\x01\0\0\0",
    "nul-inside": HEADER + "\tfield:int a\0b;\toffset:8;\tsize:4;\tsigned:1;\n" + PRINT,
    "no-name": HEADER.replace("name: ", "nome: ") + NUMBER + PRINT,
    "odd-name": HEADER.replace("sys_enter_close", "../close") + NUMBER + PRINT,
    "cut-in-fields": (HEADER + NUMBER)[:-12],
    "cut-before-print-fmt": HEADER + NUMBER,
    "cut-in-print-fmt": (HEADER + NUMBER + PRINT)[:-5],
    "no-fields": 'name: x\nID: 1\nformat:\n\nprint fmt: ""\n',
    "no-offset": HEADER + "\tfield:int nr;\tsize:4;\tsigned:1;\n" + PRINT,
    "no-size": HEADER + "\tfield:int nr;\toffset:8;\tsigned:1;\n" + PRINT,
    "offset-no-number": HEADER + "\tfield:int nr;\toffset:-8;\tsize:4;\tsigned:1;\n" + PRINT,
    "offset-huge": HEADER + "\tfield:int nr;\toffset:99999999999;\tsize:4;\tsigned:1;\n" + PRINT,
    "beyond-record": HEADER + "\tfield:int nr;\toffset:65535;\tsize:4;\tsigned:1;\n" + PRINT,
    "no-declaration": HEADER + "\tfield:;\toffset:8;\tsize:4;\tsigned:1;\n" + PRINT,
    "no-type": HEADER + "\tfield:nr;\toffset:8;\tsize:4;\tsigned:1;\n" + PRINT,
    "long-line": HEADER + f"\tfield:int {'n' * 5000};\toffset:8;\tsize:4;\tsigned:1;\n" + PRINT,
    "many-fields": HEADER + NUMBER * 600 + PRINT,
    "enormous": "name: x\n" + "a" * (1 << 20),
}


def test_each_bad_input_is_told_as_the_golden_has_it(golden: Golden) -> None:
    messages = []
    for name, text in sorted(BAD.items()):
        with pytest.raises(FormatError) as caught:
            parse_format(text, file=f"{name}/format")
        messages.append(f"{caught.value}\n")

    golden("errors/format.txt", "".join(messages))


@given(st.text() | st.text(alphabet="field:;\t\n []*0129offsetsignedsizename_", max_size=400))
def test_arbitrary_text_raises_nothing_but_format_error(text: str) -> None:
    for whole in (text, HEADER + text + PRINT, f"{HEADER}\tfield:{text};\toffset:8;\tsize:4;\tsigned:1;\n{PRINT}"):
        try:
            parse_format(whole, file="fuzz")
        except FormatError as exc:
            assert exc.file == "fuzz"


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_every_captured_format_parses(path: Path) -> None:
    formats = json.loads(lzma.decompress(path.read_bytes()))["formats"]

    names = {key: parse_format(text, file=key).name for key, text in formats.items()}

    assert len(names) > 600
    assert all(key.endswith(f"/{name}") for key, name in names.items())
