"""The configuration file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.errors import FormatError
from traceleft.expression import Catalogue
from traceleft.generator.config import Config, choose_arguments, choose_events, parse_config, read_config

CATALOGUE = Catalogue(
    frozenset({"openat", "connect", "newuname", "sched:sched_switch"}),
    {"newuname": ["uname"]},
    {"network": frozenset({"connect"})},
)
GOOD = """events = ["openat", "%network"]

[event.openat]
arguments = ["filename", "flags"]
[event."sched:sched_switch"]
arguments = []
[event.connect]
"""


def parse(text: str) -> Config:
    return parse_config(text, file="events.toml")


def choose(text: str, *expressions: str) -> tuple[str, ...]:
    return choose_events(expressions, parse(text), CATALOGUE, default=["newuname"])


def test_configuration_chooses_events() -> None:
    assert choose(GOOD) == ("connect", "openat")


def test_expressions_go_before_the_configuration() -> None:
    assert choose(GOOD, "uname") == ("newuname",)


def test_configuration_without_events_leaves_the_default() -> None:
    assert choose("[event.openat]\narguments = []\n") == ("newuname",)


def test_arguments_are_by_event() -> None:
    assert choose_arguments(parse(GOOD), CATALOGUE) == {"openat": ("filename", "flags"), "sched:sched_switch": ()}


def test_event_may_have_its_other_name() -> None:
    assert choose_arguments(parse("[event.uname]\narguments = []\n"), CATALOGUE) == {"newuname": ()}


BAD = {
    "wrong-key": 'event = {}\nevnts = ["openat"]\n',
    "wrong-inner-key": '[event.openat]\n# arguments\nargs = ["filename"]\n',
    "no-toml": 'events = ["openat"\n[event\n',
    "cut-off": 'events = ["openat",',
    "events-no-list": 'events = "openat"\n',
    "events-of-numbers": "\n\nevents = [1]\n",
    "empty-name": 'events = [""]\n',
    "event-no-table": "event = 1\n",
    "no-event": "# events of a config\nevents = []\n",
    "event-name-no-table": "event.openat = 1\n",
    "arguments-no-list": '[event.openat]\narguments = "filename"\n',
    "unknown-event": 'events = ["openat",\n  "conect"]\n',
    "unknown-class": 'events = ["%netwrk"]\n',
    "unknown-event-table": 'events = ["openat"]\n\n[event.openta]\narguments = []\n',
    "deep": "a = " + "[" * 5000,
    "long-number": "a = " + "1" * 5000,
}


def test_each_bad_configuration_is_told_as_the_golden_has_it(golden: Callable[[str, str], None]) -> None:
    messages = []
    for name, text in sorted(BAD.items()):
        with pytest.raises(FormatError) as caught:
            config = parse_config(text, file=name)
            choose_events((), config, CATALOGUE, default=())
            choose_arguments(config, CATALOGUE)
        messages.append(f"{caught.value}\n")

    golden("errors/config.txt", "".join(messages))


@pytest.mark.parametrize("data", [b"\n\n\xff", b"a" * (2 << 20)], ids=["binary", "enormous"])
def test_file_is_bounded_text(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "events.toml"
    path.write_bytes(data)

    with pytest.raises(FormatError, match=r"events\.toml"):
        read_config(path)


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        read_config(tmp_path / "absent.toml")


@given(st.text() | st.text(alphabet='[event.a]"=\n#,rgumns1{}', max_size=200))
def test_arbitrary_text_raises_nothing_but_format_error(text: str) -> None:
    try:
        config = parse(text)
        choose_events((), config, CATALOGUE, default=())
        choose_arguments(config, CATALOGUE)
    except FormatError:
        return
