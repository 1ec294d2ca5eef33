"""What a trace costs, and which event is given up for it."""

import pytest

from tests.support.records import spec_of
from traceleft.tracer.session.overhead import Shed, Usage, choose_shed, cost_of, overhead_pct

SECOND = 1_000_000_000


def usage(at_s: float, own_s: float = 0, programs_s: float | None = 0, **calls: int) -> Usage:
    """Return what was used up to a moment; calls by the event's number, as ``_1=5``."""
    programs_ns = None if programs_s is None else int(programs_s * SECOND)
    numbered = {int(name.removeprefix("_")): number for name, number in calls.items()}
    return Usage(int(at_s * SECOND), int(own_s * SECOND), programs_ns, numbered)


def test_overhead_is_a_share_of_all_cpus() -> None:
    assert overhead_pct(usage(10, 1, 2), usage(12, 1.5, 2.5), cpus=2) == pytest.approx(25)


def test_overhead_without_statistics_is_our_own_time() -> None:
    assert overhead_pct(usage(10, 1, None), usage(11, 1.5, None), cpus=1) == pytest.approx(50)


def test_programs_that_went_away_make_no_negative_overhead() -> None:
    assert overhead_pct(usage(10, 1, 5), usage(11, 1, 2), cpus=1) == 0


def test_no_time_at_all_is_no_division_by_zero() -> None:
    assert overhead_pct(usage(10), usage(10), cpus=1) == 0


def test_the_event_that_cost_most_goes() -> None:
    found = choose_shed(usage(0, _1=100, _2=900), usage(1, _1=160, _2=1000), {1: 5, 2: 1})

    assert found == Shed(1, 0.75)


def test_of_equals_the_first_goes() -> None:
    assert choose_shed(usage(0), usage(1, _1=10, _2=10), {2: 1, 1: 1}) == Shed(1, 0.5)


def test_the_last_event_stays() -> None:
    assert choose_shed(usage(0), usage(1, _1=100), {1: 5}) is None


def test_what_costs_nothing_does_not_go() -> None:
    assert choose_shed(usage(0, _1=7), usage(1, _1=7), {1: 5, 2: 5}) is None


def test_shed_events_are_no_candidates() -> None:
    assert choose_shed(usage(0), usage(1, _1=1000, _2=3, _3=1), {2: 1, 3: 1}) == Shed(2, 0.75)


def test_memory_that_is_read_costs() -> None:
    plain, _ = spec_of({"name": "fd", "kind": "fd"})
    path, _ = spec_of({"name": "path", "kind": "path", "slot": True})

    assert cost_of(plain) < cost_of(path)
