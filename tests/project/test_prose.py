"""Text that users read is plain English: messages and help avoid the forms that CONTRIBUTING.md lists."""

import ast
import re
from collections.abc import Iterator

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


# Written by tests and benchmarks.
WRITTEN = {"commands.md", "differential.md", "performance.md", "support.md"}
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(each for each in (ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("form", FORMS)
def test_documentation_avoids(form: str) -> None:
    pattern = re.compile(FORMS[form])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line[:100]}"
        for path in sorted(PAGES)
        if path.name not in WRITTEN
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]

    assert found == []


def test_list_of_forms_is_in_contributing() -> None:
    listed = (ROOT / "CONTRIBUTING.md").read_text()

    assert [form for form in FORMS if f"| {form} |" not in listed] == []
