"""No function is longer than a reader takes in at once."""

import ast
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

LINES_MAX = 50
MODULE_MAX = 400
FOLDERS = ("traceleft", "generator", "battery", "tracer", "aggregator", "bench", "scripts", "tests", "examples")
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if "golden" not in path.parts and not any(each.is_symlink() for each in (path, *path.parents))
)
SHIPPED_FILES = [path for path in FILES if path.relative_to(ROOT).parts[0] in FOLDERS[:5]]


def long_functions(source: str) -> Iterator[str]:
    """Yield the names of functions that have too many lines, decorators left out."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if (node.end_lineno or 0) - node.lineno >= LINES_MAX:
                yield node.name


def test_functions_are_short() -> None:
    found = {(str(path.relative_to(ROOT)), name) for path in FILES for name in long_functions(path.read_text())}

    assert len(FILES) > 500
    assert found == set()


@pytest.mark.parametrize(("lines", "names"), [(LINES_MAX, []), (LINES_MAX + 1, ["f"])])
def test_long_function_is_found(lines: int, names: list[str]) -> None:
    assert list(long_functions("def f():\n" + "    pass\n" * (lines - 1))) == names


def test_modules_are_short() -> None:
    long = {str(path.relative_to(ROOT)) for path in SHIPPED_FILES if len(path.read_text().splitlines()) > MODULE_MAX}

    assert len(SHIPPED_FILES) > 200
    assert long == set()
