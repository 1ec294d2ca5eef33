"""Loss on purpose, for a time: what was emitted is accounted for to the event, per event and per CPU.

``TRACELEFT_SOAK_S`` sets the seconds that a storm lasts; 4 by default.
"""

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.kernel.live import assert_adds_up
from traceleft import BufferOptions, FilterOptions, LimitOptions, ProbeOptions
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.generator import generate
from traceleft.tracer import Tracer
from traceleft.tracer.decode.batch import Batch

pytestmark = pytest.mark.kernel

SOAK_S: Final = max(2, int(os.environ.get("TRACELEFT_SOAK_S", "4")))
WRITERS: Final = 4
EVENTS: Final = ["openat", "close", "getppid"]
STATISTICS: Final = Path("/proc/sys/kernel/bpf_stats_enabled")


@pytest.fixture(scope="module")
def battery(tmp_path_factory: pytest.TempPathFactory) -> Battery:
    """A battery of the storm's syscalls, for a ring and for a perf buffer."""
    place = tmp_path_factory.mktemp("soak")
    generate(None, expressions=EVENTS, output=place / "generated")
    build(place / "generated", place / "battery", levels=["5.8", "4.18"])
    return Battery.open(place / "battery")


@dataclass
class Seen:
    """What reached callbacks, and what was said meanwhile."""

    events: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def count(self, batch: Batch) -> None:
        """Count a batch, as slowly as it takes to overrun a small buffer."""
        name = batch.spec.name
        self.events[name] = self.events.get(name, 0) + len(batch)
        time.sleep(0.02)


def stop_after(process: "subprocess.Popen[str]", tracer: Tracer) -> None:
    """End a trace of everything once a process has ended."""
    process.wait()
    tracer.stop()


def soak(tracer: Tracer, storm: Path, seconds: int) -> tuple[Seen, dict[str, int]]:
    """Trace a storm of several writers to its end; what was seen of it, and how many calls it made."""
    seen = Seen()
    tracer.on_warning(seen.warnings.append)
    for name in tracer.specs:
        tracer.on_batch(name, seen.count)
    tracer.start()
    try:
        with subprocess.Popen([storm, str(seconds), str(WRITERS)], stdout=subprocess.PIPE, text=True) as process:
            ender = threading.Thread(target=stop_after, args=(process, tracer))
            ender.start()
            tracer.run()
            ender.join()
            output, _ = process.communicate(timeout=120)
    finally:
        tracer.close()
    opened, asked = map(int, output.split())
    return seen, {"openat": opened, "close": opened, "getppid": asked}


@pytest.mark.parametrize("limit", ["buffer", "queue"], ids=["the buffer overruns", "the reader falls behind"])
@pytest.mark.parametrize("level", ["5.8", "4.18"], ids=["ring buffer", "perf buffer"])
def test_every_event_of_a_storm_is_accounted_for(battery: Battery, programs: Path, level: str, limit: str) -> None:
    sizes = BufferOptions(pages=2) if limit == "buffer" else BufferOptions(queue_bytes=1 << 20)
    tracer = Tracer(
        battery, events=EVENTS, filters=FilterOptions(comm="live_soak"), probes=ProbeOptions(level=level), buffers=sizes
    )

    seen, made = soak(tracer, programs / "live_soak", SOAK_S)

    assert_adds_up(tracer)
    ledger = tracer.ledger
    assert ledger.total.lost + ledger.total.dropped > 0
    assert {name: figures.delivered for name, figures in ledger.by_event.items()} == seen.events
    for figures in (*ledger.by_event.values(), *ledger.by_cpu.values()):
        assert figures.unaccounted == 0
        assert min(figures.emitted, figures.delivered, figures.lost, figures.dropped) >= 0
    # The program's own start and end make some more.
    assert all(0 <= ledger.by_event[name].emitted - number < 100 for name, number in made.items())
    assert len(seen.warnings) <= 2 + 2 * SOAK_S / 5
    assert any("so far" in line and ("--buffer-pages" in line or "-e" in line) for line in seen.warnings)


def test_expensive_events_are_shed_and_the_last_one_stays(battery: Battery, programs: Path) -> None:
    before = STATISTICS.read_text()
    tracer = Tracer(
        battery, events=EVENTS, filters=FilterOptions(comm="live_soak"), limits=LimitOptions(max_overhead_pct=0.01)
    )

    seen, made = soak(tracer, programs / "live_soak", 6)

    assert_adds_up(tracer)
    ledger = tracer.ledger
    assert list(ledger.shed) == ["openat", "close"]
    assert 0.9 < ledger.shed["openat"] < ledger.shed["close"]
    assert ledger.to_json()["shed"] == {name: {"after_s": round(at_s, 3)} for name, at_s in ledger.shed.items()}
    assert ledger.by_event["openat"].emitted < ledger.by_event["close"].emitted < made["close"]
    assert 0 <= ledger.by_event["getppid"].emitted - made["getppid"] < 100
    assert [line.rpartition(":")[2].split(" is ")[0].strip() for line in seen.warnings if "is shed" in line] == [
        "openat",
        "close",
    ]
    assert sum("nothing more can be shed" in line for line in seen.warnings) == 1
    assert STATISTICS.read_text() == before


def test_a_trace_below_its_limit_sheds_nothing(battery: Battery) -> None:
    tracer = Tracer(
        battery, events=EVENTS, filters=FilterOptions(comm="nobody"), limits=LimitOptions(max_overhead_pct=99)
    )

    with tracer:
        tracer.run(duration_s=2.2)

    assert tracer.ledger.shed == {}
    assert "shed" not in tracer.ledger.to_json()
