"""Text that users read is plain English: messages and help avoid the forms that CONTRIBUTING.md lists."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LAYERS = ("traceleft", "generator", "battery", "tracer", "aggregator")
FORMS = {
    "is none": r"(?<!there )\b(is|are|was|were) none\b",
    # "There is none" and "is no longer" are plain English.
    "is no X": r"(?<!there )\b(is|are) no (?!longer)[a-z]",
    ", too": r", too\b",
    "beside": r"\bbeside\b",
    "but for": r"\bbut for\b",
    "of which": r"\bof which\b",
    "told": r"\btold\b(?!$)",
    "is of": r"\b(is|are) of\b",
}
FILES = sorted({each.resolve() for layer in LAYERS for each in (ROOT / layer).rglob("*.py")})


def texts_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each text that may be printed, with its line: literals, and the help of commands."""
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings.add(id(node.value))
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_command") and node.decorator_list:
            yield node.lineno, ast.get_docstring(node) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_every_layer_is_looked_at() -> None:
    assert {each.relative_to(ROOT).parts[0] for each in FILES} == set(LAYERS)


@pytest.mark.parametrize("form", FORMS)
def test_messages_and_help_avoid(form: str) -> None:
    pattern = re.compile(FORMS[form])
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip()[:100]!r}"
        for path in FILES
        for line, text in texts_of(ast.parse(path.read_text()))
        if pattern.search(text)
    ]

    assert found == []


# Comments and docstrings of all code, tests included; this file names the forms.
CODE = sorted(
    {
        each.resolve()
        for folder in (*LAYERS, "bench", "examples", "scripts", "templates", "tests")
        for each in (ROOT / folder).rglob("*.py")
    }
    - {Path(__file__).resolve()}
)
OTHER_CODE = sorted(
    each
    for layer in (*LAYERS, "bench", "scripts", "templates")
    for each in (ROOT / layer).rglob("*")
    if each.suffix in (".c", ".css", ".h", ".j2", ".js", ".pyi", ".sh", ".toml")
)


def comments_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment and each docstring of a source, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


@pytest.mark.parametrize("form", FORMS)
def test_comments_and_docstrings_avoid(form: str) -> None:
    pattern = re.compile(FORMS[form])
    texts = [(path, line, text) for path in CODE for line, text in comments_of(path.read_text())]
    texts += [(path, line, text) for path in OTHER_CODE for line, text in enumerate(path.read_text().splitlines(), 1)]

    assert len(CODE) > 300 and len(OTHER_CODE) > 30
    assert [f"{path.relative_to(ROOT)}:{line}" for path, line, text in texts if pattern.search(text)] == []


def test_forms_are_found_in_comments_and_docstrings() -> None:
    source = '"""This is none."""\n\nX = 1  # told\n'

    assert [line for line, text in comments_of(source) for form in FORMS.values() if re.search(form, text)] == [1]
    assert [text for _, text in comments_of(source)] == ["# told", "This is none."]


DOCS = ROOT / "docs"
# Written by scripts and tests.
WRITTEN = {
    DOCS / "project" / "commands.md",
    DOCS / "project" / "differential.md",
    DOCS / "project" / "support.md",
    DOCS / "reference" / "command-line.md",
}
BY_HAND = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")} - WRITTEN)
PAGES = [*BY_HAND, ROOT / "CHANGELOG.md"]
# What benchmarks and tests write into a page that is written by hand otherwise.
FIGURES = re.compile(r"<!-- (?:measured|written by|below:).*?(?:<!-- end[^\n]*|\Z)", re.DOTALL)
FENCE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
WIDEST = 100


def blanked(found: re.Match[str]) -> str:
    """Return as many lines, empty."""
    return "\n" * found[0].count("\n")


def prose_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page that somebody wrote, with their numbers: no figures, code and tables."""
    for number, line in enumerate(FENCE.sub(blanked, FIGURES.sub(blanked, text)).splitlines(), 1):
        if not line.startswith("|"):
            yield number, line


@pytest.mark.parametrize("form", FORMS)
def test_documentation_avoids(form: str) -> None:
    pattern = re.compile(FORMS[form])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line[:100]}"
        for path in PAGES
        for number, line in enumerate(FIGURES.sub(blanked, path.read_text()).splitlines(), 1)
        # CONTRIBUTING lists the forms in a table.
        if pattern.search(line) and not (path.name == "CONTRIBUTING.md" and line.startswith("|"))
    ]

    assert found == []


def test_lines_of_documentation_are_short() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"
        for path in BY_HAND
        for number, line in prose_of(path.read_text())
        if len(line) > WIDEST
    ]

    assert found == []


def test_code_tables_and_figures_may_be_wide() -> None:
    wide = "x" * 200
    page = f"a\n```\n{wide}\n```\n| {wide} |\nb\n<!-- measured: so -->\n{wide}\n<!-- end of measured -->\n{wide}\n"

    assert [(number, line) for number, line in prose_of(page) if line] == [
        (1, "a"),
        (6, "b"),
        (10, wide),
    ]


def test_list_of_forms_is_in_contributing() -> None:
    listed = (ROOT / "CONTRIBUTING.md").read_text()

    assert [form for form in FORMS if f"| {form} |" not in listed] == []
