"""What is said of loss, and what to do about it."""

import pytest

from traceleft.tracer.account.remedy import PAGES_MAX, buffer_remedy, busiest, reader_remedy
from traceleft.tracer.session.loss import describe_loss


def test_the_busiest_event_is_named_with_its_share() -> None:
    assert busiest({"close": 25, "openat": 75}) == "openat makes 75 %"


@pytest.mark.parametrize("by_event", [{}, {"openat": 5}, {"openat": 0, "close": 0}], ids=["none", "one", "nothing"])
def test_no_event_is_named_where_none_stands_out(by_event: dict[str, int]) -> None:
    assert busiest(by_event) == ""


def test_a_larger_buffer_is_the_remedy() -> None:
    assert buffer_remedy(512, {}) == "use --buffer-pages 2048 (now 512)"


def test_a_buffer_grows_to_its_bound_and_no_further() -> None:
    assert buffer_remedy(PAGES_MAX // 2, {}) == f"use --buffer-pages {PAGES_MAX} (now {PAGES_MAX // 2})"
    assert "-e (openat makes 75 %)" in buffer_remedy(PAGES_MAX, {"close": 25, "openat": 75})


def test_who_traces_one_event_is_told_of_other_filters() -> None:
    assert "-e" not in reader_remedy("")
    assert "-p" in reader_remedy("")


def test_each_kind_of_loss_has_its_line() -> None:
    lost, dropped = describe_loss(1200, 30, {"close": 1, "openat": 3}, buffer_pages=8)

    assert lost == "1,200 records lost so far, the buffer is full: use --buffer-pages 32 (now 8)"
    assert dropped.startswith(
        "30 records dropped so far, their reader is too slow: choose fewer events with -e (openat"
    )
    assert describe_loss(0, 0, {}, buffer_pages=8) == []


def test_a_larger_buffer_is_no_remedy_for_a_slow_reader() -> None:
    (line,) = describe_loss(1200, 0, {"close": 1, "openat": 3}, buffer_pages=8, waits=1)

    assert "reader is too slow: choose fewer events" in line
    assert "--buffer-pages" not in line
