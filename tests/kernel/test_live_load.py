"""Every object of a battery of the running kernel is accepted by its verifier, in every role that it has."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from traceleft import FilterOptions, ProbeOptions
from traceleft.battery import Battery, Release
from traceleft.tracer import Tracer, _native
from traceleft.tracer.session.maps import NAMES

pytestmark = pytest.mark.kernel

LEVEL: Final = "5.8"
# The hook, its roles, and those that each syscall with an exit has.
ROLES: Final = {
    "raw_tracepoint": ({"raw_enter", "raw_exit"}, {"raw_exit"}),
    "tracepoint": ({"tp_enter", "tp_exit"}, {"tp_enter"}),
    "kprobe": ({"kprobe", "kprobe_plain", "kretprobe"}, {"kprobe"}),
    "event": ({"event"}, set[str]()),
}
NO_EXIT: Final = {"exit", "exit_group"}


@pytest.fixture(scope="module")
def maps(battery: Battery) -> Iterator[dict[str, int]]:
    """The core's maps, which all objects share."""
    data = battery.object_bytes(release_of(battery).core[LEVEL])
    with closing(_native.Object(data, role="core", sizes={"events": 4096, "counters": 4096, "counts": 4096})) as core:
        yield {name: core.map_fd(name) for name in NAMES}


def release_of(battery: Battery) -> Release:
    """Return what the battery has for the running kernel."""
    return battery.release(os.uname().release)


@pytest.mark.parametrize("hook", ROLES)
def test_every_object_loads(battery: Battery, maps: dict[str, int], hook: str) -> None:
    release, (roles, always) = release_of(battery), ROLES[hook]
    refused: dict[str, str] = {}
    found: dict[str, set[str]] = {}

    def load(name: str) -> None:
        digest = release.events[name][LEVEL]
        programs = {each.name: each.role for each in battery.entry(digest).programs if each.role in roles}
        found[name] = set(programs.values())
        if not programs:
            return
        try:
            _native.Object(battery.object_bytes(digest), role="handler", reuse=maps, programs=list(programs)).close()
        except _native.Error as exc:
            refused[name] = str(exc)

    with ThreadPoolExecutor() as pool:
        list(pool.map(load, release.events))

    assert refused == {}
    syscalls = {name for name in release.events if ":" not in name}
    assert {name for name in syscalls - NO_EXIT if not always <= found[name]} == set()
    assert len(syscalls) > 300
    assert any(found.values())


def test_battery_has_an_object_of_every_syscall_that_the_kernel_shows(battery: Battery) -> None:
    shown = {
        path.name.removeprefix("sys_enter_") for path in Path("/sys/kernel/tracing/events/syscalls").glob("sys_enter_*")
    }

    assert shown - set(release_of(battery).events) == set()


@pytest.mark.parametrize("hook", ["raw_tracepoint", "tracepoint"])
def test_every_syscall_can_be_attached_at_once(battery: Battery, hook: str) -> None:
    with Tracer(battery, filters=FilterOptions(comm="nobody"), probes=ProbeOptions(hook=hook)) as tracer:
        assert len(tracer.specs) > 300
        assert tracer.hook == hook

    assert tracer.ledger.total.emitted == 0
