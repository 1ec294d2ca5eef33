"""Which rollups the kernel computes, what it gets to know of them, and what becomes of its cells."""

import struct
from typing import Any

import pytest

from traceleft.aggregator.rollups.columns import BYTE_CALLS
from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.aggregator.streaming.kernel import kernel_reason, plan_in_kernel, result_of, try_kernel, wants_failed
from traceleft.errors import UnsupportedError
from traceleft.tracer.session.kernel_rollup import Cell, KernelGroups, KernelRollup
from traceleft.tracer.session.plan import Plan

ROLLUPS: list[tuple[dict[str, Any], str | None]] = [
    ({"by": ["event", "pid", "tid", "uid", "gid", "cpu", "comm", "error", "cgroup", "cgroup_id"]}, None),
    ({"measures": ["count", "errors", "bytes", "p99(duration)", "histogram(duration)", "max(duration)"]}, None),
    ({"where": "error is not None"}, None),
    ({"where": 'error == "ENOENT"'}, "its condition asks for more than failed calls"),
    ({"window": "10s"}, "it has windows"),
    ({"by": ["prefix(path, 2)"]}, "the kernel has no key path_prefix_2"),
    ({"by": ["event", "args.flags"]}, "the kernel has no key args_flags"),
    ({"by": ["path"]}, "the kernel has no key path"),
    ({"measures": ["exact_p99(duration)"]}, "the kernel has no measure duration_ns_exact_p99"),
    ({"measures": ["p99(bytes)"]}, "the kernel has no measure bytes_p99"),
    ({"measures": ["max(ret)"]}, "the kernel has no measure ret_max"),
    ({"order_by": "sum(ret)"}, "the kernel has no measure ret_sum"),
    ({"measures": ["sum(int(args.count))"]}, "the kernel has no measure args_count_sum"),
]


@pytest.mark.parametrize(("table", "reason"), ROLLUPS)
def test_what_the_kernel_cannot_compute_is_told_by_its_reason(table: dict[str, Any], reason: str | None) -> None:
    rollup = Rollup.parse("r", **table)

    assert kernel_reason(rollup) == reason
    assert (plan_in_kernel(rollup) is None) == (reason is not None)
    assert try_kernel(rollup, lambda spec: spec) == (plan_in_kernel(rollup), reason)


@pytest.mark.parametrize(
    ("table", "spec"),
    [
        ({"by": ["comm as name"]}, KernelRollup(("comm",))),
        ({"measures": ["count"], "order_by": "bytes"}, KernelRollup(byte_events=BYTE_CALLS)),
        ({"measures": ["avg(duration)"], "max_keys": 7}, KernelRollup(durations=True, max_keys=7)),
        ({"by": ["pid"], "order_by": "p90(duration)"}, KernelRollup(("pid",), durations=True, buckets=True)),
    ],
)
def test_the_kernel_is_told_what_the_measures_need(table: dict[str, Any], spec: KernelRollup) -> None:
    assert plan_in_kernel(Rollup.parse("r", **table)) == spec


def test_a_condition_on_failed_calls_is_the_tracer_s_filter() -> None:
    assert wants_failed(Rollup.parse("r", where="error is not None"))
    assert not wants_failed(Rollup.parse("r", where="error is None"))


def test_a_tracer_that_cannot_is_made_without() -> None:
    def make(spec: KernelRollup | None) -> str:
        if spec is not None:
            raise UnsupportedError("a rollup in the kernel", "the reason")
        return "made"

    assert try_kernel(Rollup.parse("r"), make) == ("made", "the reason")


def test_cells_become_rows() -> None:
    rollup = Rollup.parse(
        "r",
        by=["comm"],
        measures=["count", "errors", "bytes", "avg(duration)", "min(duration)", "p50(duration)", "histogram(duration)"],
    )
    read = Cell(5, 1, 2, 11, 4, 7, 3, 100, {4: 1, 7: 1})
    found = KernelGroups({("a",): read, ("b",): Cell(calls=9)}, Cell(2, 2, 1, 70, 70, 70, 0, 0, {}), unplaced=1)

    result = result_of(rollup, found)

    assert [(row.keys, row.values) for row in result.rows] == [
        (("b",), (9, 0, None, None, None, None, {})),
        (("a",), (5, 1, 100, 5, 4, 4, {3: 2})),
        (None, (2, 2, None, 70, 70, None, {})),
    ]
    assert (result.events, result.capped) == (16, 2)
    assert result.notices == ("1 durations are in no percentile, the kernel's map was full: raise max_keys",)


