"""Report pages in a browser: figures are drawn, tables hold the numbers, nothing that was traced runs or loads."""

from pathlib import Path

import pytest

from tests.support.browser import needs_chromium, rows_of, see, shoot
from tests.support.recordings import SCHEMA, calls, opened, padded, write_recording
from tests.support.records import Capture, Record, encode
from traceleft.aggregator.pages.charts import flame
from traceleft.aggregator.pages.overview import make_overview
from traceleft.aggregator.pages.report import render_charts, render_overview, render_results
from traceleft.record_layout import DURATION
from traceleft.tracer.recording import Recording

pytestmark = needs_chromium

HOSTILE = "</script><img src=x onerror=document.title='owned'>"
EVENTS = "Every event, by the time that its calls took"


def timed(number: int) -> bytes:
    """Return an openat that took longer than the one before."""
    capture = {0: Capture(b"/etc/%d" % number)}
    record = Record(captures=capture, ret=3, ts=1000 * number, flags=DURATION, duration_ns=3 << number % 30)
    return padded(encode(SCHEMA.events["openat"], record))


def write_page(directory: Path, *records: bytes) -> Path:
    """Write the page of a recording of these records; return its path."""
    path = write_recording(directory / "some.rec", *([records] if records else []))
    with Recording.open(path) as recording:
        (directory / "page.html").write_text(render_overview(make_overview([recording])))
    return directory / "page.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page"), *map(timed, range(300)), *calls(100, 300))


def test_figures_are_drawn_and_nothing_is_loaded(page: Path) -> None:
    seen = see(page)

    assert seen.console == ()
    assert seen.requests == frozenset()
    timeline, latency = (seen.dom.index(f'id="{name}"') for name in ("timeline", "latency"))
    assert seen.dom.count("main-svg", timeline, latency) >= 2
    assert seen.dom.count("<image", latency) >= 1
    assert '<g class="trace bars"' in seen.dom
    assert [option in seen.dom for option in ("<option>all events", "<option>openat")] == [True, True]


def test_tables_hold_the_numbers(page: Path) -> None:
    rows = rows_of(see(page).dom, EVENTS)

    assert [(row[0], row[4], row[5]) for row in rows] == [
        ("openat", "350", "14"),
        ("close", "50", ""),
        ("total", "400", "14"),
    ]
    total_ns = sum(3 << number % 30 for number in range(300))
    assert rows[0][1:4] == ["100.00", f"{total_ns / 1e9:.6f}", f"{total_ns // 350 // 1000:,}"]


def test_page_looks_like_something_by_day_and_by_night(page: Path) -> None:
    day, night = (shoot(page, width=1280, height=1200, is_dark=is_dark) for is_dark in (False, True))

    assert (day.width, day.height) == (1280, 1200)
    assert min(day.distinct_rows, night.distinct_rows) > 300
    assert day.first == (0xF6, 0xF7, 0xF9)
    assert night.first == (0x11, 0x16, 0x1D)


def test_narrow_page_does_not_scroll_sideways(page: Path, tmp_path: Path) -> None:
    script = (
        "<iframe id=f width=400 height=800 style='border:0'></iframe><script>const f = document.getElementById('f');"
        "f.onload = () => setTimeout(() => { const d = f.contentDocument;"
        "document.title = `${d.documentElement.scrollWidth} ${d.querySelectorAll('.main-svg').length > 3}`; }, 500);"
        f"f.src = '{page.as_uri()}';</script>"
    )
    (tmp_path / "frame.html").write_text(script)

    seen = see(tmp_path / "frame.html", "--allow-file-access-from-files")

    assert "<title>400 true</title>" in seen.dom


def test_what_was_traced_does_not_run(tmp_path: Path) -> None:
    capture = {0: Capture(HOSTILE.encode())}
    record = Record(captures=capture, ret=-2, comm=b"<script>", flags=DURATION, duration_ns=5000)
    page = write_page(tmp_path, padded(encode(SCHEMA.events["openat"], record)))

    seen = see(page)

    assert "<title>System calls of box</title>" in seen.dom
    assert "<img" not in seen.dom
    assert seen.console == ()
    files = rows_of(seen.dom, "1 by the path that calls named")
    assert files[0][:2] == ["&lt;/script&gt;&lt;img src=x onerror=document.title='owned'&gt;", "1"]


def test_policy_lets_no_other_script_run_and_nothing_out(tmp_path: Path) -> None:
    page = write_page(tmp_path, *calls(4))
    planted = f"<script>document.title='owned'</script>{HOSTILE}<img src='http://127.0.0.1:9/x'>"
    text = page.read_text().replace("<main>", f"<main>{planted}")
    page.write_text(text)
    (tmp_path / "open.html").write_text(text.replace("Content-Security-Policy", "nothing"))

    held, unheld = see(page), see(tmp_path / "open.html")

    assert "<title>System calls of box</title>" in held.dom
    assert len([line for line in held.console if "Content Security Policy" in line]) >= 3
    assert held.requests == frozenset()
    assert "<title>owned</title>" in unheld.dom
    assert unheld.requests == {"http://127.0.0.1:9/x"}


def test_page_of_nothing_says_so(tmp_path: Path) -> None:
    seen = see(write_page(tmp_path))

    assert seen.console == ()
    assert "The recording holds no events." in seen.dom
    assert "main-svg" not in seen.dom


def test_result_has_bars_and_a_table(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "some.rec", [opened(number) for number in range(7)], calls(6, 7))
    with Recording.open(path) as recording:
        result = make_overview([recording]).results["syscalls"]
    (tmp_path / "page.html").write_text(render_results([result], title="Some <b>rollup</b>"))

    seen = see(tmp_path / "page.html")

    assert seen.console == ()
    assert "<title>Some &lt;b&gt;rollup&lt;/b&gt;</title>" in seen.dom
    assert seen.dom.count('<g class="point"') == 2
    assert [row[:2] for row in rows_of(seen.dom, "syscalls by event")] == [["close", "3"], ["openat", "10"]]


def test_flame_graph_is_drawn_with_its_names(tmp_path: Path) -> None:
    drawn = flame("flame", ["0", "1", "2"], ["all", "main", "<b>read"], ["", "0", "1"], [7, 7, 5])
    (tmp_path / "page.html").write_text(render_charts([drawn], title="Stacks", subtitle="of something"))

    seen = see(tmp_path / "page.html")

    assert seen.console == ()
    assert seen.dom.count('<g class="slice') >= 3
    assert ">&lt;b&gt;read<" in seen.dom
