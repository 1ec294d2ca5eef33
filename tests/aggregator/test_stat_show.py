"""Results as text: the table of strace -c, histograms of bpftrace, whatever the keys and figures are."""

import pytest

from traceleft.aggregator.rollups.parts import KeyValue, MeasureValue
from traceleft.aggregator.rollups.rollup import Result, Rollup, Row
from traceleft.aggregator.rollups.words import make_stat_rollup
from traceleft.aggregator.text.result_text import head_of, show_duration, show_histogram, show_result

EPOCH = 1_790_000_000_000_000_000
TABLE = """\
% time  seconds usecs/call calls errors   p50   p90   p99 max event
------ -------- ---------- ----- ------ ----- ----- ----- --- ------
 75.00 0.003000       1500     2      1 1.5ms 1.5ms 1.5ms 2ms openat
 25.00 0.001000        200     5        200µs 250µs 300µs 1ms read
  0.00 0.000000                3                              exit
------ -------- ---------- ----- ------ ----- ----- ----- --- ------
100.00 0.004000        400    10      1                   2ms total
"""


def rows(*values: tuple[tuple[KeyValue, ...] | None, tuple[MeasureValue, ...]]) -> tuple[Row, ...]:
    return tuple(Row(None, keys, figures) for keys, figures in values)


def test_the_table_is_strace_s_with_percentiles_and_totals() -> None:
    listed = rows(
        (("openat",), (2, 1, 3_000_000, 1_500_000, 1_500_000, 1_500_000, 1_500_000, 2_000_000)),
        (("read",), (5, 0, 1_000_000, 200_000, 200_000, 250_000, 300_000, 1_000_000)),
        (("exit",), (3, 0, None, None, None, None, None, None)),
    )

    shown = show_result(Result(make_stat_rollup(), listed))

    assert shown == TABLE


def test_no_rows_make_a_table_without_any() -> None:
    lines = show_result(Result(make_stat_rollup(), ())).splitlines()

    assert len(lines) == 4
    assert lines[-1].split() == ["100.00", "0.000000", "0", "total"]


def test_each_window_has_its_time_and_its_totals() -> None:
    rollup = make_stat_rollup(measures=["count"], interval_ns=1_000_000_000)
    windows = [(EPOCH, EPOCH + 10**9), (EPOCH + 10**9, EPOCH + 2 * 10**9)]

    shown = show_result(Result(rollup, tuple(Row(window, ("read",), (7, 0)) for window in windows)))

    assert [line for line in shown.splitlines() if "UTC" in line] == [
        "2026-09-21 14:13:20.000 UTC, 1 s",
        "2026-09-21 14:13:21.000 UTC, 1 s",
    ]
    assert shown.count(" total") == 2
    assert show_result(Result(rollup, ())) == ""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("cat", 7), "    1        cat   7"),
        ((None, None), "    1        -     -"),
        (("", -1), '    1        ""    -1'),
        (("a\nb\x1b[31m", 0), "    1        a\\nb\\x1b[31m 0"),
        (None, "    1        other"),
    ],
)
def test_keys_are_shown_safely(keys: tuple[KeyValue, ...] | None, line: str) -> None:
    rollup = make_stat_rollup(by=["comm", "pid"], measures=["count"])

    assert show_result(Result(rollup, rows((keys, (1, 0))))).splitlines()[2] == line


def test_a_rollup_without_keys_is_one_line() -> None:
    rollup = Rollup.parse("all", measures=["count", "sum(ret)", "p99(ret)", "max(duration) as longest"])

    assert show_result(Result(rollup, rows(((), (3, 12, None, 5))))) == (
        "calls ret_sum ret_p99 max\n----- ------- ------- ---\n    3      12         5ns\n"
    )


def test_histograms_follow_with_their_keys() -> None:
    rollup = make_stat_rollup(measures=["count"], has_histogram=True)

    shown = show_result(Result(rollup, rows((("read",), (3, 0, {1: 1, 3: 2})), (None, (1, 0, {11: 1})))))

    assert "histogram" not in shown
    assert shown.split("\n\n", 1)[1] == (
        "@duration_ns[read]:\n"
        f"[1]                    1 |{'@' * 26:<52}|\n"
        f"[2, 4)                 0 |{'':<52}|\n"
        f"[4, 8)                 2 |{'@' * 52}|\n"
        "\n@duration_ns[other]:\n"
        f"[1K, 2K)               1 |{'@' * 52}|\n"
    )


@pytest.mark.parametrize(
    ("power", "label"),
    [
        (-1, "(..., 0)"),
        (0, "[0]"),
        (1, "[1]"),
        (2, "[2, 4)"),
        (10, "[512, 1K)"),
        (41, "[1T, 2T)"),
        (63, "[4E, 8E)"),
    ],
)
def test_ranges_are_bpftrace_s(power: int, label: str) -> None:
    shown = show_histogram({power: 1})

    assert shown.count("\n") == 1
    assert shown.startswith(f"{label} ")


def test_durations_are_short_and_have_units() -> None:
    assert [show_duration(each) for each in (None, 0, 812, 1_234, 45_100_000, 2_030_000_000)] == [
        *("", "0ns", "812ns", "1.23µs", "45.1ms", "2.03s")
    ]


def test_heads_are_short_for_durations_and_names_for_others() -> None:
    rollup = Rollup.parse(
        "r", measures=["count", "errors", "p99.9(duration)", "min(duration)", "bytes", "p50(ret) as r"]
    )

    assert [head_of(measure) for measure in rollup.measures] == ["calls", "errors", "p99.9", "min", "bytes", "r"]
