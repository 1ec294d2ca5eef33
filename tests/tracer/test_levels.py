"""Which level a trace takes, where a syscall's kprobe goes, and what a perf buffer's account says."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.records import openat
from traceleft.errors import TraceleftError, UnsupportedError
from traceleft.tracer.account.ledger import KernelCounts, Ledger, ReaderCounts, make_ledger
from traceleft.tracer.kernel.features import Feature, KernelFeatures
from traceleft.tracer.kernel.kprobes import find_leftovers, read_syscall_symbols
from traceleft.tracer.kernel.levels import LEVELS, NEEDS, choose_levels, explain_level, offered_levels
from traceleft.tracer.session.plan import Part, place_kprobe

ALL = tuple(LEVELS)
OFFERS: dict[str, set[str]] = {
    "4.4": {"perf_buffer", "kprobe"},
    "4.11": {"perf_buffer", "kprobe", "percpu_maps", "read_str"},
    "4.18": {"perf_buffer", "kprobe", "percpu_maps", "read_str", "raw_tracepoint", "cgroup_id"},
    "5.8": set(NEEDS) | {"kprobe"},
}


def kernel(*present: str, privileged: bool = True) -> KernelFeatures:
    names = {*present, "privileges"} if privileged else {*present}
    known = {*NEEDS, "kprobe", "privileges"}
    return KernelFeatures(
        "9.9", "x86_64", 2, {name: Feature(name, name in names, "no", f"get {name}") for name in known}
    )


@pytest.mark.parametrize("level", OFFERS)
def test_highest_level_that_the_kernel_offers_is_taken(level: str) -> None:
    features = kernel(*OFFERS[level])

    assert choose_levels(features, ALL)[0].name == level
    assert offered_levels(features) == ALL[ALL.index(level) :]


def test_without_an_object_of_the_highest_level_the_next_is_taken() -> None:
    assert choose_levels(kernel(*OFFERS["5.8"]), ["4.11", "4.4"])[0].name == "4.11"


def test_battery_and_kernel_without_a_common_level_name_the_one_to_build() -> None:
    with pytest.raises(TraceleftError, match=r"holds level 5.8, this kernel offers level 4.11, 4.4: .* --level 4.11"):
        choose_levels(kernel(*OFFERS["4.11"]), ["5.8"])


def test_level_that_is_asked_for_is_taken() -> None:
    assert choose_levels(kernel(*OFFERS["5.8"]), ALL, "4.11")[0].name == "4.11"


@pytest.mark.parametrize(
    ("level", "held", "reason"),
    [
        ("4.5", ALL, "level 4.5: choose one of 5.8, 4.18, 4.11, 4.4"),
        ("4.18", ["5.8"], "holds level 5.8, not 4.18: build it with --level 4.18"),
        ("5.8", ALL, "get ring_buffer"),
    ],
    ids=["unknown", "not held", "not offered"],
)
def test_level_that_cannot_be_had_is_refused_with_the_remedy(level: str, held: list[str], reason: str) -> None:
    with pytest.raises(TraceleftError, match=reason):
        choose_levels(kernel(*OFFERS["4.18"]), held, level)


def test_kernel_without_any_level_is_told_what_it_lacks() -> None:
    with pytest.raises(UnsupportedError, match=r"for 4\.4 it lacks perf buffer, kprobe"):
        choose_levels(kernel(), ALL)


def test_lacking_privileges_are_the_reason_for_lacking_levels() -> None:
    with pytest.raises(UnsupportedError, match="get privileges"):
        choose_levels(kernel(privileged=False), ALL)


def test_choice_is_explained_by_what_is_there_and_what_is_not() -> None:
    features = kernel(*OFFERS["4.11"])

    assert explain_level(features, "4.11") == "has perf buffer, percpu maps, read str"
    assert explain_level(features, "4.18") == "lacks raw tracepoint, cgroup id"


def part(*roles: str) -> Part:
    spec, _ = openat()
    return Part(spec, b"", {role: f"{role}_openat" for role in roles})


@pytest.mark.parametrize(
    ("symbols", "role", "symbol"),
    [
        (["sys_openat", "SyS_openat", "__x64_sys_openat"], "kprobe", "__x64_sys_openat"),
        (["sys_openat", "SyS_openat"], "kprobe_plain", "SyS_openat"),
        (["sys_openat"], "kprobe_plain", "sys_openat"),
        ([], "kprobe", "__x64_sys_openat"),
    ],
    ids=["wrapper", "plain", "without arguments", "not told"],
)
def test_kprobe_goes_to_the_newest_form_of_a_syscall(symbols: list[str], role: str, symbol: str) -> None:
    placed = place_kprobe(part("kprobe", "kprobe_plain", "kretprobe"), symbols)

    assert (set(placed.programs), placed.symbol) == ({role, "kretprobe"}, symbol)


def test_level_without_plain_kprobes_takes_wrappers_only() -> None:
    with pytest.raises(UnsupportedError, match="no such function"):
        place_kprobe(part("kprobe", "kretprobe"), ["SyS_openat"])


def test_symbols_of_syscalls_are_read_and_modules_are_not(tmp_path: Path) -> None:
    lines = [
        "0 T __x64_sys_openat",
        "0 T SyS_read",
        "0 t do_sys_open",
        "0 T sys_evil\t[module]",
        "broken",
        "0 T sys_fork",
    ]
    (tmp_path / "kallsyms").write_text("\n".join(lines))

    assert read_syscall_symbols(tmp_path / "kallsyms") == {"__x64_sys_openat", "SyS_read", "sys_fork"}
    assert read_syscall_symbols(tmp_path / "nosuch") == frozenset()


def test_leftovers_are_those_of_dead_tracers() -> None:
    dead = 4194305
    text = (
        f"p:kprobes/libbpf_{dead}_SyS_openat_0x0_1 SyS_openat+0\n"
        f"r:kretprobes/libbpf_{dead}_SyS_read_0x0_2 SyS_read\n"
        f"r4096:kprobes/traceleft_{dead}_3_SyS_read SyS_read\n"
        "p:kprobes/libbpf_1_SyS_openat_0x0_1 SyS_openat+0\n"
        "p:kprobes/mine SyS_openat+0\n"
        f"p:others/libbpf_{dead}_SyS_openat_0x0_1 SyS_openat+0\n"
        "garbage\n"
    )

    assert find_leftovers(text) == [
        f"kprobes/libbpf_{dead}_SyS_openat_0x0_1",
        f"kretprobes/libbpf_{dead}_SyS_read_0x0_2",
        f"kprobes/traceleft_{dead}_3_SyS_read",
    ]


def account(kernel: KernelCounts, **reader: Any) -> Ledger:
    return make_ledger(kernel, ReaderCounts(**{"buffer_lost": {}, "is_final": False, **reader}), {0: "read", 1: "open"})


EMITTED = KernelCounts(emitted={(0, 0): 10, (1, 0): 5, (0, 1): 4}, sequences={(0, 0): 15, (1, 0): 4})


def test_what_never_came_out_of_a_perf_buffer_is_lost_by_event_and_cpu() -> None:
    ledger = account(EMITTED, delivered={(0, 0): 7, (1, 0): 5, (0, 1): 3}, received={(0, 0): 12, (1, 0): 3})

    assert {name: figures.lost for name, figures in ledger.by_event.items()} == {"read": 4, "open": 0}
    assert {cpu: figures.lost for cpu, figures in ledger.by_cpu.items()} == {0: 3, 1: 1}
    assert (ledger.total.unaccounted, ledger.gaps, ledger.overfull) == (0, 4, None)


def test_what_came_out_and_vanished_is_unaccounted_and_not_lost() -> None:
    ledger = account(EMITTED, delivered={(0, 0): 7, (1, 0): 5, (0, 1): 4}, received={(0, 0): 13, (1, 0): 4})

    assert (ledger.total.lost, ledger.total.unaccounted) == (2, 1)
    assert ledger.has_loss


def test_dropped_and_undecodable_records_came_out_of_the_buffer() -> None:
    reader = {"delivered": {(0, 0): 7}, "dropped": {(1, 0): 5}, "undecodable": {(0, 0): 1, (0, 1): 4}}

    ledger = account(EMITTED, **reader, received={(0, 0): 13, (1, 0): 4})

    assert (ledger.total.lost, ledger.total.unaccounted) == (2, 0)


@pytest.mark.parametrize(
    ("said", "is_final", "differs"),
    [(3, False, False), (5, False, True), (4, True, False), (3, True, True)],
    ids=["less so far", "more", "the same", "less at the end"],
)
def test_another_figure_of_the_buffer_is_told(said: int, is_final: bool, differs: bool) -> None:
    reader = {"delivered": {(0, 0): 7, (1, 0): 5, (0, 1): 3}, "received": {(0, 0): 12, (1, 0): 3}}

    ledger = account(EMITTED, **reader, buffer_lost={0: said}, is_final=is_final)

    warning = f"{said} records lost by the perf buffer's own count, 4 by what came out"
    assert (warning in ledger.warnings(buffer_pages=8)) == differs
