"""The examples, as their users run them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
LIMIT_S = 120
# What each prints, by its name; failed_opens.py takes ten seconds of the whole machine.
SHOWN = {
    "failed_opens": r"delivered",
    "columns": r"\d+ reads of \d+ bytes, the longest took \d+ ns\n\{'pid': \d+, 'fd': 3, 'count': 832, 'ret': 832\}\n",
    "with_asyncio": r"cat opened /etc/hostname as 3\n\d+ files, and the loop went on: True\n",
    "rollup": r"\{'event': '\w+', 'comm': 'ls', 'count': \d+, 'errors': \d+, 'duration_ns_p99': \d+\}",
    "recording": r"cat /etc/hostname on \S+\nlast opened: /etc/hostname\n\d+ reads of \d+ bytes\n",
    "alerts": r"\nwarning hostname: cat opened /etc/hostname\n$",
    "custom_sink": r"(\d+) lines; \1 accepted, \1 written, 0 dropped\n\{.*\"filename\":\"/etc/hostname\".*\}\n",
}


def run(example: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{example}.py", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("example", SHOWN)
def test_example_shows_what_it_says(example: str, kernel_battery: Path) -> None:
    assert re.search(SHOWN[example], run(example, kernel_battery))


def test_formats_are_described(tmp_path: Path) -> None:
    snapshot = tmp_path / "kernel.snapshot"
    subprocess.run([sys.executable, "-m", "traceleft", "snapshot", "-o", snapshot], check=True, timeout=LIMIT_S)

    shown = run("describe_formats", snapshot, "openat,close")

    assert re.match(r"2 events of \S+\nclose\(fd: fd\)\nopenat\(dfd: dirfd, filename: path, ", shown)


def test_every_example_is_run() -> None:
    assert {each.stem for each in EXAMPLES.glob("*.py")} == {*SHOWN, "describe_formats"}
