"""Rollups that the kernel computes itself: which these are, what it gets to know, and their result.

Simple keys, counts, sums of bytes, and all of durations but exact percentiles: such calls never become events.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from traceleft.aggregator.rollups import results
from traceleft.aggregator.rollups.columns import BYTE_CALLS
from traceleft.aggregator.rollups.expression_tree import Expression, IsNone, Name, Not
from traceleft.aggregator.rollups.parse import name_of
from traceleft.aggregator.rollups.parts import Function, Key, KeyValue, Measure
from traceleft.aggregator.rollups.results import Counter, Groups, Numbers, Partial, partial_measures, powers_of
from traceleft.aggregator.rollups.rollup import Result, Rollup
from traceleft.errors import UnsupportedError
from traceleft.tracer.session.kernel_rollup import KEY_BITS, Cell, KernelGroups, KernelRollup

OF_DURATION: Final[frozenset[Function]] = frozenset({"sum", "min", "max", "avg", "percentile", "histogram"})
OF_BYTES: Final[frozenset[Function]] = frozenset({"sum", "avg"})
OF_CGROUP: Final = frozenset({"cgroup", "container"})
"""Keys that user space makes of the cgroup's id."""
_BY_BUCKET: Final[frozenset[Function]] = frozenset({"percentile", "histogram"})
_DURATION: Final = Name("duration_ns", "integer")
_BYTES: Final = Name("bytes", "integer")
_FAILED: Final = Not(IsNone(Name("error", "text")))

T = TypeVar("T")
CgroupPath = Callable[[int], str | None]


def kernel_reason(rollup: Rollup) -> str | None:
    """Return why user space has to compute a rollup; None where the kernel may, if the trace's hook lets it."""
    if rollup.where not in (None, _FAILED):
        return "its condition asks for more than failed calls"
    if rollup.window_ns is not None:
        return "it has windows"
    for key in rollup.by:
        if not isinstance(key.expression, Name) or _key_of(key) not in KEY_BITS:
            return f"the kernel has no key {key.name}"
    for measure in partial_measures(rollup):
        if not _is_known(measure):
            return f"the kernel has no measure {measure.name}"
    return None


def plan_in_kernel(rollup: Rollup, *, only: bool = True) -> KernelRollup | None:
    """Return what the kernel is given for a rollup, None where the kernel cannot compute it.

    ``only``: calls are added up and do not become events. The trace must choose failed calls where ``wants_failed``
    says so.
    """
    if kernel_reason(rollup) is not None:
        return None
    measures = partial_measures(rollup)
    of_duration = [measure.function for measure in measures if measure.expression == _DURATION]
    return KernelRollup(
        keys=tuple(map(_key_of, rollup.by)),
        durations=bool(of_duration),
        buckets=not _BY_BUCKET.isdisjoint(of_duration),
        byte_events=BYTE_CALLS if any(measure.expression == _BYTES for measure in measures) else frozenset(),
        max_keys=rollup.max_keys,
        only=only,
    )


def wants_failed(rollup: Rollup) -> bool:
    """Whether a rollup is about failed calls only, so that the trace needs ``FilterOptions(failed_only=True)``."""
    return rollup.where == _FAILED


def try_kernel(rollup: Rollup, make: Callable[[KernelRollup | None], T]) -> tuple[T, str | None]:
    """Return a tracer that rolls up in the kernel where that works, else one that does not, and the reason.

    ::

        tracer, why = try_kernel(rollup, lambda spec: Tracer(battery, counts=CountOptions(rollup=spec)))

    ``make`` is called with what the kernel is given, and again with None where the kernel cannot compute the rollup.
    Raises what ``make`` raises then.
    """
    spec = plan_in_kernel(rollup)
    if spec is None:
        return make(None), kernel_reason(rollup)
    try:
        return make(spec), None
    except UnsupportedError as exc:
        # What is refused for another reason is refused without a rollup as well.
        return make(None), exc.remedy


def groups_of(rollup: Rollup, found: KernelGroups, *, cgroups: CgroupPath | None = None) -> Groups:
    """Return what the kernel found as every engine's groups; ``cgroups`` gives the path of a cgroup by its id."""
    groups = Groups(capped=found.other.calls)
    names = [name_of(key.expression) for key in rollup.by]
    for keys, cell in found.groups.items():
        if not OF_CGROUP.isdisjoint(names):
            keys = tuple(map(partial(_show, cgroups), names, keys))
        groups.add_cell(None, keys, _convert(rollup, cell))
    if found.other.calls:
        groups.add_cell(None, None, _convert(rollup, found.other))
    groups.events = sum(cell.count for cell in groups.cells.values())
    return groups


def result_of(
    rollup: Rollup, found: KernelGroups, *, cgroups: CgroupPath | None = None, notices: tuple[str, ...] = ()
) -> Result:
    """Return the result of a rollup that the kernel computed (``Tracer.rolled_up``).

    ``cgroups`` gives the path of a cgroup by its ID.
    """
    if found.unplaced:
        told = f"{found.unplaced:,} durations are in no percentile, the kernel's map was full: raise max_keys"
        notices = (*notices, told)
    return results.finish(rollup, groups_of(rollup, found, cgroups=cgroups), notices=notices)


def _key_of(key: Key) -> str:
    """The kernel's key that a key is made of."""
    name = name_of(key.expression)
    return "cgroup_id" if name in OF_CGROUP else name


def _show(cgroups: CgroupPath | None, name: str, value: KeyValue) -> KeyValue:
    if name not in OF_CGROUP:
        return value
    path = cgroups(value) if cgroups is not None and isinstance(value, int) else None
    if name == "cgroup" or path is None:
        return path
    from traceleft.aggregator.streaming.batch_columns import container_of

    return container_of(path)


def _is_known(measure: Measure) -> bool:
    match measure:
        case Measure(function="count" | "errors"):
            return True
        case Measure(function=function, expression=Name("duration_ns")):
            return function in OF_DURATION
        case Measure(function=function, expression=Name("bytes")):
            return function in OF_BYTES
    return False


def _convert(rollup: Rollup, cell: Cell) -> results.Cell:
    partials = tuple(_partial(measure.function, measure.expression, cell) for measure in partial_measures(rollup))
    return results.Cell(cell.calls, cell.errors, partials)


def _partial(function: Function, expression: Expression | None, cell: Cell) -> Partial:
    if expression is None:
        return None
    if expression == _BYTES:
        return Numbers(cell.moves, cell.bytes)
    match function:
        case "percentile":
            buckets: Counter = dict(cell.buckets)
            return buckets
        case "histogram":
            return powers_of(cell.buckets)
    if not cell.durations:
        return Numbers()
    return Numbers(cell.durations, cell.total_ns, cell.min_ns, cell.max_ns)
