"""Messages of commits: an area, what is done, and why."""

from collections.abc import Callable, Iterator
from runpy import run_path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "scripts" / "check_commits.py"
mistakes_of: Callable[[str], Iterator[str]] = run_path(str(SCRIPT))["mistakes_of"]
BODY = "\n\nIt was wrong."


@pytest.mark.parametrize(
    "message",
    [
        f"trace: show signals{BODY}",
        f"battery, docs: refuse objects that pin maps{BODY}",
        "tests/kernel: wait for the end\n\n    $ a command whose line is quoted\n\nhttps://example.org/" + "x" * 90,
    ],
)
def test_message_that_keeps_the_rules(message: str) -> None:
    assert list(mistakes_of(message)) == []


@pytest.mark.parametrize(
    ("message", "mistake"),
    [
        (f"Show signals{BODY}", "the subject is not"),
        (f"trace: Show signals{BODY}", "the subject is not"),
        (f"trace: show signals.{BODY}", "the subject is not"),
        (f"trace: {'x' * 66}{BODY}", "the subject has 73 characters"),
        ("trace: show signals", "there is no body"),
        ("trace: show signals\nIt was wrong.", "the second line is not empty"),
        (f"trace: show signals\n\n{'words ' * 13}", "a line of the body is longer"),
    ],
)
def test_message_that_breaks_a_rule(message: str, mistake: str) -> None:
    assert any(each.startswith(mistake) for each in mistakes_of(message))
