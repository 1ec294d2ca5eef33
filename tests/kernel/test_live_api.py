"""The Python interface under load, on the live kernel: batches, threads, ends in the middle."""

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.live import HOOKS, assert_adds_up
from traceleft import FilterOptions, ProbeOptions
from traceleft.battery import Battery
from traceleft.tracer import Tracer
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.value import Value

pytestmark = pytest.mark.kernel


def open_files() -> set[str]:
    """Return what of ours keeps something in the kernel alive: programs, maps, links and perf events."""
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {
        f"{path.name}: {path.readlink()}"
        for path in links
        if any(each in os.readlink(path) for each in ("bpf", "perf"))
    }


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    files, threads = open_files(), set(threading.enumerate())
    yield
    assert open_files() - files == set()
    assert {each.name for each in set(threading.enumerate()) - threads if not each.name.startswith("asyncio")} == set()


@pytest.fixture
def busy(programs: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that calls without end."""
    with subprocess.Popen([programs / "live_storm", "1000000000"]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("hook", HOOKS)
def test_columns_hold_what_the_events_do(battery: Battery, programs: Path, hook: str) -> None:
    rows: list[tuple[int, ...]] = []
    paths: list[object] = []
    events: list[Event] = []

    def take(batch: Batch) -> None:
        columns = batch.to_numpy()
        rows.extend(zip(*(columns[name].tolist() for name in ("tid", "cpu", "seq", "ret", "flags")), strict=True))
        paths.extend(batch.column("filename"))

    with Tracer(
        battery, command=[str(programs / "live_storm"), "3000"], events=["openat,close"], probes=ProbeOptions(hook=hook)
    ) as tracer:
        tracer.on_batch("openat", take)
        tracer.on("openat", events.append)
        tracer.run()
    assert_adds_up(tracer)

    assert len(events) == 3000
    assert [row[:4] for row in rows] == [(event.tid, event.cpu, event.seq, event.ret) for event in events]
    assert paths == [event.args.filename for event in events]


def test_events_of_a_batch_are_those_of_the_trace(battery: Battery, programs: Path) -> None:
    single: list[dict[str, Value]] = []
    batched: list[dict[str, Value]] = []
    with Tracer(battery, command=[str(programs / "live_storm"), "100"], events=["close"]) as tracer:
        tracer.on("close", lambda event: single.append(event.to_dict()))
        tracer.on_batch("close", lambda batch: batched.extend(event.to_dict() for event in batch.events()))
        tracer.run()

    assert single == batched
    assert len(single) == 13


def test_close_in_the_middle_releases_a_busy_reader(battery: Battery, busy: "subprocess.Popen[bytes]") -> None:
    tracer = Tracer(battery, pids=[busy.pid], events=["openat"])
    tracer.start()
    seen = 0
    for _ in tracer:
        seen += 1
        if seen == 1000:
            closer = threading.Thread(target=tracer.close)
            closer.start()
    closer.join()

    assert seen >= 1000
    assert tracer.ledger.total.delivered >= 1000
    assert_adds_up(tracer)


def test_run_in_a_thread_ends_by_stop(battery: Battery, busy: "subprocess.Popen[bytes]") -> None:
    enough = threading.Event()
    seen: list[int] = []

    def take(event: Event) -> None:
        seen.append(event.seq)
        if len(seen) == 500:
            enough.set()

    with Tracer(battery, pids=[busy.pid], events=["getppid"]) as tracer:
        tracer.on("getppid", take)
        runner = threading.Thread(target=tracer.run)
        runner.start()
        assert enough.wait(120)
        tracer.stop()
        runner.join(120)
        assert not runner.is_alive()

    assert len(seen) == tracer.ledger.total.delivered
    assert_adds_up(tracer)


def test_two_tracers_see_the_same(battery: Battery, programs: Path) -> None:
    first: list[int | None] = []
    second: list[int | None] = []
    command = [str(programs / "live_storm"), "2000"]
    with (
        Tracer(battery, events=["openat"], filters=FilterOptions(comm="live_storm")) as all_of_them,
        Tracer(battery, command=command, events=["openat"]) as one,
    ):
        one.on("openat", lambda event: first.append(event.ret))
        one.run()
        second = [event.ret for event in all_of_them.events(duration_s=0.2) if event.pid != os.getpid()]

    assert first == second == [-2] * 2000
    assert_adds_up(one)
    assert_adds_up(all_of_them)


def test_exception_of_a_batch_callback_leaves_nothing(battery: Battery, busy: "subprocess.Popen[bytes]") -> None:
    def fail(batch: Batch) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Tracer(battery, pids=[busy.pid], events=["openat"]) as tracer:
        tracer.on_batch("openat", fail)
        tracer.run(duration_s=5)

    assert tracer.ledger.total.delivered == 0
    assert tracer.ledger.total.emitted > 0
    assert_adds_up(tracer)


@pytest.mark.parametrize("error", [None, ZeroDivisionError], ids=["break", "exception"])
def test_asynchronous_iteration_can_be_broken_off(
    battery: Battery, busy: "subprocess.Popen[bytes]", error: type[Exception] | None
) -> None:
    tracer = Tracer(battery, pids=[busy.pid], events=["openat"])

    async def take() -> None:
        with contextlib.suppress(ZeroDivisionError), tracer:
            async for _ in tracer:
                if error is not None:
                    raise error
                break

    asyncio.run(take())

    assert tracer.ledger.total.delivered == 1
    assert_adds_up(tracer)


def test_iteration_that_is_left_alone_is_accounted_for(battery: Battery, busy: "subprocess.Popen[bytes]") -> None:
    with Tracer(battery, pids=[busy.pid], events=["openat"]) as tracer:
        events = iter(tracer)
        seen = [next(events) for _ in range(3)]

    assert tracer.ledger.total.delivered == len(seen) == 3
    assert_adds_up(tracer)
    assert list(events) == []


def test_asynchronous_iteration_leaves_the_loop_free(battery: Battery, busy: "subprocess.Popen[bytes]") -> None:
    async def tick(ticks: list[float]) -> None:
        while True:
            ticks.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.01)

    async def take() -> tuple[int, list[float]]:
        ticks: list[float] = []
        ticker = asyncio.create_task(tick(ticks))
        with Tracer(battery, pids=[busy.pid], events=["getppid"]) as tracer:
            asyncio.get_running_loop().call_later(0.3, tracer.stop)
            count = sum([1 async for _ in tracer])
        ticker.cancel()
        return count, ticks

    count, ticks = asyncio.run(take())

    assert count > 0
    assert len(ticks) >= 5


def test_ended_process_ends_the_iteration(battery: Battery, busy: "subprocess.Popen[bytes]") -> None:
    with Tracer(battery, pids=[busy.pid], events=["getppid"]) as tracer:
        threading.Timer(0.1, busy.kill).start()
        events = list(tracer)

    assert events
    assert {event.pid for event in events} == {busy.pid}
    assert_adds_up(tracer)
