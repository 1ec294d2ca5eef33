"""Start-up time is a feature: what an import may drag in, seen in a child interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["bcc", "elftools", "hypothesis", "jinja2", "msgspec", "numpy", "pyarrow", "pycparser", "rich", "subprocess"]


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the names that it adds to ``sys.modules``.

    A machine's ``sitecustomize`` may have loaded others before.
    """
    first = "import sys as _s\n_before = set(_s.modules)\n"
    script = f"{first}{code}\nimport json as _j\n_s.stderr.write(_j.dumps(sorted(set(_s.modules) - _before)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_import_of_traceleft_drags_in_nothing_heavy() -> None:
    loaded = modules_after("import traceleft")

    assert loaded & {*HEAVY, "click"} == set()
    assert {name for name in loaded if name.startswith("traceleft")} == {"traceleft", "traceleft.version"}


@pytest.mark.parametrize("arguments", [["--help"], ["trace", "--help"], ["generate", "--help"], ["--version"]])
def test_help_loads_no_library_but_click(arguments: list[str]) -> None:
    loaded = modules_after(f"from traceleft.cli.main import main\nmain({arguments!r})")

    assert "click" in loaded
    assert loaded & {*HEAVY} - {"subprocess"} == set()
    assert not any(name.startswith(("traceleft.generator", "traceleft.tracer", "traceleft.battery")) for name in loaded)


@pytest.mark.parametrize("name", ["Tracer", "Battery"])
def test_tracing_needs_neither_generator_nor_compiler(name: str) -> None:
    loaded = modules_after(f"from traceleft import {name}")

    assert loaded & {"bcc", "click", "elftools", "jinja2", "pyarrow", "pycparser", "rich"} == set()
    assert not any(name.startswith(("traceleft.generator", "traceleft.templates")) for name in loaded)


@pytest.mark.kernel
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_trace_loads_only_what_it_needs(kernel_battery: Path, form: str) -> None:
    arguments = ["trace", "--battery", str(kernel_battery), "-e", "getppid", "--format", form, "--duration", "0.1"]

    loaded = modules_after(
        f"from traceleft.cli.main import main\nassert main({[*arguments, '-o', '/dev/null']!r}) == 0"
    )

    slow = {"asyncio", "concurrent.futures", "ctypes", "logging", "tempfile"}
    assert loaded & ({*HEAVY, *slow} - {"msgspec"}) == set()
    assert not any(name.startswith(("traceleft.generator", "traceleft.templates")) for name in loaded)


def test_unknown_name_is_an_attribute_error() -> None:
    import traceleft

    with pytest.raises(AttributeError, match="Probe"):
        _ = traceleft.Probe
