"""Who may import whom, and where each third party may appear."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.imports import LAYERS, SHIPPED, import_graph, imported_names, module_name, modules
from tests.support.paths import ROOT

BASE = {"document", "errors", "expression", "linux", "record_layout", "terminal", "tracefs", "version"}
ALLOWED = {
    "templates": set[str](),
    "generator": {"templates"},
    "battery": {"generator"},
    "tracer": {"battery"},
    "aggregator": {"tracer"},
}
# Rooms of the tracer, the lowest first, and what each imports of the others.
ROOMS = {
    "schema": set[str](),
    "decode": {"schema"},
    "account": set[str](),
    "sandbox": set[str](),
    "kernel": {"account", "schema"},
    "output": {"account", "decode", "schema"},
    "stacks": {"decode", "kernel", "sandbox", "schema"},
    "recording": {"account", "decode", "output", "schema", "stacks"},
    "session": {"account", "decode", "kernel", "recording", "sandbox", "schema", "stacks"},
}
# What shows a recording works where nothing can be traced.
WITHOUT_SESSION = ("dispatch", "replay", "generated")
WALLS = {
    "jinja2": {"generator/render.py"},
    "pycparser": {"generator/cdecl.py"},
    "elftools": {"battery/objects/elf.py"},
    "bcc": {"tracer/stacks/symbols.py"},
    "cryptography": {"battery/ed25519.py"},
    "re2": {"traceleft/expression.py"},
    "zstandard": {"tracer/recording/codec.py"},
    "ibis": {"aggregator/stored/query.py", "aggregator/stored/engines.py", "aggregator/stored/translate.py"},
    "duckdb": {"aggregator/stored/engines.py"},
    "pyspark": {"aggregator/stored/engines.py"},
    "plotly": {"aggregator/pages/html.py"},
    "prometheus_client": {"aggregator/sinks/prometheus.py"},
    "opentelemetry": {"aggregator/sinks/otlp.py"},
    "pyarrow": {
        "aggregator/stored/export.py",
        "aggregator/stored/parquet.py",
        "aggregator/stored/arrow_table.py",
        "tracer/decode/batch.py",
    },
}
CLI_ONLY = {"click", "rich"}
FORBIDDEN_ANYWHERE = {"imp", "pickle", "marshal"}
# What the library does with code that it reads: nothing.
CODE_RUNNERS = {"eval", "exec", "compile", "__import__"}


def layer_violations(layer: str, source: str) -> set[str]:
    """Return what a module of a layer imports of ours and may not."""
    names = imported_names(source)
    ours = {name.split(".")[1] for name in names if name.startswith("traceleft.")}
    bare = names & set(LAYERS) | {name for name in names if name.split(".")[0] in LAYERS}
    return (ours - BASE - ALLOWED[layer] - {layer}) | bare | (names & {"relative import"})


def wall_violations(path: str, source: str) -> set[str]:
    """Return the third parties that a file imports outside their walls."""
    parties = {name.split(".")[0] for name in imported_names(source)}
    outside = {party for party in parties & WALLS.keys() if path not in WALLS[party]}
    if not path.startswith("traceleft/cli"):
        outside |= parties & CLI_ONLY
    return outside | parties & FORBIDDEN_ANYWHERE


def code_runners(source: str) -> set[str]:
    """Return the built-ins that run text as code and that a source calls."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)} & CODE_RUNNERS


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_imports_only_what_lies_below_it(layer: str) -> None:
    found = {str(path): layer_violations(layer, (ROOT / path).read_text()) for path in modules(layer)}

    assert found, f"{layer} holds no module"
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("name", sorted(BASE))
def test_base_module_imports_only_base(name: str) -> None:
    names = imported_names((ROOT / "traceleft" / f"{name}.py").read_text())
    ours = {name.split(".")[1] for name in names if name.startswith("traceleft.")}

    assert ours <= BASE


def find_circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the modules that reach themselves, those of one circle together."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set[str](), [*graph[start]]
        while waiting:
            if (name := waiting.pop()) not in seen:
                seen.add(name)
                waiting += graph[name]
        reached[start] = seen
    circles = {frozenset(n for n in graph if n in seen and start in reached[n]) for start, seen in reached.items()}
    return sorted(sorted(circle) for circle in circles if circle)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = import_graph({module_name(path): (ROOT / path).read_text() for path in SHIPPED})

    assert len(graph) > 200
    assert find_circles(graph) == []


def test_circle_is_found_wherever_the_import_is() -> None:
    sources = {
        "traceleft.a": "import traceleft.b\n",
        "traceleft.b": "def f():\n    from traceleft import c\n",
        "traceleft.c": "if TYPE_CHECKING:\n    from traceleft.a import A\n",
        "traceleft.d": "import traceleft.a\n",
    }

    assert find_circles(import_graph(sources)) == [["traceleft.a", "traceleft.b", "traceleft.c"]]


