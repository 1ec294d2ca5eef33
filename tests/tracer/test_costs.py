"""Which hook costs the machine less, by the figures."""

import pytest

from traceleft.linux import RAW_TRACEPOINT, TRACEPOINT
from traceleft.tracer.kernel import counters as counting
from traceleft.tracer.kernel.rates import Rates
from traceleft.tracer.session.costs import (
    MARGIN,
    RAW_BOTH_NS,
    SAVED_MIN_NS,
    TRACEPOINT_NS,
    Scope,
    Shape,
    cheaper_hook,
    costs_ns,
    depends_on_rates,
    explain_costs,
)

WITH_ENTRIES = Shape("all", keeps_entries=True)
BUSY = Rates(calls=1_000_000, chosen=0)


def test_rare_calls_on_a_busy_machine_are_traced_by_tracepoints() -> None:
    assert cheaper_hook(WITH_ENTRIES, BUSY) == TRACEPOINT


def test_frequent_calls_are_traced_by_raw_tracepoints() -> None:
    assert cheaper_hook(WITH_ENTRIES, Rates(calls=1_000_000, chosen=1_000_000)) == RAW_TRACEPOINT


def test_idle_machine_keeps_raw_tracepoints() -> None:
    least = SAVED_MIN_NS / (RAW_BOTH_NS["all"] - TRACEPOINT_NS)

    assert cheaper_hook(WITH_ENTRIES, Rates(least - 1, 0)) == RAW_TRACEPOINT
    assert cheaper_hook(WITH_ENTRIES, Rates(least + 1, 0)) == TRACEPOINT


def test_raw_tracepoints_are_not_left_for_less_than_the_margin() -> None:
    shape = Shape("one process", keeps_entries=True)
    costs = costs_ns(shape, BUSY)

    assert costs[RAW_TRACEPOINT] * (1 - MARGIN) < costs[TRACEPOINT] < costs[RAW_TRACEPOINT]
    assert cheaper_hook(shape, BUSY) == RAW_TRACEPOINT


@pytest.mark.parametrize("scope", ["one process", "processes", "all"])
def test_rates_of_exits_alone_are_not_asked_for(scope: Scope) -> None:
    assert not depends_on_rates(Shape(scope, keeps_entries=False))


def test_rates_are_asked_for_where_entries_of_several_are_looked_at() -> None:
    assert depends_on_rates(WITH_ENTRIES)
    assert depends_on_rates(Shape("processes", keeps_entries=True))
    assert not depends_on_rates(Shape("one process", keeps_entries=True))


def test_every_call_costs_by_the_hook_and_a_chosen_one_more() -> None:
    quiet, chosen = costs_ns(WITH_ENTRIES, Rates(10, 0)), costs_ns(WITH_ENTRIES, Rates(10, 1))

    assert quiet == {RAW_TRACEPOINT: 10 * RAW_BOTH_NS["all"], TRACEPOINT: 10 * TRACEPOINT_NS}
    assert chosen[TRACEPOINT] - quiet[TRACEPOINT] > chosen[RAW_TRACEPOINT] - quiet[RAW_TRACEPOINT] > 0


def test_explanation_names_the_hook_and_both_costs() -> None:
    assert explain_costs(WITH_ENTRIES, BUSY) == (
        "tracepoint, at 1,000,000 calls a second, 0 of them chosen: "
        "20.30 % of a CPU by raw_tracepoint, 15.10 % by tracepoint"
    )
    assert explain_costs(WITH_ENTRIES, Rates(10_000, 0)).endswith("; left for 10% and 0.1 % of a CPU less")


def test_machine_whose_numbers_are_not_known_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MACHINE", "another")

    assert counting.measure_rates([59]) is None
