"""The reference says what the code does: commands, options, columns, messages, public names."""

import ast
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import click
import pytest

import traceleft
from tests.project.test_prose import FILES
from tests.support.paths import ROOT
from traceleft.aggregator.rollups.columns import COLUMNS
from traceleft.aggregator.rollups.rollup_files import parse_rollups
from traceleft.aggregator.rules.rule import parse_rules
from traceleft.cli.main import cli

REFERENCE = ROOT / "docs" / "reference"
CODE = re.compile(r"^( *)```(?!mermaid)\w*.*?\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PUBLIC = [name for name in traceleft.__all__ if not name.startswith("__")]


def test_command_line_page_is_made_from_the_command_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"

    subprocess.run([sys.executable, ROOT / "scripts" / "make_command_reference.py", page], check=True, timeout=60)

    assert page.read_text() == (REFERENCE / "command-line.md").read_text(), "run `make golden`"


def test_drawings_of_concepts_are_current(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "draw_concepts.py", tmp_path], check=True, timeout=60)

    drawn = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert drawn == {file.name: file.read_text() for file in (ROOT / "docs" / "concepts").glob("*.svg")}, (
        "run `make golden`"
    )


def test_drawing_of_the_structure_is_current(tmp_path: Path) -> None:
    drawing = tmp_path / "structure.svg"

    subprocess.run([sys.executable, ROOT / "scripts" / "draw_structure.py", drawing], check=True, timeout=60)

    assert drawing.read_text() == (ROOT / "docs" / "project" / "structure.svg").read_text(), "run `make golden`"


def test_python_page_has_every_public_name_once() -> None:
    listed = re.findall(r"^::: traceleft\.(\w+)$", (REFERENCE / "python.md").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(PUBLIC)


def undocumented(name: str, value: object) -> Iterator[str]:
    """Yield a public object, and the members that it has of its own, where they have no docstring."""
    if not inspect.getdoc(value):
        yield name
    if inspect.isclass(value):
        for member, found in vars(value).items():
            function = getattr(found, "fget", getattr(found, "__func__", found))
            if not member.startswith("_") and isinstance(function, FunctionType) and not function.__doc__:
                yield f"{name}.{member}"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_docstrings(name: str) -> None:
    value = getattr(traceleft, name)

    assert list(undocumented(name, value)) == []
    assert value.__doc__, f"{name} inherits its docstring"


def test_missing_docstring_is_found() -> None:
    class Bare:
        def method(self) -> None:
            pass

        @property
        def value(self) -> int:
            return 1

    assert list(undocumented("Bare", Bare)) == ["Bare", "Bare.method", "Bare.value"]


def test_columns_page_lists_the_columns() -> None:
    page = (REFERENCE / "columns.md").read_text()
    rows = [f"| `{c.name}` | {c.type} | {'yes' if c.is_optional else 'no'} | {c.doc} |" for c in COLUMNS]

    assert [row for row in rows if row not in page] == []


def literals() -> set[str]:
    """Return every text of the shipped code, the constant parts of f-strings among them."""
    trees = (ast.parse(path.read_text()) for path in FILES)
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {node.value for node in nodes if isinstance(node.value, str)}


def test_errors_page_lists_messages_that_exist() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (REFERENCE / "errors.md").read_text(), re.MULTILINE)
    texts = literals()
    parts = {part.strip() for row in rows for part in re.split("…|; ", row) if len(part.strip()) > 3}

    assert len(rows) > 30
    assert [part for part in sorted(parts) if not any(part in text for text in texts)] == []


def blocks_of(kind: str) -> list[tuple[str, str]]:
    """Return the code blocks of a kind, with their pages."""
    fence = re.compile(rf"^```{kind}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [(page.name, block) for page in PAGES for block in fence.findall(page.read_text())]


def test_rules_and_rollups_in_pages_are_sound() -> None:
    found = [(page, block) for page, block in blocks_of("toml") if block.lstrip().startswith(("[rule.", "[rollup."))]

    named = [
        each.name
        for page, block in found
        for each in (parse_rules if "[rule." in block else parse_rollups)(block, file=page)
    ]

    assert {"hostname", "many-failures", "shadow", "slow-reads", "slow-opens"} <= set(named)


def test_python_in_pages_imports_what_there_is() -> None:
    trees = [(page, ast.parse(block)) for page, block in blocks_of("python")]
    imports = [(page, node) for page, tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {(page, name.name) for page, node in imports if node.module == "traceleft" for name in node.names}

    assert len(names) > 10
    assert {(page, name) for page, name in names if name not in PUBLIC} == set()


def shown_commands() -> Iterator[tuple[str, str]]:
    """Yield the page and the text of each command of ours in a code block."""
    for page in PAGES:
        for _, block in CODE.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.strip().removeprefix("$ ")
                if command.startswith("traceleft ") and "…" not in command and "[OPTIONS]" not in command:
                    yield page.name, command


def parts_of(command: str) -> list[str]:
    """Return a command's words as a shell splits them, up to a redirection, a pipe or a comment."""
    words = shlex.shlex(command, posix=True, punctuation_chars="<>|&;")
    words.whitespace_split = True
    words.commenters = "#"
    found = []
    for word in words:
        if set(word) <= set("<>|&;"):
            break
        found.append(word)
    return found[1:]


def refusal(words: list[str]) -> str | None:
    """Return what the command line refuses in these words before anything is read or traced, or None."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(click.Context(command), name)
        if found is None:
            return f"no command {name}"
        command = found
    if "--" in words:
        words = words[: words.index("--")]
    try:
        command.make_parser(click.Context(command)).parse_args(words)
    except click.UsageError as error:
        return error.format_message()
    return None


# A line of the ledger is not a command; a table of doctor's neither.
COMMANDS = sorted({each for each in shown_commands() if each[1].split()[1] in cli.list_commands(click.Context(cli))})


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command[:60]}" for page, command in COMMANDS])
def test_command_in_a_page_is_one(page: str, command: str) -> None:
    assert refusal(parts_of(command)) is None


def test_command_that_does_not_exist_is_refused() -> None:
    assert "--no-such-option" in str(refusal(parts_of("traceleft trace --no-such-option -- true")))
    assert refusal(parts_of("traceleft battery nothing")) == "no command nothing"
