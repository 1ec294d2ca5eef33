#!/usr/bin/env python3
"""Draw a report page as a browser shows it, without a screen.

usage: python scripts/draw_report.py RECORDING PICTURE [WIDTH HEIGHT]

docs/reference/report.png is made so, of a recording of a few programs that list, search and read.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from traceleft.aggregator.pages.overview import make_overview
from traceleft.aggregator.pages.report import render_overview
from traceleft.tracer.recording import Recording

SIZE: Final = (1280, 1300)
FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000"),
)
TIMEOUT_S: Final = 120


def draw(page: Path, picture: Path, width: int, height: int) -> None:
    """Write a picture of the top of a page."""
    browser = shutil.which("chromium")
    if browser is None:
        raise SystemExit("needs chromium: apt install chromium")
    with TemporaryDirectory() as profile:
        place = [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={picture.resolve()}"]
        subprocess.run([browser, *FLAGS, *place, page.as_uri()], check=True, capture_output=True, timeout=TIMEOUT_S)


def main(recording: str, picture: str, width: str = str(SIZE[0]), height: str = str(SIZE[1])) -> None:
    """Write the picture of a recording's page."""
    with TemporaryDirectory() as directory, Recording.open(recording) as opened:
        page = Path(directory) / "page.html"
        page.write_text(render_overview(make_overview([opened])))
        draw(page, Path(picture), int(width), int(height))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5):
        raise SystemExit("usage: draw_report.py RECORDING PICTURE [WIDTH HEIGHT]")
    main(*sys.argv[1:])
