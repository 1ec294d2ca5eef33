"""Rules as they are read: what a file says, and each mistake with its line."""

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.records import openat
from traceleft.aggregator.rules.rule import PANES, Rule, check_rule, parse_rules, read_rules
from traceleft.errors import FormatError

SHADOW = """\
# Who reads what they should not.
[rule.shadow]
events = ["openat"]
where = 'error is not None and path == "/etc/shadow"'
by = ["uid"]
measures = ["count", "p99(duration_ns) as slow"]
when = "count > 20 and slow is not None"
window = "10s"
message = "{uid} failed {count} times on {host}"
severity = "critical"
cooldown = "60s"
limit = "10/min"
"""


def rule_of(text: str) -> Rule:
    (rule,) = parse_rules(text, file="r.toml")
    return rule


def error_of(text: str) -> str:
    with pytest.raises(FormatError) as caught:
        parse_rules(text, file="r.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rule_is_read_as_it_is_written() -> None:
    rule = rule_of(SHADOW)

    assert (rule.name, rule.severity) == ("shadow", "critical")
    assert rule.rollup.window_ns == 10_000_000_000
    assert rule.pane_ns == rule.rollup.window_ns // PANES
    assert rule.cooldown_ns == 60_000_000_000
    assert rule.limit == (10, 60_000_000_000)
    assert rule.fields == ("uid", "count", "host")


def test_count_is_short_for_a_condition() -> None:
    short = rule_of('[rule.x]\nevents=["openat"]\nwindow="1s"\ncount=">20"\n')
    whole = rule_of('[rule.x]\nevents=["openat"]\nwindow="1s"\nwhen="count > 20"\n')

    assert short == whole


def test_slide_says_how_finely_a_window_moves() -> None:
    text = '[rule.x]\nevents=["openat"]\nwindow="10s"\ncount=">1"\nslide="{}"\n'

    assert rule_of(text.format("2s")).pane_ns == 2_000_000_000
    assert rule_of(text.format("10s")).pane_ns == 10_000_000_000


def test_count_is_there_whatever_the_measures_are() -> None:
    rule = rule_of('[rule.x]\nevents=["openat"]\nwindow="1s"\nmeasures=["sum(bytes) as moved"]\nwhen="count > 1"\n')

    assert [measure.name for measure in rule.rollup.measures] == ["moved", "count"]


def test_file_may_hold_rollups_beside_rules(tmp_path: Path) -> None:
    from traceleft.aggregator.rollups.rollup_files import read_rollups

    (tmp_path / "both.toml").write_text(SHADOW + '[rollup.x]\nby=["comm"]\n')

    assert [rule.name for rule in read_rules([tmp_path / "both.toml"])] == ["shadow"]
    assert [rollup.name for rollup in read_rollups(tmp_path / "both.toml")] == ["x"]


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        (4, "where = 'eror is None'", "r.toml:4: rule shadow: `where`: no column is named 'eror'"),
        (4, "where = 'uid == \"root\"'", "r.toml:4: rule shadow: `where`: 'uid' is a number and"),
        (5, 'by = ["user"]', "r.toml:5: rule shadow: `by`: no column is named 'user'"),
        (6, 'measures = ["p99(duration_ns) as slow", "cuont"]', "r.toml:6: rule shadow: `measures`: 'cuont' is no"),
        (6, 'measures = ["histogram(duration_ns) as slow"]', "r.toml:6: rule shadow: `measures`: slow cannot be"),
        (6, 'measures = ["exact_p99(duration_ns) as slow"]', "r.toml:6: rule shadow: `measures`: slow cannot be"),
        (7, 'when = "cont > 20"', "r.toml:7: rule shadow: `when`: no measure is named 'cont'"),
        (7, "when = \"count > 'x'\"", "r.toml:7: rule shadow: `when`: 'count' is a number and"),
        (7, 'when = "count"', "r.toml:7: rule shadow: `when`: 'count' is a number, where a condition"),
        (7, 'when = "int(args.x) > 2"', "r.toml:7: rule shadow: `when` has arguments in it"),
        (7, "when = 3", "r.toml:7: rule shadow: `when` must be a condition in quotes"),
        (7, 'count = "<20"', "r.toml:7: rule shadow: `count` must be"),
        (7, "count = 20", "r.toml:7: rule shadow: `count` must be a condition in quotes"),
        (7, "", "r.toml:2: rule shadow: `count` or `when` is missing"),
        (8, 'window = "0s"', "r.toml:8: rule shadow: `window` is zero"),
        (8, "window = 10", "r.toml:8: rule shadow: `window` must be a time in quotes"),
        (8, "", "r.toml:7: rule shadow: `when` needs a `window`"),
        (9, 'message = "{user}"', "r.toml:9: rule shadow: `message` names no key or measure: {user}"),
        (9, 'message = "{uid"', "r.toml:9: rule shadow: `message`: expected '}'"),
        (9, 'message = "{uid.real}"', "r.toml:9: rule shadow: `message` names no key or measure: {uid.real}"),
        (9, 'message = "{}"', "r.toml:9: rule shadow: `message` names no key or measure"),
        (9, 'message = "{count:>1000000000}"', "r.toml:9: rule shadow: `message` names no key or measure"),
        (9, "message = 5", "r.toml:9: rule shadow: `message` must be one line of text"),
        (10, 'severity = "bad"', "r.toml:10: rule shadow: `severity` must be one of info, warning, error, critical"),
        (11, 'cooldown = "soon"', "r.toml:11: rule shadow: `cooldown`: 'soon' is not a time"),
        (12, 'limit = "many"', "r.toml:12: rule shadow: `limit` must be a number of alerts in a time"),
        (12, 'limit = "0/min"', "r.toml:12: rule shadow: `limit` must be a number of alerts in a time"),
        (12, "top = 5", "r.toml:12: rule shadow: unknown key 'top'"),
        (12, 'sevrity = "info"', "r.toml:12: rule shadow: unknown key 'sevrity'; nearest: severity"),
        (12, "[rule.shadow]", "r.toml:12: is not TOML: cannot declare ('rule', 'shadow') twice"),
    ],
)
def test_each_mistake_is_told_with_its_line(line: int, instead: str, message: str) -> None:
    lines = SHADOW.split("\n")
    lines[line - 1] = instead

    assert error_of("\n".join(lines)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "r.toml: holds no rule; write [rule.NAME]"),
        ("rule = 3", "r.toml:1: `rule` must be a table"),
        ("[rules.x]\n", "r.toml:1: unknown key 'rules'"),
        ("[rule.x]\n", "r.toml:1: rule x: says nothing of events"),
        ('[rule.x]\nevents=["openat"]\ncount=">1"\n', "r.toml:3: rule x: `count` needs a `window`"),
        ('[rule.x]\nevents=["openat"]\nwindow="1s"\ncount=">1"\nwhen="count > 1"\n', "r.toml:4: rule x: `count` excl"),
    ],
)
def test_file_that_says_too_little_is_refused(text: str, message: str) -> None:
    assert error_of(text).startswith(message)


