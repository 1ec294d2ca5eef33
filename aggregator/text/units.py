"""Figures for people: times, sizes and counts with their units, in plain ASCII except µ."""

from datetime import UTC, datetime, timedelta
from typing import Final

_TIMES: Final = ((1, "ns"), (1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s"))
_SPANS: Final = (
    (1_000, "µs"),
    (1_000_000, "ms"),
    (1_000_000_000, "s"),
    (60_000_000_000, "min"),
    (3_600_000_000_000, "h"),
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def show_time(time_ns: int) -> str:
    """Return a time with three digits and the unit that fits: ``1.23 ms``."""
    scale, unit = max((each for each in _TIMES if abs(time_ns) >= each[0]), default=_TIMES[0])
    value = time_ns / scale
    if scale == 1:
        return f"{time_ns} ns"
    return f"{value:.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def show_count(number: int) -> str:
    """Return a number with its thousands apart."""
    return f"{number:,}"


def show_bytes(size: int) -> str:
    """Return a number of bytes with three digits and a binary unit."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            break
        value /= 1024
    if unit == "B":
        return f"{size:,} B"
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def time_unit(span_ns: int) -> tuple[int, str]:
    """Return the unit, in nanoseconds, of an axis over a span, and its name."""
    return max((each for each in _SPANS if span_ns >= 5 * each[0]), default=_SPANS[0])


def show_utc(time_ns: int) -> str:
    """Return a time since the epoch to the millisecond, such as ``2026-11-22 23:05:01.250 UTC``."""
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ns // 1_000_000)
    except OverflowError:
        return f"{time_ns} ns since 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
