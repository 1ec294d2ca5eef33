"""Draw docs/top.svg: what ``top`` shows at 80 columns, of figures that are always the same."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from traceleft.aggregator.live import LiveRow, LiveView
from traceleft.cli_top_view import Screen

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 80, 18
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


def main() -> None:
    """Draw it."""
    console = Console(
        width=WIDTH, height=HEIGHT, record=True, file=StringIO(), force_terminal=True, color_system="standard"
    )
    console.print(Screen(example(), "rate", ["comm", "event"]).render(WIDTH, HEIGHT))
    svg = console.export_svg(title="traceleft top -f --by comm --by event -- make -j2", unique_id="top")
    (ROOT / "docs" / "top.svg").write_text(svg)


if __name__ == "__main__":
    main()
