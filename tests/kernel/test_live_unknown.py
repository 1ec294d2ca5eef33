"""Calls that no event of the battery is for are shown by number and registers, and counted."""

import json
from pathlib import Path

import pytest

from tests.kernel.live import HOOKS, trace
from traceleft.battery import Battery
from traceleft.errors import UnsupportedError
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.text import Line, TextOptions
from traceleft.tracer.schema import unknown

pytestmark = pytest.mark.kernel

NUMBERS = (999, 1022, 1023, 1024, 70000, 0x40000001, 0x40000200, 0xFFFFFFFF)
NAMES = [unknown.name_of(number) for number in NUMBERS]


@pytest.mark.parametrize("durations", [False, True], ids=["no times", "times"])
@pytest.mark.parametrize("hook", HOOKS)
def test_each_is_an_event_with_its_number_and_registers(
    battery: Battery, programs: Path, hook: str, durations: bool
) -> None:
    traced = trace(battery, [programs / "live_unknown"], hook=hook, durations=durations)
    events = [event for event in traced.events if event.spec.name == unknown.NAME]
    (first,) = (event for event in events if event.event == "syscall_999")
    line = json.loads(to_json_line(first))

    assert [event.event for event in events] == NAMES
    assert [event.args.number for event in events] == [*NUMBERS]
    assert {event.error for event in events} == {"ENOSYS"}
    assert {event.args.arg0 for event in events} == {"0x1"}
    assert (line["event"], line["args"]) == (
        "syscall_999",
        {"number": 999, **{f"arg{index}": hex(index + 1) for index in range(6)}},
    )
    assert ") = -1 ENOSYS (Function not implemented)" in Line(TextOptions()).show(first)
    assert "] syscall_999(0x1, 0x2, 0x3, 0x4, 0x5, 0x6) = " in Line(TextOptions()).show(first)
    assert all((event.duration_ns is not None) == durations for event in events)
    assert traced.tracer.ledger.by_event[unknown.NAME].delivered == len(NUMBERS)


@pytest.mark.parametrize("hook", HOOKS)
def test_they_are_counted(battery: Battery, programs: Path, hook: str) -> None:
    counts = trace(battery, [programs / "live_unknown"], hook=hook, counting="only").tracer.counts

    assert (counts[unknown.NAME].calls, counts[unknown.NAME].errors) == (len(NUMBERS), len(NUMBERS))


def test_calls_of_events_that_are_not_chosen_are_none_of_them(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_unknown"], "unknown", hook="raw_tracepoint")

    # Where no entries are looked at, nothing tells a call of -1 from the end of a handler.
    assert [event.event for event in traced.events] == NAMES[:-1]


def test_hook_that_does_not_see_them_leaves_them_out_unless_they_are_named(battery: Battery, programs: Path) -> None:
    traced = trace(battery, [programs / "live_unknown"], "openat,close", hook="tracepoint")
    assert unknown.NAME not in traced.tracer.ledger.by_event

    with pytest.raises(UnsupportedError, match="unknown: only raw tracepoints"):
        trace(battery, [programs / "live_unknown"], "openat,unknown", hook="tracepoint")
