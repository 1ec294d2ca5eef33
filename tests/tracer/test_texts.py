"""Texts that are not UTF-8: the bytes come back from every format."""

import base64
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.tracer.decode.texts import (
    from_column,
    mark_bytes,
    to_bytes,
    to_column,
    to_text,
    value_from_column,
    value_to_column,
)

PRIVATE = "\U0010ff80"
HOSTILE = st.lists(
    st.binary(max_size=6)
    | st.text(max_size=4).map(lambda text: text.encode(errors="replace"))
    | st.just(PRIVATE.encode())
).map(b"".join)


@given(HOSTILE)
def test_a_text_is_what_fsdecode_gives(data: bytes) -> None:
    assert to_text(data) == os.fsdecode(data)
    assert to_bytes(to_text(data)) == data


@given(HOSTILE)
def test_a_column_gives_the_text_back(data: bytes) -> None:
    column = to_column(to_text(data))

    assert column.encode().decode() == column
    assert from_column(column) == to_text(data)


@given(HOSTILE, HOSTILE)
def test_texts_that_differ_differ_in_columns(one: bytes, other: bytes) -> None:
    assert (to_column(to_text(one)) == to_column(to_text(other))) == (one == other)


def test_texts_of_utf_8_are_their_own_column() -> None:
    assert to_column("a\\x2db grün") == "a\\x2db grün"
    assert to_column(to_text(b"a\xff")) == "a\U0010ffff"


@given(st.recursive(HOSTILE.map(to_text), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)))
def test_values_come_back_from_columns(value: object) -> None:
    assert value_from_column(value_to_column(value)) == value


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_json_has_the_bytes_of_what_is_not_utf_8_by_its_place() -> None:
    bad = to_text(b"a\xff\xfe")
    line = {"comm": "c", "args": {"filename": bad, "argv": ["x", bad], "msg": {"iov": [{"data": bad}]}}, "ret": 0}

    marked = mark_bytes(line)

    assert marked["args"] == {
        "filename": "a\ufffd\ufffd",
        "argv": ["x", "a\ufffd\ufffd"],
        "msg": {"iov": [{"data": "a\ufffd\ufffd"}]},
    }
    assert marked["bytes"] == dict.fromkeys(("filename", "argv[1]", "msg.iov[0].data"), encoded(b"a\xff\xfe"))
    json.dumps(marked).encode("ascii")


def test_an_argument_is_told_from_a_member_of_its_name() -> None:
    marked = mark_bytes({"comm": to_text(b"\xff"), "args": {"comm": to_text(b"\xfe")}})

    assert marked["bytes"] == {"comm": encoded(b"\xff"), "args.comm": encoded(b"\xfe")}


@pytest.mark.parametrize("document", [{}, {"args": {"filename": "a\\x2db"}}, {"path": "ü"}])
def test_nothing_is_added_to_utf_8(document: dict[str, object]) -> None:
    assert mark_bytes(document) == document
