"""Pages seen by a browser without a screen: what it made of them, and what it tried to do."""

import json
import re
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--hide-scrollbars"),
    # The browser itself finds nobody either.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000", "--timeout=60000"),
)
_TIMEOUT_S = 120
_DARK = "--blink-settings=preferredColorScheme=0"


@dataclass(frozen=True)
class Seen:
    """A page's document once its scripts ran, what they wrote to the console, and the addresses asked for."""

    dom: str
    console: tuple[str, ...]
    requests: frozenset[str]


def see(page: Path, *flags: str) -> Seen:
    """Open a page and return what became of it."""
    with TemporaryDirectory() as directory:
        log = Path(directory) / "net.json"
        ended = _run(directory, f"--log-net-log={log}", "--dump-dom", *flags, page.as_uri())
        return Seen(ended.stdout, _console(ended.stderr), _requests(log))


def shoot(page: Path, *, width: int, height: int, is_dark: bool = False) -> "Picture":
    """Open a page and return a picture of its top."""
    with TemporaryDirectory() as directory:
        picture = Path(directory) / "picture.png"
        dark = [_DARK] if is_dark else []
        _run(directory, f"--window-size={width},{height}", f"--screenshot={picture}", *dark, page.as_uri())
        return read_png(picture.read_bytes())


def _run(directory: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={directory}/profile", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)


def _console(stderr: str) -> tuple[str, ...]:
    return tuple(line for line in stderr.splitlines() if "CONSOLE" in line)


def _requests(log: Path) -> frozenset[str]:
    """Return the addresses that a page asked for, by a net log; the browser's own requests have no origin."""
    params = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = {str(each["url"]) for each in params if each.get("initiator", "not an origin") != "not an origin"}
    return frozenset(url for url in asked if not url.startswith(("file:", "data:", "blob:")))


@dataclass(frozen=True)
class Picture:
    """A picture's size, its first pixel, and how many of its rows differ from each other."""

    width: int
    height: int
    first: tuple[int, ...]
    distinct_rows: int


def read_png(data: bytes) -> Picture:
    """Read a PNG of eight bits a channel as far as tests ask."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, packed = 8, b""
    while place < len(data):
        size, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        packed += data[place + 8 : place + 8 + size] if kind == b"IDAT" else b""
        place += size + 12
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    channels = {2: 3, 6: 4}[data[25]]
    lines = zlib.decompress(packed)
    length = 1 + width * channels
    # Each filter leaves the first pixel of the first row as it is.
    rows = {lines[start : start + length] for start in range(0, len(lines), length)}
    return Picture(width, height, tuple(lines[1:4]), len(rows))


def rows_of(dom: str, caption: str) -> list[list[str]]:
    """Return the cells of a document's table with this caption, row by row, its head left out."""
    body = re.search(rf"<caption>{re.escape(caption)}</caption>.*?<tbody>(.*?)</tbody>", dom, re.DOTALL)
    assert body, f"no table {caption!r}"
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body[1], re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