def test_cgroups_that_have_one_path_or_container_become_one_group() -> None:
    rollup = Rollup.parse("r", by=["container", "cgroup_id as id", "comm"], measures=["count", "max(duration)"])
    paths = {1: f"/a/{'0' * 64}.scope", 2: f"/a/{'0' * 64}.scope/b", 3: "/a"}
    keys = [(id, 1, "sh") for id in (1, 2, 3, 4)]
    found = KernelGroups({key: Cell(1, 0, 1, key[0], key[0], key[0]) for key in keys})

    result = result_of(rollup, found, cgroups=paths.get)
    spec = plan_in_kernel(rollup)

    assert spec is not None and spec.keys == ("cgroup_id", "cgroup_id", "comm")
    assert [(row.keys, row.values) for row in result.rows] == [(("0" * 64, 1, "sh"), (2, 2)), ((None, 1, "sh"), (2, 4))]


def test_paths_of_cgroups_are_keys() -> None:
    rollup = Rollup.parse("r", by=["cgroup"])
    found = KernelGroups({(1,): Cell(2), (2,): Cell(1)})

    assert [row.keys for row in result_of(rollup, found, cgroups={1: "/a"}.get).rows] == [("/a",), (None,)]
    assert [(row.keys, row.values) for row in result_of(rollup, found).rows] == [((None,), (3,))]


def test_cells_are_added_up() -> None:
    cells = [Cell(), Cell(1, 0, 1, 9, 9, 9, 1, 4, {9: 1}), Cell(2, 1, 1, 3, 3, 3, 0, 0, {3: 1}), Cell(4)]

    assert sum(cells, Cell()) == Cell(7, 1, 2, 12, 3, 9, 1, 4, {3: 1, 9: 1})


def test_keys_of_the_kernel_become_values() -> None:
    spec = KernelRollup(("error", "comm", "pid", "event"))
    rows = [(2, 7, b"cat\0"), (0, 7, b"cat\0"), (0, 7, b"cat\0old")]
    keys = [struct.pack("=HHHHIIIIQ16s", 257, error, 0, 0, pid, 0, 0, 0, 0, comm) for error, pid, comm in rows]
    other = struct.pack("=HHHHIIIIQ16s", 0xFFFF, *(0,) * 8, b"")

    shown = spec.show({key: Cell(1) for key in (*keys, other)}, event=lambda id: f"#{id}", error=lambda n: f"E{n}")

    assert shown.groups == {("E2", "cat", 7, "#257"): Cell(1), (None, "cat", 7, "#257"): Cell(2)}
    assert (shown.other, shown.unplaced) == (Cell(1), 0)


def test_durations_without_a_bucket_are_counted() -> None:
    spec = KernelRollup((), durations=True, buckets=True)
    cell = Cell(3, 0, 3, 30, 10, 10, 0, 0, {10: 2})

    assert spec.show({bytes(48): cell}, event=str, error=str).unplaced == 1


def test_what_the_kernel_holds_is_bounded() -> None:
    plan = Plan("raw_tracepoint", b"", (), {"rollup_exit": "rollup_exit"})

    assert KernelRollup(("pid",)).why_not(plan, 2) is None
    assert KernelRollup(("pid",)).why_not(plan, 128) == (
        "10000 keys on 128 CPUs would take 79 MB of the kernel's memory"
    )
    assert KernelRollup(("event",)).why_not(plan, 128) is None


def test_an_older_battery_is_told() -> None:
    plan = Plan("raw_tracepoint", b"", (), {"dispatch_exit": "dispatch_exit"})

    assert KernelRollup().why_not(plan, 2) == "the battery is older than rollups in the kernel; build it again"


@pytest.mark.parametrize("options", [{"keys": ("path",)}, {"max_keys": 0}])
def test_a_spec_that_no_kernel_takes_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        KernelRollup(**options)