def rooms_of(names: set[str]) -> set[str]:
    """Return the rooms of the tracer among imported names."""
    return {parts[2] for name in names if (parts := name.split("."))[:2] == ["traceleft", "tracer"] and len(parts) > 2}


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_lies_below_it(room: str) -> None:
    paths = [path for path in modules("tracer") if path.parts[1] == room]
    found = {str(path): (rooms_of(imports_of(path)) & ROOMS.keys()) - ROOMS[room] - {room} for path in paths}

    assert found
    assert {path: rooms for path, rooms in found.items() if rooms} == {}


@pytest.mark.parametrize("name", WITHOUT_SESSION)
def test_recordings_are_shown_without_a_session(name: str) -> None:
    assert "session" not in rooms_of(imports_of(Path(f"tracer/{name}.py")))


def test_every_room_of_the_tracer_has_its_rule() -> None:
    rooms = {path.parts[1] for path in modules("tracer") if len(path.parts) > 2}

    assert rooms == {*ROOMS, "qualify"}


def test_nothing_imports_the_command_line() -> None:
    outside = [path for path in SHIPPED if not str(path).startswith("traceleft/cli") and path.name != "__main__.py"]
    importers = [str(path) for path in outside if any("traceleft.cli.main" in n for n in imports_of(path))]

    assert importers == []


def test_tracer_does_not_reach_generator_through_battery() -> None:
    names = imports_of(Path("battery/__init__.py"))

    assert {name for name in names if name.startswith("traceleft.")} <= {
        module if not member else f"{module}.{member}"
        for module in ("traceleft.battery.manifest", "traceleft.battery.store")
        for member in ("", *exported("battery/__init__.py"))
    }


def test_third_parties_stay_behind_their_walls() -> None:
    found = {str(path): wall_violations(str(path), (ROOT / path).read_text()) for path in SHIPPED}

    assert {path: parties for path, parties in found.items() if parties} == {}


def test_shipped_code_runs_no_text_as_code() -> None:
    found = {str(path): code_runners((ROOT / path).read_text()) for path in SHIPPED}

    assert {path: calls for path, calls in found.items() if calls} == {}


def test_clang_is_run_by_one_module() -> None:
    runners = [str(path) for path in SHIPPED if "subprocess" in imports_of(path)]

    # tracefs runs mount, guest QEMU, checkers this Python.
    others = {"battery/builder/checkers.py", "battery/guest/boot.py", "traceleft/tracefs.py"}
    assert set(runners) <= {"battery/builder/compiler.py", *others}


def test_aggregator_never_touches_the_native_module() -> None:
    names = {name for path in modules("aggregator") for name in imports_of(path)}

    assert not any("_native" in name for name in names)


@pytest.mark.parametrize(
    ("layer", "source", "culprit"),
    [
        ("tracer", "def load():\n    from traceleft.generator import generate\n", "generator"),
        ("battery", "import traceleft.tracer.session.session\n", "tracer"),
        ("generator", "from traceleft import battery\n", "battery"),
        ("templates", "import traceleft.generator\n", "generator"),
        ("aggregator", "from traceleft.battery import Battery\n", "battery"),
        ("tracer", "import generator\n", "generator"),
        ("tracer", "from . import values\n", "relative import"),
        ("tracer", "import traceleft.cli.main\n", "cli"),
    ],
)
def test_checker_finds_a_planted_layer_violation(layer: str, source: str, culprit: str) -> None:
    assert layer_violations(layer, source) == {culprit}


@pytest.mark.parametrize(
    ("path", "source", "culprit"),
    [
        ("generator/model.py", "from jinja2 import Environment\n", "jinja2"),
        ("battery/store.py", "def f():\n    import elftools.elf.elffile\n", "elftools"),
        ("tracer/tracer.py", "import click\n", "click"),
        ("generator/render.py", "import pycparser\n", "pycparser"),
        ("traceleft/cli/commands/trace.py", "import bcc\n", "bcc"),
        ("battery/store.py", "import pickle\n", "pickle"),
    ],
)
def test_checker_finds_a_planted_wall_violation(path: str, source: str, culprit: str) -> None:
    assert wall_violations(path, source) == {culprit}


def test_checker_finds_planted_execution_of_text() -> None:
    assert code_runners("def decoder(text):\n    exec(text)\n") == {"exec"}


def imports_of(path: Path) -> set[str]:
    """Return what a file imports, as ``imported_names``."""
    return imported_names((ROOT / path).read_text())


def exported(path: str) -> list[str]:
    """Return the names that an ``__init__`` imports from its modules."""
    tree = ast.parse((ROOT / path).read_text())
    return [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
