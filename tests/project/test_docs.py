"""The documentation: links lead somewhere, the man page is current, what it names exists."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.support.paths import ROOT
from traceleft.cli.main import COMMANDS, cli

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    words = (
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(page.read_text())
    )
    return set(words)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_of_a_page_hold(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        goal = page.parent / file if file else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(target)

    assert broken == []


def test_man_page_is_made_from_the_command_line(tmp_path: Path) -> None:
    page = tmp_path / "page"

    subprocess.run([sys.executable, str(ROOT / "scripts" / "make_man.py"), str(page)], check=True, timeout=120)

    assert page.read_text() == (ROOT / "docs" / "traceleft.1").read_text(), "run `make golden`"


def test_man_page_names_every_option() -> None:
    page = (ROOT / "docs" / "traceleft.1").read_text().replace("\\-", "-")
    context = click.Context(cli)
    commands = [command for name in COMMANDS if (command := cli.get_command(context, name))]
    options = [option for c in commands for p in c.params if isinstance(p, click.Option) for option in p.opts]

    assert len(commands) == len(COMMANDS)
    assert [option for option in options if option not in page] == []


def test_every_make_target_that_the_pages_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}

    assert {"run", "test"} <= named
    assert {name for name in named if f"\n{name}:" not in makefile} == set()


def test_no_page_is_empty() -> None:
    assert [str(page) for page in PAGES if len(page.read_text()) < 100] == []
