"""The public face: documentation and examples import from ``traceleft`` alone, and every public name is explained."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import traceleft
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What generated decoders import: a path that is kept for them.
OF_DECODERS = "traceleft.tracer.generated"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAMES = [name for name in traceleft.__all__ if name != "__version__"]


def foreign_imports(source: str) -> set[str]:
    """Return what a source imports of ours that is not public."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module="traceleft"):
                found |= {alias.name for alias in node.names} - {*traceleft.__all__}
            case ast.ImportFrom(module=str(module)) if module.startswith("traceleft.") and module != OF_DECODERS:
                found.add(module)
            case ast.Import():
                found |= {alias.name for alias in node.names if alias.name.startswith("traceleft.")}
    return found


def blocks_of(page: Path) -> list[str]:
    """Return the Python code of a page."""
    return BLOCK.findall(page.read_text())


def members_of(public: object) -> Iterator[tuple[str, FunctionType]]:
    """Yield the public methods and properties of a class of ours by name, as functions."""
    if inspect.isclass(public):
        for name, member in inspect.getmembers_static(public):
            found = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if not name.startswith("_") and inspect.isfunction(found) and found.__module__.startswith("traceleft."):
                yield name, found


def raises(function: FunctionType) -> bool:
    """Whether a function itself raises an error, other than one that it caught."""
    if function.__code__.co_filename.startswith("<"):
        return False  # Made by a dataclass.
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    return any(isinstance(each, ast.Call) for each in raised)


def faults_of(text: str | None) -> list[str]:
    """Return what is wrong with a docstring's form."""
    summary, *rest = (text or "").split("\n\n")
    faults = [] if re.fullmatch(r"[^\n]+\.", summary) else ["its first line is one sentence, and ends with a period"]
    prose = [part.rstrip() for part in rest if not part.startswith("    ") and part != "::"]
    return faults + [f"no period: {part[-40:]!r}" for part in prose if not part.endswith((".", "::"))]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_page_imports_from_traceleft_alone(page: Path) -> None:
    assert [names for block in blocks_of(page) if (names := foreign_imports(block))] == []


def test_pages_have_python_to_look_at() -> None:
    assert sum(len(blocks_of(page)) for page in PAGES) > 7


@pytest.mark.parametrize("example", EXAMPLES, ids=[each.stem for each in EXAMPLES])
def test_example_imports_from_traceleft_alone(example: Path) -> None:
    assert foreign_imports(example.read_text()) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from traceleft.tracer import Tracer\n", {"traceleft.tracer"}),
        ("from traceleft import Tracer, Probe\n", {"Probe"}),
        ("import traceleft.errors\n", {"traceleft.errors"}),
        ("from traceleft.tracer.generated import load\nimport numpy\n", set()),
    ],
)
def test_import_that_is_not_public_is_found(source: str, found: set[str]) -> None:
    assert foreign_imports(source) == found


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_explained(name: str) -> None:
    public = getattr(traceleft, name)
    documented = {name: inspect.getdoc(public)}
    documented |= {f"{name}.{member}": inspect.getdoc(found) for member, found in members_of(public)}

    assert {each: faults for each, text in documented.items() if (faults := faults_of(text))} == {}


def makers_of(public: object) -> list[FunctionType]:
    """Return what runs when a public name is called."""
    names = ("__init__", "__post_init__")
    found = [getattr(public, name, None) for name in names] if inspect.isclass(public) else [public]
    return [each for each in found if inspect.isfunction(each) and each.__module__.startswith("traceleft.")]


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_a_public_name_are_listed(name: str) -> None:
    public = getattr(traceleft, name)
    explained = {name: public, **{f"{name}.{member}": found for member, found in members_of(public)}}
    raising = {name} if any(map(raises, makers_of(public))) else set()
    raising |= {f"{name}.{member}" for member, found in members_of(public) if raises(found)}

    assert {each for each in raising if "Raises " not in (inspect.getdoc(explained[each]) or "")} == set()


def test_every_public_name_is_there() -> None:
    assert sorted(NAMES) == NAMES
    assert len(NAMES) > 40
