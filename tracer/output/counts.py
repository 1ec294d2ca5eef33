"""``-c``: calls counted per event, as strace's table and as JSON."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from traceleft.tracer.decode.value import Value

_RULE: Final = "------ ----------- ----------- --------- --------- ----------------"
_HEAD: Final = "% time     seconds  usecs/call     calls    errors syscall"


@dataclass(frozen=True, slots=True)
class Count:
    """How often an event happened, failed, and how long its calls took together."""

    event: str
    calls: int
    errors: int
    total_ns: int


def sort_counts(counts: Iterable[Count]) -> list[Count]:
    """Return what was called at all, the longest in total first, then by number of calls and name."""
    return sorted((count for count in counts if count.calls), key=lambda c: (-c.total_ns, -c.calls, c.event))


def sum_counts(counts: Iterable[Count]) -> Count:
    """Return the sum of all."""
    listed = list(counts)
    return Count("total", sum(c.calls for c in listed), sum(c.errors for c in listed), sum(c.total_ns for c in listed))


def show_counts(counts: Iterable[Count]) -> str:
    """Return strace's table, a newline at its end; empty counts give a table without rows."""
    rows = sort_counts(counts)
    total = sum_counts(rows)
    lines = [_HEAD, _RULE, *(_show_row(row, total.total_ns) for row in rows), _RULE, _show_row(total, total.total_ns)]
    return "\n".join(lines) + "\n"


def _show_row(row: Count, total_ns: int) -> str:
    share = 100 * row.total_ns / total_ns if total_ns else 100.0 if row.event == "total" else 0.0
    each_us = row.total_ns // row.calls // 1000 if row.calls else 0
    errors = row.errors or ""
    return f"{share:6.2f} {row.total_ns / 1e9:11.6f} {each_us:11d} {row.calls:9d} {errors:>9} {row.event}"


def counts_to_dict(counts: Iterable[Count]) -> dict[str, Value]:
    """Return the counts as JSON has them: ``{"counts": [{"event", "calls", "errors", "total_ns"}], "total": {…}}``."""
    rows = sort_counts(counts)
    total = sum_counts(rows)
    return {
        "counts": [{"event": row.event, **_figures(row)} for row in rows],
        "total": _figures(total),
    }


def _figures(row: Count) -> dict[str, Value]:
    return {"calls": row.calls, "errors": row.errors, "total_ns": row.total_ns}
