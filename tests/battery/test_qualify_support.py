"""The support matrix: rows merged, explained, and written the same way each time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "scripts" / "write_support.py"
LINE = {
    "kernel": "6.1.0-50-amd64",
    "machine": "x86_64",
    "date": "2026-11-22",
    "release": "6.1.0",
    "level": "5.8",
    "hook": "kprobe",
    "objects": "sha256:" + "a" * 64,
    "status": "ok",
    "built": 346,
    "loaded": 346,
    "attached": 346,
    "made": 116,
    "delivered": 116,
}


def write(docs: Path, *lines: dict[str, object], arguments: tuple[str, ...] = (), **environment: str) -> str:
    """Run the script on these lines; what it said on stderr, or the document."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--docs", docs, *arguments, "-"],
        input="".join(f"{json.dumps(LINE | line)}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )
    return done.stderr if done.returncode else (docs / "support.md").read_text()


def rows(document: str) -> list[str]:
    table = [line for line in document.splitlines() if line.startswith("| ")]
    return table[1:]


def test_kernels_without_evidence_are_checked_not_run(tmp_path: Path) -> None:
    first, *others = rows(write(tmp_path))

    assert first.startswith("| 4.4 | 4.4 | - | - | - | - | - | checked, not run")
    assert [row.split()[1] for row in others] == ["4.9", "4.14", "4.19", "5.4"]
    assert "| 4.14 | 4.11, 4.4 |" in others[1]


def test_evidence_takes_the_place_of_the_floor_check(tmp_path: Path) -> None:
    document = write(tmp_path, {"kernel": "4.4.121", "level": "4.4"}, {"kernel": "4.40.1", "level": "4.4"})

    assert "| 4.4.121 | 4.4 | kprobe | 346 of 346 | 346 | 116 of 116 | 2026-11-22 | |" in document
    assert not [row for row in rows(document) if row.startswith("| 4.4 |")]
    assert [row for row in rows(document) if row.startswith("| 4.9 |")]


def test_rows_are_sorted_whatever_order_they_come_in(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"kernel": "6.12.1"},
        {"kernel": "6.1.0-50-amd64", "level": "4.11"},
        {"kernel": "6.1.0-50-amd64", "level": "4.4"},
        {"kernel": "6.1.0-50-amd64", "hook": "tracepoint"},
        {"kernel": "6.1.0-50-amd64", "hook": "raw_tracepoint"},
    ]
    (tmp_path / "other").mkdir()

    document = write(tmp_path, *lines)

    assert write(tmp_path / "other", *reversed(lines)) == document
    assert [row.split(" | ")[1:3] for row in rows(document)[5:]] == [
        ["5.8", "raw_tracepoint"],
        ["5.8", "tracepoint"],
        ["4.11", "kprobe"],
        ["4.4", "kprobe"],
        ["5.8", "kprobe"],
    ]


def test_newer_rows_take_the_place_of_older_and_others_stay(tmp_path: Path) -> None:
    write(tmp_path, {}, {"hook": "tracepoint"})
    document = write(tmp_path, {"date": "2026-12-01", "delivered": 115, "status": "failed", "why": "a|b"})

    assert "| kprobe | 346 of 346 | 346 | 115 of 116 | 2026-12-01 | **failed**: a\\|b |" in document
    assert "| tracepoint | 346 of 346 | 346 | 116 of 116 | 2026-11-22 | |" in document
    assert "1 kernels, 2 levels and hooks tried, 1 failed." in document


def test_no_hole_is_unexplained(tmp_path: Path) -> None:
    document = write(tmp_path, {"status": "absent", "why": "no kprobes"}, {"hook": "tracepoint", "left_out": ["close"]})

    assert "| kprobe | - | - | - | 2026-11-22 | not offered: no kprobes |" in document
    assert "without 1 of the battery's events" in document


def test_line_that_is_none_changes_nothing(tmp_path: Path) -> None:
    before = write(tmp_path, {})

    said = write(tmp_path, {"delivered": 117})

    assert said.startswith("write_support: no line of traceleft.tracer.qualify")
    assert (tmp_path / "support.md").read_text() == before


def test_directory_without_kernels_is_refused(tmp_path: Path) -> None:
    said = write(tmp_path, arguments=("--battery", str(tmp_path)), TRACELEFT_KERNELS=str(tmp_path))

    assert said == f"write_support: {tmp_path}: no battery (it has no manifest.json); " + (
        "make one with: traceleft build DIR -o BATTERY\n"
    )


@pytest.mark.parametrize(("change", "expected"), [("", 0), ("| 9.9 |\n", 1)], ids=["current", "edited"])
def test_check_finds_a_document_that_was_edited(tmp_path: Path, change: str, expected: int) -> None:
    document = write(tmp_path, {})
    (tmp_path / "support.md").write_text(document + change)

    done = subprocess.run([sys.executable, SCRIPT, "--docs", tmp_path, "--check"], capture_output=True, timeout=120)

    assert done.returncode == expected


def test_matrix_in_the_documentation_is_what_its_data_make() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
