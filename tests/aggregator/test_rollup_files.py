"""Rollups in TOML: what is read, and that every mistake is one line with its place."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rollups import SPECS
from traceleft.aggregator.rollups.parse import parse_condition, parse_key, parse_measure
from traceleft.aggregator.rollups.results import order_measure
from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.aggregator.rollups.rollup_check import check_rollup
from traceleft.aggregator.rollups.rollup_files import builtin, builtin_names, find_rollups, parse_rollups, read_rollups
from traceleft.errors import FormatError, TraceleftError
from traceleft.expression import Catalogue

WHOLE = """
# What is slow to open.
[rollup.slow-opens]
description = "Slow opens."
events = ["openat", "%file"]
where = 'error == "ENOENT" and path.startswith("/etc/")'
by = ["comm", "prefix(path, 2)", "args.flags as flags"]
measures = ["count", "errors", "p99(duration_ns)", "sum(bytes) as moved"]
window = "10s"
slide = "1s"
lateness = "2s"
top = 20
order_by = "moved"
max_keys = 500
"""


def test_rollup_is_read_whole() -> None:
    (rollup,) = parse_rollups(WHOLE, file="x.toml")

    assert rollup == Rollup(
        name="slow-opens",
        events=("openat", "%file"),
        where=parse_condition('error == "ENOENT" and path.startswith("/etc/")'),
        by=(parse_key("comm"), parse_key("prefix(path, 2)"), parse_key("args.flags as flags")),
        measures=tuple(map(parse_measure, ("count", "errors", "p99(duration)", "bytes as moved"))),
        window_ns=10 * 10**9,
        slide_ns=10**9,
        lateness_ns=2 * 10**9,
        top=20,
        order_by="moved",
        max_keys=500,
        file="x.toml",
        line=3,
    )
    assert {place: rollup.lines[place] for place in ("where", "events.1", "by.2", "window")} == {
        "where": 6,
        "events.1": 5,
        "by.2": 7,
        "window": 9,
    }


def test_python_takes_the_same_texts() -> None:
    rollup = Rollup.parse("x", by=["comm"], window="1s", slide="1s", order_by="p99(duration)")

    assert (rollup.measures, rollup.window_ns, rollup.slide_ns) == ((parse_measure("count"),), 10**9, None)
    assert order_measure(rollup) == parse_measure("p99(duration)")
    with pytest.raises(FormatError, match=r"^rollup x: `by`: no column is named 'com'; nearest: comm$"):
        Rollup.parse("x", by=["com"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.toml: holds no rollup; write [rollup.NAME]"),
        ("rollup = 3", "x.toml:1: `rollup` must be a table: write [rollup.NAME]"),
        ("[rolup.a]", "x.toml:1: unknown key 'rolup'; nearest: rollup"),
        ("\n[rollup]\na = 3", "x.toml:3: rollup a: must be a table: write [rollup.a]"),
        ('[rollup."a b"]', "x.toml:1: 'a b' is not a valid name of a rollup: use letters, digits, _ and -, at most 64"),
        ('[rollup."a\\nb"]', "x.toml: 'a\\nb' is not a valid name of a rollup: use letters"),
        ("[rollup.a]\n\nby = ['comm']\nwindos = '1s'", "x.toml:4: rollup a: unknown key 'windos'; nearest: window"),
        ("[rollup.a]\nby = [\n'comm',\n'pth',\n]", "x.toml:4: rollup a: `by`: no column is named 'pth'; nearest: path"),
        ("[rollup.a]\nby = 'comm'", "x.toml:2: rollup a: `by` must be a list of texts in quotes"),
        ("[rollup.a]\nby = [3]", "x.toml:2: rollup a: `by` must be a list of texts in quotes"),
        ("[rollup.a]\nevents = []", "x.toml:2: rollup a: `events` names no event; leave it out for every event"),
        ("[rollup.a]\nmeasures = []", "x.toml:2: rollup a: `measures` is empty; leave it out to count"),
        ("[rollup.a]\nwindow = '0s'", "x.toml:2: rollup a: `window` is zero"),
        ("[rollup.a]\nwindow = 10", 'x.toml:2: rollup a: `window` must be a time in quotes, as in "10s"'),
        ("[rollup.a]\nwindow = '10'", "x.toml:2: rollup a: `window`: '10' is not a time: write a number and one of "),
        ("[rollup.a]\nslide = '1s'", "x.toml:2: rollup a: `slide` needs a `window`"),
        ("[rollup.a]\nlateness = '1s'", "x.toml:2: rollup a: `lateness` needs a `window`"),
        ("[rollup.a]\nwindow='1s'\nslide='2s'", "x.toml:3: rollup a: `window` is not 1 to 3600 times `slide`"),
        ("[rollup.a]\nwindow='3s'\nslide='2s'", "x.toml:3: rollup a: `window` is not 1 to 3600 times `slide`"),
        ("[rollup.a]\nwindow='2h'\nslide='1s'", "x.toml:3: rollup a: `window` is not 1 to 3600 times `slide`"),
        ("[rollup.a]\ntop = 0", "x.toml:2: rollup a: `top` must be a number from 1 to 1000000"),
        ("[rollup.a]\ntop = 3", "x.toml:2: rollup a: `top` needs `by`"),
        ("[rollup.a]\nmax_keys = true", "x.toml:2: rollup a: `max_keys` must be a number from 1 to 1000000"),
        ("[rollup.a]\norder_by = 'cuont'", "x.toml:2: rollup a: `order_by`: 'cuont' is not a measure; nearest"),
        (
            "[rollup.a]\norder_by = 'histogram(ret)'",
            "x.toml:2: rollup a: `order_by` is 'histogram(ret)', which is not a single number",
        ),
        ("[rollup.a]\nwhere = 'ret'", "x.toml:2: rollup a: `where`: 'ret' is a number, where a condition is asked for"),
        ("[rollup.a]\nwhere = 3", "x.toml:2: rollup a: `where` must be a condition in quotes"),
        (
            "[rollup.a]\nby = ['comm']\nmeasures = ['count', 'sum(ret) as comm']",
            "x.toml:2: rollup a: the name 'comm' is given twice; write `as NAME` after a key or measure",
        ),
        (
            "[rollup.a]\nby = ['comm as other']",
            "x.toml:2: rollup a: the name 'other' has a meaning of its own; write `as NAME` after a key or measure",
        ),
        ("[rollup.a]\n[rollup.a]", "x.toml:2: is not TOML: "),
        ("[rollup.a]\nby = [", "x.toml:2: is not TOML: "),
        ("[rollup.a]\nwhere = 'a\0b'", "x.toml:2: is not TOML: "),
        ("a = " + "[" * 100_000, "x.toml: is nested too deeply or has a number too long"),
        ("\n" + "a." * 100_000 + "b = 1", "x.toml:2: has a key of more than 64 parts"),
        ("[" + "a." * 100_000 + "b]", "x.toml:1: has a key of more than 64 parts"),
        ("x = {" + "a." * 100_000 + "b = 1}", "x.toml:1: has a key of more than 64 parts"),
        ("a = " + "9" * 100_000, "x.toml: is nested too deeply or has a number too long"),
        (f"[rollup.a]\nby = {['comm'] * 65}", "x.toml:2: rollup a: `by` lists more than 64"),
        ("\n".join(f"[rollup.a{n}]" for n in range(1001)), "x.toml: holds more than 1000 rollups"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_mistake_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_rollups(text, file="x.toml")

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_mistake_in_the_second_rollup_is_on_its_own_line() -> None:
    text = "[rollup.a]\nby = ['comm']\n[rollup.b]\nmeasures = ['count']\nby = ['comm', 'nope']\n"

    with pytest.raises(FormatError, match=r"^x.toml:5: rollup b: `by`: no column is named 'nope'"):
        parse_rollups(text, file="x.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("events = ['openat',\n'opnat']", "x.toml:3: rollup a: no event is named 'opnat'; nearest: openat"),
        ("events = ['%fil']", "x.toml:2: rollup a: no class is named '%fil'; nearest: %file"),
        ("by = ['args.flag']", "x.toml:2: rollup a: no argument of its events is named 'flag'; nearest: flags"),
        ("events = ['read']\nby = ['args.flags']", "x.toml:3: rollup a: no argument of its events is named 'flags'"),
        (
            "where = 'prefix(args.nam, 2) == \"x\" and ret == 1'",
            "x.toml:2: rollup a: no argument of its events is named ",
        ),
        ("measures = ['count',\n'sum(int(args.cnt))']", "x.toml:3: rollup a: no argument of its events is named 'cnt'"),
        ("order_by = 'sum(int(args.cnt))'", "x.toml:2: rollup a: no argument of its events is named 'cnt'"),
    ],
)
def test_rollup_that_names_what_events_lack_is_refused(text: str, message: str) -> None:
    (rollup,) = parse_rollups(f"[rollup.a]\n{text}", file="x.toml")

    with pytest.raises(FormatError) as caught:
        check_rollup(rollup, SPECS)

    assert str(caught.value).startswith(message)


def test_events_that_are_named_and_were_not_chosen_are_left_out() -> None:
    rollup = Rollup.parse("a", events=["openat,close", "?nothing"], by=["args.flags"])
    catalogue = Catalogue(frozenset({*SPECS, "close"}))

    assert check_rollup(rollup, SPECS, catalogue=catalogue) == {"openat"}


def test_every_builtin_rollup_fits_any_events() -> None:
    assert builtin_names() == ("errors", "files", "io", "latency", "network", "processes", "syscalls")
    for name in builtin_names():
        assert check_rollup(builtin(name), SPECS) == SPECS.keys()


def test_rollups_are_found_by_name_or_file(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(WHOLE)

    assert find_rollups("errors") == (builtin("errors"),)
    assert [rollup.name for rollup in find_rollups(str(path))] == ["slow-opens"]
    with pytest.raises(TraceleftError, match=r"^no rollup is named 'erors'; nearest: errors$"):
        find_rollups("erors")


def test_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    binary, pipe, large = tmp_path / "binary", tmp_path / "pipe", tmp_path / "large"
    binary.write_bytes(b"[rollup.a]\n\xff")
    os.mkfifo(pipe)
    large.write_bytes(b"#" * ((1 << 18) + 1))
    messages = {
        binary: "binary:2: is not text",
        pipe: "pipe: is not a regular file",
        large: "large: is longer than 262144 bytes",
        tmp_path: ": cannot be read: is a directory",
        tmp_path / "none": "none: cannot be read: no such file or directory",
        tmp_path / "nul\0": "cannot be read: embedded null byte",
    }

    for path, message in messages.items():
        with pytest.raises(FormatError) as caught:
            read_rollups(path)
        assert str(caught.value).endswith(message)


LINES = st.sampled_from(
    [*WHOLE.split("\n"), "[rollup.b]", "by = [", "'pth'", "]", "x = 1", "[rollup]", "window = 1979-05-27", "top = 1.5"]
)


@given(st.lists(LINES | st.text(max_size=20), max_size=12).map("\n".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_rollups(text, file="x.toml")
    except FormatError as exc:
        assert "\n" not in str(exc)
