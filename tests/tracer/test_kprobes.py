"""Which functions a kernel sets no kprobe on, as tracefs tells."""

import os
from pathlib import Path
from typing import cast

import pytest

from traceleft.tracer import _native
from traceleft.tracer.kernel.kprobes import ReturnProbes, find_refused, remove_leftovers


def make_tracefs(path: Path, *, takes: bool) -> Path:
    """Make the two files that are looked at: one that takes every line or none, one that names functions."""
    (path / "available_filter_functions").write_text("__x64_sys_openat\next4_sync [ext4]\n")
    events = path / "kprobe_events"
    events.touch() if takes else events.symlink_to("/dev/full")
    return events


def test_function_that_ftrace_does_not_name_is_tried(tmp_path: Path) -> None:
    events = make_tracefs(tmp_path, takes=True)

    assert find_refused(["__x64_sys_openat", "__x64_sys_getpid"], events) == frozenset()
    made, removed = events.read_text().splitlines()
    assert made.startswith("p:kprobes/traceleft_") and made.endswith("__x64_sys_getpid __x64_sys_getpid")
    assert removed == made.partition(" ")[0].replace("p:", "-:")


def test_function_that_the_kernel_does_not_take_is_refused(tmp_path: Path) -> None:
    events = make_tracefs(tmp_path, takes=False)

    assert find_refused(["__x64_sys_openat", "__x64_sys_perf_event_open"], events) == {"__x64_sys_perf_event_open"}


def test_nothing_is_refused_where_it_cannot_be_tried(tmp_path: Path) -> None:
    assert find_refused(["__x64_sys_getpid"], tmp_path / "kprobe_events") == frozenset()


class Loaded:
    """Stands for an object: notes what is attached and how."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def attach_kprobe(self, program: str, symbol: str, is_return: bool = False) -> str:
        self.calls.append(("kprobe", program, symbol, is_return))
        return "libbpf's"

    def attach_tracepoint(self, program: str, category: str, name: str) -> str:
        self.calls.append(("tracepoint", program, category, name))
        return "ours"


README_4_14 = "\t           r[maxactive][:[<group>/]<event>] <place> [<args>]\n"
README_4_9 = "tracing mini-HOWTO:\n  trace_options\t- Set format or modify how tracing happens\n"


@pytest.fixture
def events(tmp_path: Path) -> Path:
    place = tmp_path / "kprobe_events"
    place.touch()
    return place


def attach(probes: ReturnProbes, *, event: str = "openat") -> tuple[object, list[tuple[object, ...]]]:
    loaded = Loaded()
    link = probes.attach(cast(_native.Object, loaded), "on_return", f"SyS_{event}", event=event)
    return link, loaded.calls


@pytest.mark.parametrize(("event", "most"), [("openat", 4096), ("getpid", 128)])
def test_return_probe_is_made_where_tracefs_takes_a_number(events: Path, event: str, most: int) -> None:
    events.with_name("README").write_text(README_4_14)
    probes = ReturnProbes(events)

    link, ((kind, program, group, name),) = attach(probes, event=event)
    made = events.read_text()
    probes.close()

    assert (link, kind, program, group) == ("ours", "tracepoint", "on_return", "kprobes")
    assert made == f"r{most}:kprobes/{name} SyS_{event}\n"
    assert events.read_text() == f"{made}-:kprobes/{name}\n"


@pytest.mark.parametrize("readme", [README_4_9, None], ids=["4.9", "none"])
def test_number_is_not_tried_where_tracefs_does_not_tell_of_it(events: Path, readme: str | None) -> None:
    """4.4 and 4.9 do not refuse it: they make another probe, which stays."""
    if readme is not None:
        events.with_name("README").write_text(readme)
    probes = ReturnProbes(events)

    link, calls = attach(probes)
    probes.close()

    assert (link, calls) == ("libbpf's", [("kprobe", "on_return", "SyS_openat", True)])
    assert events.read_text() == ""


def test_libbpf_makes_the_probe_that_tracefs_refuses(tmp_path: Path) -> None:
    (tmp_path / "README").write_text(README_4_14)
    (tmp_path / "kprobe_events").symlink_to("/dev/full")

    link, calls = attach(ReturnProbes(tmp_path / "kprobe_events"))

    assert (link, calls) == ("libbpf's", [("kprobe", "on_return", "SyS_openat", True)])


def test_leftovers_are_removed_from_their_groups(events: Path) -> None:
    dead = 4194305
    left = (
        f"p:kprobes/libbpf_{dead}_SyS_openat_0x0_1 SyS_openat+0\n"
        f"r:kretprobes/libbpf_{dead}_SyS_openat_0x0_2 SyS_openat\n"
        f"r128:kprobes/traceleft_{dead}_3_SyS_read SyS_read\n"
        f"r:kretprobes/libbpf_{os.getpid()}_SyS_read_0x0_4 SyS_read\n"
    )
    events.write_text(left)

    remove_leftovers(events)

    assert events.read_text() == left + (
        f"-:kprobes/libbpf_{dead}_SyS_openat_0x0_1\n"
        f"-:kretprobes/libbpf_{dead}_SyS_openat_0x0_2\n"
        f"-:kprobes/traceleft_{dead}_3_SyS_read\n"
    )
