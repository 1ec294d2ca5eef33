"""Event expressions."""

import contextlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.errors import ExpressionError
from traceleft.expression import Catalogue, select

CATALOGUE = Catalogue(
    names=frozenset({"open", "openat", "close", "newuname", "futex", "sched:sched_switch", "sched:sched_process_exec"}),
    aliases={"newuname": ["uname"]},
    classes={"file": frozenset({"open", "openat", "creat"}), "%stat": frozenset({"newstat"})},
)
SYSCALLS = ("close", "futex", "newuname", "open", "openat")


def choose(*expressions: str) -> tuple[str, ...]:
    return select(expressions, CATALOGUE, default=SYSCALLS)


@pytest.mark.parametrize(
    ("expressions", "expected"),
    [
        ([], SYSCALLS),
        (["open"], ("open",)),
        (["openat,close"], ("close", "openat")),
        ([" openat , close "], ("close", "openat")),
        (["uname"], ("newuname",)),
        (["%file"], ("open", "openat")),
        (["%%stat"], ()),
        (["/^open/"], ("open", "openat")),
        (["/^uname$/"], ("newuname",)),
        (["/^(open|close)$/,futex"], ("close", "futex", "open")),
        (["/^.{4,5}$/"], ("close", "futex", "newuname", "open")),
        (["!futex"], ("close", "newuname", "open", "openat")),
        (["!futex,%file"], ("close", "newuname")),
        (["!futex", "!close"], ("newuname", "open", "openat")),
        (["%file", "!openat"], ("open",)),
        (["%file", "!openat", "futex"], ("futex", "open")),
        (["!%file", "open"], ("close", "futex", "newuname", "open")),
        (["sched:sched_switch"], ("sched:sched_switch",)),
        (["/sched:/"], ("sched:sched_process_exec", "sched:sched_switch")),
        (["?absent,open"], ("open",)),
        (["trace=open"], ("open",)),
        (["trace=!futex"], ("close", "newuname", "open", "openat")),
        (["all"], SYSCALLS),
        (["none"], ()),
        (["!all"], ()),
    ],
    ids=str,
)
def test_expressions_choose(expressions: list[str], expected: tuple[str, ...]) -> None:
    assert choose(*expressions) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("opena", "no event is named 'opena'; nearest: openat, open"),
        ("unam", "nearest: uname"),
        ("zzzzzz", "no event is named 'zzzzzz'"),
        ("sched:sched_swich", "nearest: sched:sched_switch"),
        ("%fil", "no class is named '%fil'; nearest: %file"),
        ("", "has an empty name in it"),
        ("!", "has an empty name in it"),
        ("open,,close", "has an empty name in it"),
        ("/open", "without its second slash"),
        ("/(/", "is not a regular expression of RE2: missing ): ("),
        ("/open(?=at)/", "is not a regular expression of RE2: invalid perl operator: (?="),
        (r"/(o)\1/", "is not a regular expression of RE2: invalid escape sequence"),
        ("/(a{900}){900}/", "is not a regular expression of RE2: invalid repetition size"),
        ("/xyz/", "matches no event"),
        ("/" + "a" * 300 + "/", "is longer than 256 characters"),
        ("a" * 100_000, "is too long"),
        ("a" * 1000, "no event is named"),
    ],
    ids=lambda text: text[:20],
)
def test_bad_expression_is_told(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(message)) as caught:
        choose(expression)

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "expression",
    [
        "/^(open|openat|openat2|close|sched|signal|socket|send|recv|read|write|stat)$/",
        "/^(open|close)(at|all)?[0-9]?$/",
        "/[*+?{|(]*open/",
        r"/\(?open\|?/",
        "/(?:open)at/",
        "/(o+p+)+e/",
    ],
)
def test_ordinary_pattern_is_not_refused(expression: str) -> None:
    assert "openat" in choose(expression)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "((a+) ?)+b", ".*.*.*.*.*.*x", "(.|.)" * 25 + "Q", ".?" * 25 + "Q", "(a|a)*b", "(?i)(A+)+B"],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    names = Catalogue(frozenset({"a" * 60}))
    begun = time.process_time()
    with contextlib.suppress(ExpressionError):
        select([f"/{pattern}/"], names, default=())

    # One that backtracks would take years.
    assert time.process_time() - begun < 5


@given(st.lists(st.text(alphabet="!?%/,:()[]*+{}\\|.^$aopenx19= ", max_size=40), max_size=3))
def test_arbitrary_text_raises_nothing_but_expression_error(expressions: list[str]) -> None:
    try:
        chosen = select(expressions, CATALOGUE, default=SYSCALLS)
    except ExpressionError:
        return
    assert set(chosen) <= CATALOGUE.names
