"""Keys, measures and conditions: what is taken, what is refused and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.aggregator.rollups.expression_tree import (
    Arg,
    Both,
    Call,
    Compare,
    Constant,
    Expression,
    IsNone,
    Name,
    Not,
)
from traceleft.aggregator.rollups.parse import (
    MAX_TEXT,
    parse_condition,
    parse_key,
    parse_measure,
    parse_time,
    parse_value,
)
from traceleft.aggregator.rollups.parts import Measure
from traceleft.errors import ExpressionError

RET, PATH, ERROR, PORT = Name("ret", "integer"), Name("path", "text"), Name("error", "text"), Name("port", "integer")
DURATION = Name("duration_ns", "integer")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('error == "ENOENT"', Compare("==", ERROR, Constant("ENOENT"))),
        ("ret >= -1", Compare(">=", RET, Constant(-1))),
        ("3 < ret", Compare(">", RET, Constant(3))),
        ("0 <= ret < 9", Both("and", (Compare(">=", RET, Constant(0)), Compare("<", RET, Constant(9))))),
        ("port in (80, 443)", Compare("in", PORT, Constant((80, 443)))),
        ('error not in ["EIO"]', Compare("not in", ERROR, Constant(("EIO",)))),
        ("error is None", IsNone(ERROR)),
        ("error is not None", Not(IsNone(ERROR))),
        ('path.startswith("/etc/")', Call("startswith", PATH, "/etc/")),
        ('not path.endswith("x")', Not(Call("endswith", PATH, "x"))),
        ('"x" in path', Call("contains", PATH, "x")),
        ('"x" not in args.name', Not(Call("contains", Arg("name", "text"), "x"))),
        ('prefix(path, 2) == "/a/b"', Compare("==", Call("prefix", PATH, 2), Constant("/a/b"))),
        ("int(args.count) > 4096", Compare(">", Arg("count", "integer"), Constant(4096))),
        ('args["from"] == path', Compare("==", Arg("from", "text"), PATH)),
        ("duration > 5 or ret == 1 and fd is None", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_condition_becomes_a_tree(text: str, tree: Expression | None) -> None:
    expected = tree or Both(
        "or",
        (
            Compare(">", DURATION, Constant(5)),
            Both("and", (Compare("==", RET, Constant(1)), IsNone(Name("fd", "integer")))),
        ),
    )

    assert parse_condition(text) == expected


@pytest.mark.parametrize(
    ("text", "name", "tree"),
    [
        ("comm", "comm", Name("comm", "text")),
        ("duration", "duration_ns", DURATION),
        ("prefix(path, 2)", "path_prefix_2", Call("prefix", PATH, 2)),
        ("args.flags", "args_flags", Arg("flags", "text")),
        ("int(args.fd) as file", "file", Arg("fd", "integer")),
    ],
)
def test_key_has_a_name(text: str, name: str, tree: Expression) -> None:
    key = parse_key(text)

    assert (key.name, key.expression) == (name, tree)


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("count", Measure("count", "count")),
        ("errors as failed", Measure("failed", "errors")),
        ("bytes", Measure("bytes", "sum", Name("bytes", "integer"))),
        ("sum(bytes) as moved", Measure("moved", "sum", Name("bytes", "integer"))),
        ("p99(duration_ns)", Measure("duration_ns_p99", "percentile", DURATION, 99_000)),
        ("p99.9(duration)", Measure("duration_ns_p99_9", "percentile", DURATION, 99_900)),
        ("p100(ret)", Measure("ret_p100", "percentile", RET, 100_000)),
        ("exact_p50( ret )", Measure("ret_exact_p50", "exact", RET, 50_000)),
        ("histogram(duration)", Measure("duration_ns_histogram", "histogram", DURATION)),
        ("sum(int(args.count))", Measure("args_count_sum", "sum", Arg("count", "integer"))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_measure_is_read(text: str, measure: Measure) -> None:
    assert parse_measure(text) == measure


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("10s", 10**10), ("1 ms", 10**6), ("2h", 7200 * 10**9), ("0s", 0), ("1d", 86400 * 10**9), ("7ns", 7)],
)
def test_time_is_read_in_nanoseconds(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('pth == "x"', "no column is named 'pth'; nearest: path"),
        ('pid == "x"', "'pid' is a number and '\"x\"' text: they cannot be compared"),
        ("args.count > 3", "'args.count' is text and '3' a number: they cannot be compared; write int(args.NAME)"),
        ("ret", "'ret' is a number, where a condition is asked for"),
        ("error == None", "a value is compared with None by `is None` or `is not None`"),
        ("error is path", "`is` stands before None only"),
        ("1 == 1", "'1' and '1' are the same for every event"),
        ("ret in ()", "`in` takes one or more numbers"),
        ('ret in (1, "a")', "`in` takes one or more numbers"),
        ("comm in path", '`in` stands before values in parentheses, as in ("a", "b"), or after a text in quotes'),
        ("ret == 1.5", "'1.5' is neither a text nor a whole number of 64 bits"),
        ("ret == 9223372036854775808", "'9223372036854775808' is neither a text nor a whole number of 64 bits"),
        ("args == 1", "`args` is all arguments; write args.NAME"),
        ("path.startswith(comm)", "startswith takes one text in quotes"),
        ('ret.startswith("x")', "'ret' is not a text column of an event"),
        ('prefix(path, 0) == "x"', "prefix takes a number of components from 1 to 64"),
        ("int(ret) == 1", "int takes args.NAME, not 'ret'"),
        ('prefix(path, n=2) == "x"', "prefix takes a text and a number, (path, 2)"),
        ('(lambda: 0)() == "x"', "'(lambda: 0)()' is not understood here; there are columns, "),
        (
            '__import__("os").system("x")',
            '\'__import__("os").system("x")\' is not understood here; there are columns, ',
        ),
        ("ret == (pid == 1)", "'pid == 1' is a condition, where a value is asked for"),
        ("", "'' is not an expression: invalid syntax"),
        ("(" * 300, f"'{'(' * 64}…' is not an expression: too many nested parentheses"),
        ("not " * 40 + "ret == 1", f"'{('not ' * 40)[:64]}…' is nested more than 32 deep"),
        ("ret == 0x" + "f" * 4000, f"'0x{'f' * 62}…' is neither a text nor a whole number of 64 bits"),
        ("a\0", "'a\\x00' is not an expression: it is nested too deeply, or is not text"),
        ("\udcff == 1", "'\\udcff == 1' is not an expression: it is nested too deeply, or is not text"),
        ("x" * (MAX_TEXT + 1), f"'{'x' * 64}…' is longer than {MAX_TEXT} characters"),
    ],
)
def test_condition_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(text)

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p99(args.count)", "p99 takes a number, and 'args.count' is text; write int(args.count)"),
        ("sum(path)", "sum takes a number, and 'path' is text"),
        ("som(ret)", "no measure is named 'som'; nearest: sum"),
        ("p101(ret)", "p101 is beyond p100"),
        ("cuont", "'cuont' is not a measure; nearest: count; measures are count, errors, bytes, sum(x), p99(x), …"),
        ("sum(3)", "'3' is the same for every event; name a column"),
        ("count as 3x", "'3x' is not a valid name: use letters, digits and _, at most 64"),
        ("sum(duraton_ns)", "no column is named 'duraton_ns'; nearest: duration_ns"),
    ],
)
def test_measure_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_measure(text)

    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1.5s", "10 weeks", "999999999999999999d", "1s\0"])
def test_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"is not a time|beyond 292 years"):
        parse_time(text)


WORDS = st.sampled_from(
    [
        *"()[].,<>=!-+*/\"'\\{}:@ \n\0",
        "ret",
        "path",
        "args",
        " in ",
        " is ",
        "not ",
        "None",
        "and ",
        "int",
        "prefix",
        "1",
    ]
)


@given(st.text(max_size=60) | st.lists(WORDS, max_size=30).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_condition, parse_value, parse_key, parse_measure, parse_time):
        try:
            parse(text)
        except ExpressionError as exc:
            assert "\n" not in str(exc)
