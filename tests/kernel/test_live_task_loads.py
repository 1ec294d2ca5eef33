"""Programs that read task_struct, and those that ask helpers: the same events, and the truth."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.kernel.live import args_of, hide_addresses, trace, without_btf
from tests.support import identity
from traceleft import CountOptions, DetailOptions
from traceleft.battery import Battery
from traceleft.tracer import Tracer
from traceleft.tracer.decode.event import Event
from traceleft.tracer.kernel.task_loads import find_task_offsets
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.session.direct_jumps import OFTEN_CALLED
from traceleft.tracer.session.kernel_rollup import KernelRollup
from traceleft.tracer.session.roles import Roles

pytestmark = pytest.mark.kernel

KEYS: Final = ("event", "pid", "tid", "uid", "gid", "comm", "cgroup_id")


@pytest.fixture(params=["by task", "by helpers"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The two ways in which programs learn who calls: the second is that of kernels without BTF."""

    def refused(roles: Roles) -> Roles:
        raise AssertionError("the verifier refused what reads a task")

    monkeypatch.setattr(Roles, "by_helpers", refused)
    with contextlib.nullcontext() if request.param == "by task" else without_btf():
        assert (find_task_offsets() is None) == (request.param == "by helpers")
        yield request.param


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[Path]:
    """A control group of our own."""
    with contextlib.ExitStack() as stack:
        mounts = Path("/proc/mounts").read_text().splitlines()
        root = next(line.split()[1] for line in mounts if line.split()[2] == "cgroup2")
        made = Path(root) / f"traceleft-{os.getpid()}-{tmp_path.name}"
        made.mkdir()
        stack.callback(made.rmdir)
        yield made


def test_records_say_who_calls(battery: Battery, programs: Path, cgroup: Path, way: str) -> None:
    script = f"echo $$ > {cgroup}/cgroup.procs; exec {programs}/live_identity"
    traced = trace(battery, ["sh", "-c", script], identity.EVENTS, follow=True)

    lines = [json.loads(to_json_line(event)) for event in traced.events]
    identity.check_identity(lines, {cgroup.stat().st_ino})
    assert way


def test_names_are_cut_at_their_ends(battery: Battery, tmp_path: Path, way: str) -> None:
    names = ["a", "seven77", "eight888", "nine99999", "fifteen-letters", "b", "\xe9t\xe9"]
    lines = [f"open('/proc/self/comm', 'w').write({name!r}); os.getpgid(0)" for name in names]
    script = tmp_path / "names.py"
    script.write_text("\n".join(["import os", *lines]))
    traced = trace(battery, [sys.executable, script], "getpgid", follow=True)

    assert [event.comm for event in traced.events] == names, way


def test_rollups_say_who_calls(battery: Battery, programs: Path, way: str) -> None:
    rollup = KernelRollup(KEYS, only=False)
    with Tracer(
        battery,
        events=["getpgid,wait4,exit_group"],
        command=[str(programs / "live_identity")],
        follow=True,
        details=DetailOptions(unfinished=False),
        counts=CountOptions(rollup=rollup),
    ) as tracer:
        events = list(tracer)
    counted: dict[tuple[object, ...], int] = {}
    for event in events:
        key = (event.event, event.pid, event.tid, event.uid, event.gid, event.comm, event.cgroup_id)
        counted[key] = counted.get(key, 0) + 1

    assert {key: cell.calls for key, cell in tracer.rolled_up.groups.items()} == counted
    assert len(counted) > 5, way


def test_entries_and_exits_of_calls_that_change_who_calls(battery: Battery, way: str) -> None:
    command = ["setpriv", "--reuid", "12345", "--regid", "23456", "--clear-groups", "true"]
    traced = trace(battery, command, "setresuid,setresgid,execve,exit_group", follow=True)
    seen: list[tuple[object, ...]] = [
        (event.event, event.comm, event.uid, event.gid) for event in traced.events if not event.error
    ]

    assert seen[-4:] == [
        ("setresuid", "setpriv", 12345, 0),
        ("setresgid", "setpriv", 12345, 23456),
        ("execve", "true", 12345, 23456),
        ("exit_group", "true", 12345, 23456),
    ], way


def test_what_the_verifier_refuses_is_asked_of_helpers(
    battery: Battery, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets = dict(find_task_offsets() or {})
    # In the middle of a pointer.
    crooked = {number: offset + 1 for number, offset in offsets.items()}
    monkeypatch.setattr("traceleft.tracer.session.roles.find_task_offsets", lambda: crooked)
    traced = trace(battery, [programs / "live_identity"], identity.EVENTS, follow=True)

    assert len(traced.named("getpgid")) == 12


def test_calls_that_are_jumped_to_and_others_are_the_same(battery: Battery) -> None:
    often, seldom = ("read", "openat", "mmap", "close"), ("brk", "mprotect", "fadvise64", "arch_prctl")
    assert set(often) < set(OFTEN_CALLED)
    assert not set(seldom) & set(OFTEN_CALLED)
    few = trace(battery, ["cat", "/etc/passwd"], ",".join((*often, *seldom)))
    many = trace(battery, ["cat", "/etc/passwd"])

    assert [show(event) for event in few.events] == [show(event) for event in many.named(*often, *seldom)]
    assert {event.event for event in few.events} == {*often, *seldom}


def show(event: Event) -> tuple[object, ...]:
    args = hide_addresses(args_of(event))
    return event.event, args, "an address" if event.event in ("brk", "mmap") else event.ret