def test_two_files_with_a_rule_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(SHADOW)

    with pytest.raises(FormatError, match=r"b.toml:2: rule shadow: .*a.toml also has a rule of that name"):
        read_rules([tmp_path / "a.toml", tmp_path / "b.toml"])


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        (3, 'events = ["opennat"]', "r.toml:3: rule shadow: "),
        (5, 'by = ["args.filenam"]', "r.toml:5: rule shadow: no argument of its events is named 'filenam'"),
        (4, "where = 'int(args.flag) == 1'", "r.toml:4: rule shadow: no argument of its events is named 'flag'"),
    ],
)
def test_rule_is_held_against_the_events_there_are(line: int, instead: str, message: str) -> None:
    spec, _ = openat()
    lines = SHADOW.split("\n")
    lines[line - 1] = instead
    lines[8] = ""

    with pytest.raises(FormatError) as caught:
        check_rule(rule_of("\n".join(lines)), {"openat": spec})

    assert str(caught.value).startswith(message)


def test_rules_of_the_documentation_are_rules() -> None:
    text = (ROOT / "docs" / "reference" / "rules.md").read_text()
    example = text.split("```toml\n")[1].split("```")[0]

    rules = parse_rules(example, file="rules.md")

    assert [rule.name for rule in rules] == ["shadow", "slow-disk", "ld-preload"]
    assert [rule.shown for rule in rules[:2]] == [(), ()]
    assert [name.name for name in rules[2].shown] == ["comm", "pid", "path"]
