"""The hook that is chosen by what goes on, on the live kernel."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.live import assert_adds_up
from tests.support.tracing import grouped
from traceleft import DetailOptions
from traceleft.battery import Battery
from traceleft.errors import UnsupportedError
from traceleft.tracer import Tracer
from traceleft.tracer.kernel import counters as counting
from traceleft.tracer.kernel.counters import measure_rates
from traceleft.tracer.kernel.rates import Rates

pytestmark = pytest.mark.kernel
GETPPID = 110
ACCT = 163
BUSY = "import os\nprint(flush=True)\nwhile True: os.getppid()"


@pytest.fixture
def busy() -> Iterator[int]:
    """A process that makes nothing but getppid calls."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def open_perf_files() -> int:
    """Count our open perf events."""
    names = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    return sum("perf_event" in str(name.readlink()) for name in names if name.is_symlink())


def test_calls_of_all_processes_and_of_the_chosen_are_counted(busy: int) -> None:
    deadline = time.monotonic() + 60
    # On a busy machine the process may not run while it is looked at.
    while (rates := measure_rates([GETPPID], window_s=0.1)) and not rates.chosen and time.monotonic() < deadline:
        pass

    assert rates is not None
    assert 1_000 < rates.chosen <= rates.calls
    assert open_perf_files() == 0


def test_calls_that_nobody_makes_are_counted_as_none(busy: int) -> None:
    rates = measure_rates([ACCT])

    assert rates is not None
    assert rates.chosen == 0 < rates.calls


def test_counters_are_closed_when_counting_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        assert open_perf_files() > 0
        raise KeyboardInterrupt

    monkeypatch.setattr("traceleft.tracer.kernel.counters.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure_rates([GETPPID])

    assert open_perf_files() == 0


def test_what_cannot_be_counted_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_none(*, mount: bool) -> Path:
        raise UnsupportedError("tracefs", "is not there")

    monkeypatch.setattr("traceleft.tracer.kernel.counters.tracefs.find_tracefs", find_none)

    assert measure_rates([GETPPID]) is None


def test_rare_calls_beside_a_busy_process_are_traced_by_tracepoints(battery: Battery, busy: int) -> None:
    tracer = Tracer(battery, events=["acct"], details=DetailOptions(durations=True))

    with tracer:
        pass

    assert tracer.hook == "tracepoint"
    assert_adds_up(tracer)


def test_frequent_calls_are_traced_by_raw_tracepoints(battery: Battery, busy: int) -> None:
    assert Tracer(battery, events=["getppid"], details=DetailOptions(durations=True)).hook == "raw_tracepoint"


@pytest.mark.parametrize(
    "options",
    [
        {"events": ["acct"]},
        {"events": ["acct"], "durations": True, "brief": True},
        {"events": ["acct"], "durations": True, "command": ["true"]},
        {"events": ["acct"], "durations": True, "hook": "raw_tracepoint"},
        {"events": ["execve"], "durations": True},
        {"events": ["execve", "execveat"]},
        {"events": ["%network"], "durations": True},
        {"durations": True},
    ],
    ids=["exits alone", "brief", "a command", "asked for", "an exec", "both execs", "many", "all"],
)
def test_nothing_is_measured_where_it_cannot_matter(
    battery: Battery, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    asked: list[object] = []

    def refuse(numbers: object) -> Rates:
        asked.append(numbers)
        return Rates(1e9, 0)

    monkeypatch.setattr(counting, "measure_rates", refuse)

    assert Tracer(battery, **grouped(**options)).hook == "raw_tracepoint"
    assert asked == []


@pytest.mark.parametrize("rates", [None, Rates(100, 0)], ids=["unknown", "idle"])
def test_raw_tracepoints_are_kept_where_nothing_speaks_against_them(
    battery: Battery, monkeypatch: pytest.MonkeyPatch, rates: Rates | None
) -> None:
    asked: list[object] = []

    def answer(numbers: object) -> Rates | None:
        asked.append(numbers)
        return rates

    monkeypatch.setattr(counting, "measure_rates", answer)

    assert Tracer(battery, events=["acct"], details=DetailOptions(durations=True)).hook == "raw_tracepoint"
    assert asked == [[ACCT]]
