"""The levels that are built, and the hooks of each: what tests of levels go through."""

from typing import Final

from traceleft.battery.level import LEVELS as battery_levels
from traceleft.tracer.levels import LEVELS

BUILT: Final = tuple(battery_levels)
RUNS: Final = tuple((level, hook) for level in BUILT for hook in LEVELS[level].hooks)
"""Each level with each of its hooks."""


def runs_on(hooks: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the runs of a kernel that has these hooks."""
    return [(level, hook) for level, hook in RUNS if hook in hooks]
