"""Events as JSON are what docs/reference/event.schema.json says."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.command_line import COMMAND
from tests.support.paths import ROOT

pytestmark = pytest.mark.kernel

PLACE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads((PLACE / "event.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_lines_of_a_trace_fit_the_schema(validator: Any, kernel_battery: Path, tmp_path: Path) -> None:
    output = tmp_path / "events"
    work = "cd /; cat /etc/hostname nowhere; printf x >/dev/null; kill -TERM $$"
    options = ["-f", "-k", "-y", "-T", "-v", "--raw", "-s", "4", "--format", "json", "-o", str(output)]

    command = [*COMMAND, "trace", "--battery", str(kernel_battery), *options, "--", "sh", "-c", work]
    # The exit status is that of the shell, which a signal ends.
    subprocess.run(command, capture_output=True, timeout=120)

    events = [json.loads(line) for line in output.read_text().splitlines()]
    keys = {key for event in events for key in event}
    assert {"signal", "process_exit", "openat", "execve"} <= {event["event"] for event in events}
    assert {"truncated", "stack", "raw", "paths"} <= keys
    assert [error.message for event in events for error in validator.iter_errors(event)] == []


def test_page_names_every_key_of_the_schema(validator: Any) -> None:
    tables = [line for line in (PLACE / "events.md").read_text().splitlines() if line.startswith("| `")]

    assert [key for key in validator.schema["properties"] if not any(f"`{key}`" in row for row in tables)] == []


def test_schema_refuses_another_key(validator: Any) -> None:
    assert not validator.is_valid({"ts": 1, "colour": "red"})
