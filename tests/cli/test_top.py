"""``traceleft top``: its figures, its screen at several widths, and its terminal, whatever ends it."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.paths import ROOT
from traceleft.aggregator.rollups.results import Cell, Groups, Keys, Numbers
from traceleft.aggregator.rollups.words import LIVE_FIGURES, make_stat_rollup
from traceleft.aggregator.streaming.live import ORDERS, Live, LiveRow, LiveView
from traceleft.cli.top_view import COLUMNS, FRAME, Screen, show_number, show_rate

TOP = [sys.executable, "-m", "traceleft", "top"]
ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
WAIT_S = 120


US, MS, S = 1_000, 1_000_000, 1_000_000_000
# Rate, calls, errors, time, p50, p99: made up, of the size that a build has them.
FIGURES = {
    ("cc1", "openat"): (4120.0, 51_204, 22_817, 131 * MS, 1_730, 43 * US),
    ("cc1", "newfstatat"): (3890.0, 48_377, 17_902, 68 * MS, 832, 5_120),
    ("cc1", "read"): (2215.0, 27_551, 0, 41 * MS, 816, 13_600),
    ("cc1", "mmap"): (1904.0, 23_680, 0, 92 * MS, 3_390, 10_500),
    ("as", "read"): (978.0, 12_163, 0, 21 * MS, 792, 27_400),
    ("cc", "readlink"): (905.0, 11_258, 11_042, 9 * MS, 800, 2_110),
    ("cc1", "close"): (893.0, 11_109, 0, 12 * MS, 608, 73_700),
    ("as", "write"): (412.0, 5_124, 0, 17 * MS, 944, 30_700),
    ("ld", "pread64"): (96.4, 1_199, 0, 812 * US, 544, 661),
    ("make", "pselect6"): (21.5, 267, 131, 11 * S, 83_900 * US, 94_400 * US),
    ("make", "wait4"): (21.5, 267, 0, 1 * MS, 4_480, 9_600),
    ("cc", "vfork"): (11.9, 148, 0, 2 * S, 6_820 * US, 69_200 * US),
    ("cc", "execve"): (5.95, 74, 0, 310 * MS, 2_430, 8_260 * US),
    ("ld", "unlink"): (0.96, 12, 12, 24 * US, 1_910, 2_050),
    ("sh", "exit_group"): (0.48, 6, 0, None, None, None),
}


def example() -> LiveView:
    """Return a view that a build could have after twelve seconds."""
    rows = tuple(LiveRow(keys, *figures) for keys, figures in FIGURES.items())
    calls, errors = sum(row.calls for row in rows), sum(row.errors for row in rows)
    return LiveView(rows, 12.4, sum(row.rate for row in rows), calls, errors, 4160.0)


def groups(**counts: tuple[int, int, list[int]]) -> Groups:
    """Return groups by event: calls, errors, and durations in nanoseconds, which are below 64."""
    found = Groups()
    for event, (calls, errors, durations) in counts.items():
        keys: Keys | None = None if event == "other" else (event,)
        buckets = {each: durations.count(each) for each in durations}
        numbers = Numbers(len(durations), sum(durations), min(durations, default=None), max(durations, default=None))
        found.add_cell(None, keys, Cell(calls, errors, (None, None, numbers, buckets, dict(buckets))))
    return found


@pytest.fixture
def live() -> Live:
    return Live(make_stat_rollup(defaults=LIVE_FIGURES), begin_s=100.0)


def test_rates_are_of_the_last_interval_and_the_rest_of_all_time(live: Live) -> None:
    live.update(groups(read=(10, 1, [5, 7])), 101.0)

    view = live.update(groups(read=(30, 2, [5, 7, 9]), open=(4, 4, [])), 103.0)

    assert view == LiveView(
        (LiveRow(("read",), 10.0, 30, 2, 21, 7, 9), LiveRow(("open",), 2.0, 4, 4, None, None, None)),
        *(3.0, 12.0, 34, 6, 2.5),
    )


def test_figures_that_fall_behind_are_no_negative_rates(live: Live) -> None:
    live.update(groups(read=(10, 5, [])), 101.0)

    view = live.update(groups(read=(9, 5, []), gone=(0, 0, [])), 101.0)

    assert [(row.keys, row.rate) for row in view.rows] == [(("read",), 0.0)]
    assert (view.rate, view.error_rate) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("order", "events"),
    [
        ("rate", ["c", "a", "b", None]),
        ("calls", ["a", "b", "c", None]),
        ("errors", ["b", "a", "c", None]),
        ("time", ["c", "b", "a", None]),
        ("p99", ["b", "c", "a", None]),
    ],
)
def test_rows_are_ordered_by_a_column_and_the_rest_is_last(order: str, events: list[str | None]) -> None:
    rows = (
        LiveRow(None, 99.0, 99, 99, 99, 99, 99),
        LiveRow(("c",), 3.0, 1, 0, 9, 5, 5),
        LiveRow(("b",), 1.0, 3, 2, 8, 9, 9),
        LiveRow(("a",), 1.0, 4, 1, None, None, None),
    )

    assert [row.keys and row.keys[0] for row in LiveView(rows).ordered(order)] == events


def test_every_order_is_a_column() -> None:
    assert sorted(column.order for column in COLUMNS) == sorted(ORDERS)


def text_at(width: int, height: int = 18, **how: Any) -> str:
    """Return what a terminal of some size shows of the example."""
    console = Console(width=width, height=height, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Screen(example(), "rate", ["comm", "event"], **how).render(width, height))
    return console.export_text()


def test_the_screen_at_80_columns(golden: Any) -> None:
    golden("top/80.txt", "".join(f"{line.rstrip()}\n" for line in text_at(80).splitlines()))


@pytest.mark.parametrize("width", [20, 40, 45, 50, 60, 66, 76, 80, 120, 200])
def test_no_line_is_wrapped_at_any_width(width: int) -> None:
    lines = text_at(width).splitlines()

    assert len(lines) == 18
    assert max(map(len, lines)) <= width
    if width >= 40:
        assert lines[FRAME - 1].split()[:2] == ["rate/s", "calls"]
        assert lines[FRAME].split()[:3] == ["4,120", "51,204", *(["22,817"] if width >= 44 else ["cc1"])]
        assert "openat" in lines[FRAME]


@pytest.mark.parametrize(("height", "rows"), [(1, 1), (5, 1), (10, 6), (100, 15)])
def test_there_are_as_many_rows_as_there_is_room_for(height: int, rows: int) -> None:
    text = text_at(80, height)

    assert len(text.splitlines()) == FRAME + rows
    assert (f"+{15 - rows} more rows" in text) == (rows < 15)


def test_a_loss_takes_the_place_of_the_keys() -> None:
    assert "nothing lost  q quit" in text_at(80)

    told = text_at(80, loss="12 records lost so far, the buffer is full: " + "x" * 80)

    assert "q quit" not in told
    assert "12 records lost so far" in told
    assert max(map(len, told.splitlines())) <= 80


def test_keys_are_no_markup_and_no_escapes() -> None:
    view = LiveView((LiveRow(("[red]x[/red]\x1b[2J",), 1.0, 1, 0, None, None, None),))

    text = Screen(view, "rate", ["comm"]).to_text(80, rows=5)

    assert text.splitlines()[-1].endswith("[red]x[/red]\\x1b[2J")


@pytest.mark.parametrize(
    ("rate", "text"), [(0, "0"), (0.4217, "0.422"), (12.34, "12.3"), (99.96, "100"), (1250.4, "1,250")]
)
def test_rates_have_three_digits(rate: float, text: str) -> None:
    assert show_rate(rate) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(9_999_999, "9,999,999"), (10_000_000, "10,000k"), (10**10, "10,000M"), (10**14, "100,000,000M")],
)
def test_numbers_stay_short(number: int, text: str) -> None:
    assert show_number(number) == text


def test_picture_is_of_what_a_build_calls() -> None:
    svg = (ROOT / "docs" / "reference" / "top.svg").read_text()

    shown = " ".join(re.sub(r"&#160;", " ", text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    for name in (*(column.head for column in COLUMNS), "cc1", "openat"):
        assert name in shown


class Terminal:
    """A terminal of 80 columns with ``traceleft top`` on it."""

    def __init__(self, battery: Path, *arguments: str, top: Sequence[str] = TOP) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.text = ""
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [*top, "--battery", str(battery), "--interval", "0.1", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )

    def resize(self, columns: int, lines: int) -> None:
        """Change the terminal's size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def read_until(self, pattern: str) -> str:
        """Read until something has come since the last time, and return all that came."""
        end = time.monotonic() + WAIT_S
        new = ""
        while not re.search(pattern, new) and time.monotonic() < end:
            new += self._read()
        assert re.search(pattern, new), new
        return new

    def end(self) -> str:
        """Wait for the end, and return all that came."""
        end = time.monotonic() + WAIT_S
        while self.process.poll() is None and time.monotonic() < end:
            self._read()
        while self._read():
            pass
        assert self.process.poll() is not None
        return self.text

    def is_as_before(self) -> bool:
        """Tell whether the terminal's settings are those from before, its first screen and its cursor are shown."""
        screens = [self.text.rfind(each) for each in (ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR)]
        return termios.tcgetattr(self._theirs) == self.before and -1 < screens[0] < min(screens[1:])

    def close(self) -> None:
        """End what still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> str:
        ready, _, _ = select.select([self._ours], [], [], 0.1)
        new = os.read(self._ours, 65536).decode(errors="replace") if ready else ""
        self.text += new
        return new


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


CALLS = "import os, time\nwhile True:\n    os.getppid(); os.access('/nonexistent', 0); time.sleep(0.01)"
COMMAND = ["--kill", "-e", "getppid,access", "--", sys.executable, "-c", CALLS]


@pytest.fixture
def top(kernel_battery: Path, terminals: list[Terminal]) -> Terminal:
    """Return a terminal where calls are shown."""
    terminals.append(Terminal(kernel_battery, *COMMAND))
    terminals[-1].read_until("getppid")
    return terminals[-1]


@pytest.mark.kernel
def test_keys_order_rows_and_end_it(top: Terminal) -> None:
    assert "traceleft top" in top.text
    assert "nothing lost" in top.text
    top.press("e")
    top.read_until(r"access(?s:.*)getppid")
    top.press("s")
    top.resize(40, 10)
    top.read_until("rate/s")
    top.press("q")

    shown = top.end()

    assert top.is_as_before()
    last = shown[shown.rindex(LEAVE_SCREEN) :]
    assert "getppid" in last
    assert "0 unaccounted" in last


@pytest.mark.kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(top: Terminal, number: signal.Signals) -> None:
    top.process.send_signal(number)

    shown = top.end()

    assert top.process.returncode == 128 + number
    assert top.is_as_before()
    assert "unaccounted" in shown[shown.rindex(LEAVE_SCREEN) :]


@pytest.mark.kernel
def test_an_error_leaves_the_terminal_as_it_was(kernel_battery: Path, terminals: list[Terminal]) -> None:
    """The view breaks in its thread: that is reported once the screen has gone."""
    script = (
        "import sys, traceleft.cli.top_view as view\n"
        "def render(*_, **__): raise TypeError('broken')\n"
        "view.Screen.render = render\n"
        "from traceleft.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    terminals.append(Terminal(kernel_battery, *COMMAND, top=[sys.executable, "-c", script, "top"]))

    shown = terminals[-1].end()

    assert terminals[-1].process.returncode == 1
    assert terminals[-1].is_as_before()
    assert "internal: TypeError: broken" in shown[shown.rindex(LEAVE_SCREEN) :]


@pytest.mark.kernel
def test_tables_come_where_there_is_no_terminal(kernel_battery: Path) -> None:
    begin = [*TOP, "--battery", str(kernel_battery), "--interval", "0.2", "--duration", "3", "-n", "3", "--by", "comm"]

    done = subprocess.run([*begin, "--by", "event", *COMMAND], capture_output=True, text=True, timeout=120)

    assert done.returncode in (0, 128 + signal.SIGKILL, 128 + signal.SIGTERM)
    tables = done.stdout.split("\n\n")
    assert len(tables) > 2
    assert "\x1b" not in done.stdout
    assert re.search(r"^ +[0-9.,]+ +[0-9,]+ .*python.* getppid$", tables[0], re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 80
