"""Rollups and rules by the file that a call is about, of a running trace and of its recording."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.kernel

COMMAND = [sys.executable, "-m", "traceleft"]
BY_PATH = ("--format", "json", "-e", "read,write", "--by", "path", "--measure", "bytes")
RULE = """
[rule.inner]
events = ["openat", "read"]
where = 'path == "{path}"'
message = "{{event}} of {{path}}"
"""


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run traceleft to its end."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def bytes_by_path(text: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in text.splitlines()]
    return {row["path"]: row["bytes"] for row in rows if row["path"] and row["bytes"]}


def test_all_bytes_are_in_the_rows_of_their_files(kernel_battery: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(b"x" * 12345)
    recording = tmp_path / "cp.rec"
    run(
        "record",
        "--battery",
        kernel_battery,
        "-f",
        "-o",
        recording,
        "--",
        "sh",
        "-c",
        "cd in; cat one | cat > two",
        cwd=tmp_path,
    )
    found = bytes_by_path(run("stat", "-i", recording, *BY_PATH, cwd=tmp_path).stdout)

    assert found[f"{tmp_path}/in/one"] == 12345
    assert found[f"{tmp_path}/in/two"] == 12345


def test_running_trace_knows_what_was_open_before(kernel_battery: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 777)
    script = f"cat < {tmp_path}/one > /dev/null"
    # The shell opens the file, and the program that it starts reads it.
    live = run("stat", "--battery", kernel_battery, "-f", "--by", "path", "--by", "comm", "--measure", "bytes",
               "--format", "json", "--", "sh", "-c", script, cwd=tmp_path)  # fmt: skip
    rows = [json.loads(line) for line in live.stdout.splitlines()]

    assert [row["bytes"] for row in rows if (row["path"], row["comm"]) == (f"{tmp_path}/one", "cat")] == [777]


def test_rule_for_a_file_sees_who_is_in_its_directory(kernel_battery: Path, tmp_path: Path) -> None:
    (tmp_path / "inner").write_text("secret")
    rules = tmp_path / "rules.toml"
    rules.write_text(RULE.format(path=tmp_path / "inner"))
    command = ("sh", "-c", f"cd {tmp_path}; cat inner")
    options = ("--rules", rules, "-o", "/dev/null")
    live = run("trace", "--battery", kernel_battery, "-f", *options, "--", *command, cwd=Path("/"))
    run("record", "--battery", kernel_battery, "-f", "-o", tmp_path / "rec", "--", *command, cwd=Path("/"))
    again = run("replay", *options, tmp_path / "rec", cwd=Path("/"))

    for done in (live, again):
        alerts = [line.partition("inner: ")[2] for line in done.stderr.splitlines() if "warning: inner" in line]
        assert alerts == [f"openat of {tmp_path}/inner", *[f"read of {tmp_path}/inner"] * 2]


def test_export_has_the_same_files(kernel_battery: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("text")
    recording, output = tmp_path / "rec", tmp_path / "lines"
    run("record", "--battery", kernel_battery, "-o", recording, "--", "cat", "one", cwd=tmp_path)
    run("export", recording, "-o", output, "--format", "ndjson", "-e", "read,close", cwd=tmp_path)
    rows = [json.loads(line) for line in output.read_text().splitlines()]

    assert [row["event"] for row in rows if row["path"] == f"{tmp_path}/one"] == ["read", "read", "close"]
