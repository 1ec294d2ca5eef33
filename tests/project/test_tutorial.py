"""The tutorial: each command is run, in order, and shows what the page shows, times and numbers aside.

``TRACELEFT_WRITE_DOCS=1`` writes what the commands showed into the page.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.kernel

PAGE = ROOT / "docs" / "tutorial.md"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# The hexadecimal, the time of day, then figures with their units.
MASKED = re.compile(r"0x[0-9a-f]+|\d\d:\d\d:\d\d\.\d+|\d[\d.,]*(?:%|ns|µs|ms|s\b)?")
# Another kernel has other functions on the way to a call; another machine another name.
ELSEWHERE = re.compile(r"(?:;\w+_\[k\])+|(?<=recorded on )\S+(?=:)")
READERS_PLACE = "/tmp/tutorial"


def masked(text: str) -> list[str]:
    """Return the lines of an output without what differs from run to run: numbers, and the width of columns."""
    lines = (re.sub(r"-{3,}", "---", MASKED.sub("N", ELSEWHERE.sub("", line))) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines]


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block, with what it shows."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def run(command: str, place: Path, battery: Path) -> str:
    """Run one command as the reader's shell would, and return all that it shows."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TRACELEFT_BATTERY": str(battery), "LC_ALL": "C"}
    # What went wrong shows in what the command prints.
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.stdout.replace(str(place), READERS_PLACE)


def test_every_command_shows_what_the_page_shows(tmp_path: Path, kernel_battery: Path) -> None:
    text = PAGE.read_text()
    seen, written = 0, text

    for kind, title, body in FENCE.findall(text):
        if title:
            (tmp_path / title).write_text(body)
        if kind != "console":
            continue
        blocks = []
        for command, shown in commands(body):
            output = run(command, tmp_path, kernel_battery)
            blocks.append(f"$ {command}\n{output}")
            seen += 1
            if os.environ.get("TRACELEFT_WRITE_DOCS") == "1":
                continue
            # Rows are ordered by time, which small ones have about the same of.
            order = sorted if command.startswith("traceleft stat") else list
            assert order(masked(output)) == order(masked(shown)), command
        written = written.replace(f"```console\n{body}```", f"```console\n{''.join(blocks)}```")

    assert seen > 10
    if os.environ.get("TRACELEFT_WRITE_DOCS") == "1":
        PAGE.write_text(written)
