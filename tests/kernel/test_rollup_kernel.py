"""Rollups in the kernel compared with the same rollups of the events: the same calls, once each, the same numbers."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.support.rollups import figure
from tests.support.tracing import grouped
from tests.tracer.test_tracer import LOOP
from tests.tracer.test_tracer import nothing_left as nothing_left
from traceleft import CountOptions, DetailOptions, FilterOptions, ProbeOptions
from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.aggregator.streaming.engine import Aggregator
from traceleft.aggregator.streaming.kernel import plan_in_kernel, result_of, try_kernel, wants_failed
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.errors import TraceleftError, UnsupportedError
from traceleft.generator import generate
from traceleft.tracer import Tracer
from traceleft.tracer.decode.event import Event

pytestmark = pytest.mark.kernel
EVENTS = (
    "execve,exit,exit_group,openat,close,getppid,read,write,clone,clone3,vfork,wait4,pipe2,dup2,futex,mmap,getrandom,"
    "sched:sched_process_exec"
)
MEASURES = [
    "count",
    "errors",
    "bytes",
    "avg(bytes)",
    "sum(duration)",
    "min(duration)",
    "max(duration)",
    "avg(duration)",
    "p50(duration)",
    "p99.9(duration)",
    "histogram(duration)",
]
# Forks, execs, an exec that fails, pipes, calls that fail, threads, ends of threads and processes.
THREADS = "import os, threading as t; [t.Thread(target=os.getppid).start() for _ in range(4)]"
WORKLOAD = f"ls /etc | wc -l; cat /no/such/file; /no/such/command; {sys.executable} -c '{THREADS}'; exit 3"


@pytest.fixture(scope="module")
def battery(tmp_path_factory: pytest.TempPathFactory) -> Battery:
    place = tmp_path_factory.mktemp("battery")
    generate(None, expressions=[EVENTS], output=place / "generated")
    build(place / "generated", place / "battery", levels=["5.8", "4.18"])
    return Battery.open(place / "battery")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("loop")
    (place / "loop.c").write_text(LOOP)
    subprocess.run(["gcc", "-O2", "-static", "-o", place / "loop", place / "loop.c"], check=True)
    return str(place / "loop")


def trace(battery: Battery, rollup: Rollup, *, command: Sequence[str], only: bool, **options: object) -> Tracer:
    spec = plan_in_kernel(rollup, only=only)
    assert spec is not None
    return Tracer(
        battery,
        command=command,
        follow=True,
        events=rollup.events,
        filters=FilterOptions(failed_only=wants_failed(rollup)),
        details=DetailOptions(unfinished=False),
        counts=CountOptions(rollup=spec),
        **grouped(**options),
    )


@pytest.mark.parametrize("level", ["5.8", "4.18"])
@pytest.mark.parametrize(
    "table",
    [
        {"by": ["event"]},
        {"by": ["event", "comm", "error"]},
        {"by": ["pid", "tid as thread"], "top": 3, "order_by": "sum(duration)"},
        {"by": ["uid", "gid", "cpu", "cgroup_id"]},
        {},
        {"by": ["comm"], "where": "error is not None"},
    ],
    ids=lambda table: "+".join(table.get("by", ["all"])),
)
def test_one_trace_s_rollup_and_events_give_the_same_numbers(
    battery: Battery, level: str, table: dict[str, object], nothing_left: None
) -> None:
    rollup = Rollup.parse("same", measures=MEASURES, **table)

    with trace(battery, rollup, command=["sh", "-c", WORKLOAD], only=False, level=level) as tracer:
        engine = Aggregator(rollup, tracer.specs, tables=tracer.tables)
        for name in tracer.specs:
            tracer.on_batch(name, engine.add)
        tracer.run()

    assert (tracer.level, tracer.hook, tracer.status) == (level, "raw_tracepoint", 3)
    assert result_of(rollup, tracer.rolled_up) == engine.finish()
    assert tracer.ledger.total.emitted == engine.finish().events > 20


def test_a_rollup_alone_puts_out_no_event_and_counts_the_same_calls(
    battery: Battery, loop: str, nothing_left: None
) -> None:
    calls, command = 30_000, "{0} {1} & {0} {1} & wait; exit 7"
    rollup = Rollup.parse("alone", by=["event", "comm", "error"], measures=["count", "errors", "p50(duration)"])

    with trace(battery, rollup, command=["sh", "-c", command.format(loop, calls)], only=True) as tracer:
        events = list(tracer)
    rows = {row.keys: row.values for row in result_of(rollup, tracer.rolled_up).rows}

    assert (events, tracer.ledger.total.emitted, tracer.status) == ([], 0, 7)
    assert rows["openat", "loop", "ENOENT"][:2] == (2 * calls, 2 * calls)
    assert rows["exit_group", "loop", None] == (2, 0, None)
    assert rows["exit_group", "sh", None] == (1, 0, None)
    assert rows["openat", "loop", "ENOENT"][2] is not None


def test_calls_beyond_the_keys_that_have_room_are_added_up(battery: Battery) -> None:
    rollup = Rollup.parse("full", by=["pid", "event"], measures=MEASURES, max_keys=5)

    with trace(battery, rollup, command=["sh", "-c", WORKLOAD], only=False) as tracer:
        events = list(tracer)
    found = result_of(rollup, tracer.rolled_up)
    groups: dict[object, list[Event]] = {row.keys: [] for row in found.rows}
    for event in events:
        keys = (event.pid, event.event)
        groups[keys if keys in groups else None].append(event)

    assert [row.keys is None for row in found.rows] == [False] * 5 + [True]
    for row in found.rows:
        assert row.values == tuple(figure(measure, groups[row.keys], "") for measure in rollup.measures)
    assert (found.events, found.capped) == (len(events), len(groups[None]))


def test_figures_are_read_while_the_trace_runs(battery: Battery, nothing_left: None) -> None:
    rollup = Rollup.parse("live", events=["getppid"], by=["pid"])
    code = "import os\nwhile input():\n    for _ in range(100): os.getppid()\n    print(flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin and child.stdout
    with (
        child,
        Tracer(
            battery, pids=[child.pid], events=rollup.events, counts=CountOptions(rollup=plan_in_kernel(rollup))
        ) as tracer,
    ):
        found = []
        for _ in range(2):
            child.stdin.write("on\n")
            child.stdin.flush()
            child.stdout.readline()
            found.append([(row.keys, row.values) for row in result_of(rollup, tracer.rolled_up).rows])
        child.stdin.write("\n")
        child.stdin.close()
        child.wait(120)

    assert found == [[((child.pid,), (100,))], [((child.pid,), (200,))]]
    assert [row.values for row in result_of(rollup, tracer.rolled_up).rows] == [(200,)]


@pytest.mark.parametrize(
    ("events", "hook", "reason"),
    [
        ("getppid", "tracepoint", "the hook is tracepoint, and only raw tracepoints roll up"),
        ("getppid,sched:sched_process_exec", "auto", "sched:sched_process_exec is not a syscall"),
    ],
)
def test_where_the_kernel_cannot_the_reason_is_told(battery: Battery, events: str, hook: str, reason: str) -> None:
    rollup = Rollup.parse("no", by=["pid"])

    with pytest.raises(UnsupportedError, match="a rollup in the kernel: "):
        Tracer(
            battery, events=[events], counts=CountOptions(rollup=plan_in_kernel(rollup)), probes=ProbeOptions(hook=hook)
        )
    tracer, why = try_kernel(
        rollup,
        lambda spec: Tracer(battery, events=[events], counts=CountOptions(rollup=spec), probes=ProbeOptions(hook=hook)),
    )

    assert why == reason
    with pytest.raises(TraceleftError, match="nothing is rolled up"):
        _ = tracer.rolled_up


def test_a_rollup_under_a_limit_of_cost_is_shed_by_what_is_called_most(battery: Battery, loop: str) -> None:
    rollup = Rollup.parse("limited", by=["event"])
    warnings: list[str] = []
    tracer = trace(battery, rollup, command=[loop, "100000000"], only=True, max_overhead_pct=0.001)

    def note(line: str) -> None:
        warnings.append(line)
        if "is shed" in line:
            tracer.stop()

    tracer.on_warning(note)
    with tracer:
        tracer.run(duration_s=60)

    assert "openat" in tracer.ledger.shed
    assert any("openat is shed" in line for line in warnings)


def test_a_trace_counts_or_rolls_up(battery: Battery) -> None:
    with pytest.raises(TraceleftError, match="choose one of counting and rollup"):
        Tracer(battery, counts=CountOptions(counting="only", rollup=plan_in_kernel(Rollup.parse("both"))))
