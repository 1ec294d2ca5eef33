"""What the shipped modules import of each other, read from their sources."""

import ast
from collections.abc import Mapping
from pathlib import Path

from tests.support.paths import ROOT

LAYERS = ("templates", "generator", "battery", "tracer", "aggregator")
EXTENSIONS = ("._native", "._object")


def imported_names(source: str) -> set[str]:
    """Return every module that a source imports, wherever in it, and ``module.name`` for names taken from one."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module)
                names |= {f"{module}.{alias.name}" for alias in node.names}
            case ast.ImportFrom():
                names.add("relative import")
    return names


def modules(directory: str) -> list[Path]:
    """Return the Python files below a top-level directory, as paths from the root, without following links."""
    found = (path.relative_to(ROOT) for path in sorted((ROOT / directory).rglob("*.py")))
    return [path for path in found if directory != "traceleft" or path.parts[1] not in LAYERS]


SHIPPED = [path for directory in ("traceleft", *LAYERS) for path in modules(directory)]


def module_name(path: Path) -> str:
    """Return the dotted name of a shipped module."""
    parts = path.with_suffix("").parts
    names = parts if parts[0] == "traceleft" else ("traceleft", *parts)
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which of these modules each imports, wherever in it; an extension is nobody's circle."""
    graph = {}
    for name, source in sources.items():
        found = imported_names(source)
        # `from package import module` names both; the package itself is imported for a name of its own alone.
        packages = {each.rsplit(".", 1)[0] for each in found if each in sources or each.endswith(EXTENSIONS)}
        owns = {each.rsplit(".", 1)[0] for each in found if each not in sources and not each.endswith(EXTENSIONS)}
        graph[name] = {each for each in found & sources.keys() if each not in packages or each in owns} - {name}
    return graph
