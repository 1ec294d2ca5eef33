"""The table of ``-c``."""

from traceleft.tracer.output.counts import Count, counts_to_dict, show_counts

COUNTS = [
    Count("openat", 31, 13, 3_000_000),
    Count("read", 5, 0, 6_000_000),
    Count("never", 0, 0, 0),
    Count("close", 20, 0, 1_000_000),
]

TABLE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.006000        1200         5           read
 30.00    0.003000          96        31        13 openat
 10.00    0.001000          50        20           close
------ ----------- ----------- --------- --------- ----------------
100.00    0.010000         178        56        13 total
"""


def test_table_is_strace_s() -> None:
    assert show_counts(COUNTS) == TABLE


def test_table_without_times_sorts_by_calls() -> None:
    lines = show_counts([Count("a", 1, 0, 0), Count("b", 2, 0, 0)]).splitlines()

    assert [line.split()[-1] for line in lines[2:4]] == ["b", "a"]
    assert lines[-1].startswith("100.00    0.000000           0         3")


def test_table_of_nothing_has_a_total_of_zero() -> None:
    assert show_counts([]).splitlines()[-1].split() == ["100.00", "0.000000", "0", "0", "total"]


def test_json_has_the_same_figures() -> None:
    shown = counts_to_dict(COUNTS)

    assert shown["total"] == {"calls": 56, "errors": 13, "total_ns": 10_000_000}
    assert counts_to_dict(COUNTS[1:2])["counts"] == [{"event": "read", "calls": 5, "errors": 0, "total_ns": 6_000_000}]
