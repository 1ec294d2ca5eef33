"""What each hook costs the machine: the figures, and the cheaper hook of a trace by them.

Nanoseconds added to a call, from two runs of ``python -m bench.hooks 10`` on Linux 6.18 with 2 CPUs (AMD EPYC): the
median of the best bursts of what costs the same. Machines differ less in the ratios, by which the choice is made; where
programs have to ask helpers (see task_loads.py), raw tracepoints take some 100 more of a chosen call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from traceleft.linux import RAW_TRACEPOINT, TRACEPOINT
from traceleft.tracer.kernel.rates import Rates
from traceleft.tracer.session.filters import Filters
from traceleft.tracer.session.options import Options

Scope = Literal["one process", "processes", "all"]

# Of a call that is not chosen, by anybody: the program on sys_exit, and where entries are looked at that on sys_enter.
RAW_EXIT_NS: Final[Mapping[Scope, int]] = {"one process": 93, "processes": 113, "all": 123}
RAW_BOTH_NS: Final[Mapping[Scope, int]] = {"one process": 163, "processes": 182, "all": 203}
# The kernel's look at which of `syscalls:*` are on, 67 ns, and the program that counts 32-bit calls: on a raw
# tracepoint, or with an exec on a tracepoint (see docs/project/levels.md).
TRACEPOINT_NS: Final = 151
TRACEPOINT_EXEC_NS: Final = 209
# Of a call that is chosen, in addition.
RAW_CHOSEN_NS: Final = 68
RAW_CHOSEN_BOTH_NS: Final = 202
TRACEPOINT_CHOSEN_NS: Final = 494

# Raw tracepoints see what a tracepoint does not: calls that seccomp refuses. So they are left for a tenth less only,
# and for what shows: a thousandth of a CPU.
MARGIN: Final = 0.1
SAVED_MIN_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What a trace's cost depends on: whose calls are traced, whether entries are looked at, whether execs are."""

    scope: Scope
    keeps_entries: bool
    has_exec: bool = False


def shape_of(filters: Filters, options: Options) -> Shape:
    """Return what a trace of processes costs, apart from its events."""
    is_one = len(filters.pids) == 1 and not filters.follow
    scope: Scope = "one process" if is_one else "processes" if filters.pids else "all"
    return Shape(scope, keeps_entries=options.details.durations or options.counting is not None)


def costs_ns(shape: Shape, rates: Rates) -> dict[str, float]:
    """Return what each hook costs, in nanoseconds of CPU time a second.

    Every call of a chosen event counts as traced, whoever makes it: that is true of all processes, and too much of some
    in favour of raw tracepoints.
    """
    raw = RAW_BOTH_NS if shape.keeps_entries else RAW_EXIT_NS
    raw_chosen = RAW_CHOSEN_BOTH_NS if shape.keeps_entries else RAW_CHOSEN_NS
    tracepoint = TRACEPOINT_EXEC_NS if shape.has_exec else TRACEPOINT_NS
    return {
        RAW_TRACEPOINT: rates.calls * raw[shape.scope] + rates.chosen * raw_chosen,
        TRACEPOINT: rates.calls * tracepoint + rates.chosen * TRACEPOINT_CHOSEN_NS,
    }


def cheaper_hook(shape: Shape, rates: Rates) -> str:
    """Return the hook to take: raw tracepoints unless the other is cheaper by the margin."""
    costs = costs_ns(shape, rates)
    saved = costs[RAW_TRACEPOINT] - costs[TRACEPOINT]
    return TRACEPOINT if saved >= SAVED_MIN_NS and saved > MARGIN * costs[RAW_TRACEPOINT] else RAW_TRACEPOINT


def depends_on_rates(shape: Shape) -> bool:
    """Whether there are rates at which tracepoints are the cheaper: if not, nothing needs measuring."""
    return cheaper_hook(shape, Rates(1e9, 0)) == TRACEPOINT


def explain_costs(shape: Shape, rates: Rates) -> str:
    """Tell which hook is taken at these rates, and why, in one line."""
    hook, costs = cheaper_hook(shape, rates), costs_ns(shape, rates)
    at = f"at {rates.calls:,.0f} calls a second, {rates.chosen:,.0f} of them chosen"
    shares = (
        f"{costs[RAW_TRACEPOINT] / 1e7:.2f} % of a CPU by raw_tracepoint, {costs[TRACEPOINT] / 1e7:.2f} % by tracepoint"
    )
    least = f"left for {MARGIN:.0%} and {SAVED_MIN_NS / 1e7:.1f} % of a CPU less" if hook == RAW_TRACEPOINT else ""
    return f"{hook}, {at}: {shares}" + (f"; {least}" if least else "")
