"""The levels that are built, and the hooks of each: what tests of levels go through."""

from typing import Final

from traceleft.battery.level import LEVELS as battery_levels
from traceleft.linux import HOOKS
from traceleft.tracer.kernel.features import probe_kernel
from traceleft.tracer.kernel.levels import LEVELS, NEEDS, offered_levels

BUILT: Final = tuple(battery_levels)
RUNS: Final = tuple((level, hook) for level in BUILT for hook in LEVELS[level].hooks)
"""Each level with each of its hooks."""
ENDS: Final = (RUNS[0], next(run for run in RUNS if run[0] == BUILT[-1]))
"""The oldest level and the newest, each on its cheapest hook."""


def runs_on(hooks: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the runs of a kernel that has these hooks."""
    return [(level, hook) for level, hook in RUNS if hook in hooks]


def offered_runs() -> list[tuple[str, str]]:
    """Return the levels and hooks that the running kernel offers."""
    features = probe_kernel(only={"privileges", *HOOKS, *NEEDS})
    levels = offered_levels(features)
    return [(level, hook) for level, hook in RUNS if level in levels and features.has(hook)]
