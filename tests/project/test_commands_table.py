"""The table of commands by kernel: rows merged, failures numbered, and the document what its data make."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "scripts" / "write_commands.py"
LINE = {
    "kernel": "4.19.13",
    "date": "2026-11-30",
    "level": "4.18",
    "hook": "kprobe",
    "jit": "on",
    "case": "trace",
    "status": "ok",
    "why": "",
    "seconds": 2.5,
}


def write(docs: Path, *lines: dict[str, object]) -> str:
    """Run the script on these lines and return the document."""
    (docs / "rows").write_text("".join(f"{json.dumps(LINE | line)}\n" for line in lines))
    subprocess.run([sys.executable, SCRIPT, "--docs", docs, docs / "rows"], check=True, timeout=120)
    return (docs / "commands.md").read_text()


def test_columns_are_levels_and_hooks_and_the_jit(tmp_path: Path) -> None:
    document = write(tmp_path, {"level": "4.4"}, {"jit": "off"}, {}, {"hook": "raw_tracepoint"})

    assert "| case | 4.18 raw_tracepoint | 4.18 kprobe | 4.18 kprobe, no JIT | 4.4 kprobe |" in document
    assert "Run on 2026-11-30: 4 of 4 passed." in document


def test_a_failure_is_numbered_and_told_once(tmp_path: Path) -> None:
    failed: dict[str, object] = {"status": "failed", "why": "7 of 8 shown"}

    document = write(tmp_path, failed, failed | {"level": "4.11"}, {"case": "stat"})

    assert "| trace | **1** | **1** |" in document
    assert "| stat | ok | - |" in document
    assert document.count("7 of 8 shown") == 1


def test_new_rows_of_a_kernel_take_the_place_of_all_its_old_ones(tmp_path: Path) -> None:
    write(tmp_path, {}, {"case": "stat"}, {"kernel": "4.4.121"})

    document = write(tmp_path, {"case": "storm"})

    assert document.index("## 4.4.121") < document.index("## 4.19.13")
    assert "| stat |" not in document


@pytest.mark.parametrize(("change", "expected"), [("", 0), ("edited\n", 1)], ids=["current", "edited"])
def test_check_finds_a_document_that_was_edited(tmp_path: Path, change: str, expected: int) -> None:
    document = write(tmp_path, {})
    (tmp_path / "commands.md").write_text(document + change)

    done = subprocess.run([sys.executable, SCRIPT, "--docs", tmp_path, "--check"], capture_output=True, timeout=120)

    assert done.returncode == expected


def test_table_in_the_documentation_is_what_its_data_make() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
