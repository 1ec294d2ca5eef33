"""``-p TID``: one thread that does not lead its process."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.kernel.live import HOOKS
from traceleft import ProbeOptions
from traceleft.battery import Battery
from traceleft.tracer import Tracer
from traceleft.tracer.decode.event import Event

pytestmark = pytest.mark.kernel

SCRIPT = """
import os, threading, time

def look(name):
    try:
        os.open(name, os.O_RDONLY)
    except OSError:
        time.sleep(0.005)

def work():
    print(threading.get_native_id(), flush=True)
    while True:
        look("/nosuch/worker")
        other = threading.Thread(target=look, args=("/nosuch/started",))
        other.start()
        other.join()

threading.Thread(target=work, daemon=True).start()
while True:
    look("/nosuch/main")
"""


@pytest.fixture
def threads() -> Iterator[tuple[int, int]]:
    """A process with two threads that open files all the time; the second also starts others. Returns both numbers."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def opened(battery: Battery, hook: str, pids: list[int], *, follow: bool = False) -> tuple[set[int], set[str]]:
    """Return which threads are seen, and what they open."""
    with Tracer(battery, pids=pids, events=["openat"], follow=follow, probes=ProbeOptions(hook=hook)) as tracer:
        events: list[Event] = []
        tracer.on("openat", events.append)
        tracer.run(max_events=40, duration_s=120)
    assert len(events) == 40
    return {event.tid for event in events}, {str(event.args.filename) for event in events}


@pytest.mark.parametrize("hook", HOOKS)
def test_thread_is_traced_alone(battery: Battery, threads: tuple[int, int], hook: str) -> None:
    _, tid = threads
    assert opened(battery, hook, [tid]) == ({tid}, {"/nosuch/worker"})


@pytest.mark.parametrize("hook", HOOKS)
def test_thread_is_followed_into_what_it_starts(battery: Battery, threads: tuple[int, int], hook: str) -> None:
    _, tid = threads
    assert opened(battery, hook, [tid], follow=True)[1] == {"/nosuch/worker", "/nosuch/started"}


@pytest.mark.parametrize("with_thread", [False, True])
def test_process_is_all_its_threads(battery: Battery, threads: tuple[int, int], with_thread: bool) -> None:
    pid, tid = threads
    names = {"/nosuch/main", "/nosuch/worker", "/nosuch/started"}
    assert opened(battery, "raw_tracepoint", [pid, tid] if with_thread else [pid])[1] == names
