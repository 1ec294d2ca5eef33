"""Real programs under strace and under traceleft: the same calls, arguments and results, thread by thread.

``TRACELEFT_WRITE_DOCS=1`` writes what was compared to docs/project/differential.md.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.differential.http_server import serve
from tests.differential.program import Program
from tests.differential.programs import PROGRAMS, compile_programs
from tests.differential.report import OUTCOMES, write_docs
from tests.differential.session import trace_both
from tests.differential.traces import Outcome, compare_traces

pytestmark = pytest.mark.kernel
CASES = [pytest.param(program, hook, id=f"{program.name}-{hook}") for program in PROGRAMS for hook in program.hooks]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the C programs are."""
    directory = tmp_path_factory.mktemp("programs")
    compile_programs(directory)
    return directory


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Return where a server answers HTTP."""
    with serve() as number:
        yield number


@pytest.fixture(scope="module")
def schema(kernel_battery: Path) -> dict[str, Any]:
    """Return the schema document that the battery's records are laid out by."""
    manifest = json.loads((kernel_battery / "manifest.json").read_text())
    digest = manifest["releases"][os.uname().release]["schema"].removeprefix("sha256:")
    document: dict[str, Any] = json.loads((kernel_battery / "schemas" / f"{digest}.json").read_text())
    return document


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[list[Outcome]]:
    """Return where outcomes are put; the table is shown at the end, and written if that was asked for."""
    found = request.config.stash.setdefault(OUTCOMES, [])
    yield found
    if os.environ.get("TRACELEFT_WRITE_DOCS") == "1" and len(found) == len(CASES):
        write_docs(found)


@pytest.mark.parametrize(("program", "hook"), CASES)
def test_strace_and_traceleft_agree(
    program: Program,
    hook: str,
    *,
    compiled: Path,
    port: int,
    kernel_battery: Path,
    schema: dict[str, Any],
    outcomes: list[Outcome],
    tmp_path: Path,
) -> None:
    traced = trace_both(program, tmp_path, kernel_battery, compiled=compiled, port=port, hook=hook)
    outcome = compare_traces(program.name, hook, traced, schema)
    outcomes.append(outcome)

    assert outcome.unexplained == []
    assert outcome.calls > 0
    assert [traced.ledger[name] for name in ("lost", "dropped", "undecodable", "unaccounted", "missed")] == [0] * 5
