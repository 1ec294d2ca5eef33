"""Levels: which of them the running kernel offers, by what it lets us load, and which one a trace takes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from traceleft.errors import TraceleftError, UnsupportedError
from traceleft.linux import HOOKS
from traceleft.tracer.kernel.features import KernelFeatures, probe_kernel


@dataclass(frozen=True, slots=True)
class Level:
    """What a level's objects need of a kernel, by the names of features, and the hooks that they have.

    ``is_stack``: records are built on the stack, arrays by CPU are ours, programs attach to functions only.
    """

    name: str
    needs: tuple[str, ...]
    hooks: tuple[str, ...]
    is_perf: bool = True
    is_stack: bool = False


# The highest comes first: it costs least.
LEVELS: Final[Mapping[str, Level]] = {
    level.name: level
    for level in (
        Level("5.8", ("ring_buffer", "read_user_str"), HOOKS, is_perf=False),
        Level("4.18", ("perf_buffer", "percpu_maps", "read_str", "raw_tracepoint", "cgroup_id"), HOOKS),
        Level("4.11", ("perf_buffer", "percpu_maps", "read_str"), ("tracepoint", "kprobe")),
        Level("4.4", ("perf_buffer", "kprobe"), ("kprobe",), is_stack=True),
    )
}
NEEDS: Final = frozenset(need for level in LEVELS.values() for need in level.needs)


def offered_levels(features: KernelFeatures | None = None) -> tuple[str, ...]:
    """Return the levels that a kernel offers, the highest first; none without the privileges to try."""
    found = features or probe_kernel(only=NEEDS)
    return tuple(level.name for level in LEVELS.values() if all(found.has(need) for need in level.needs))


def explain_level(features: KernelFeatures, name: str) -> str:
    """Tell by what a kernel offers a level, or what it lacks."""
    needs = LEVELS[name].needs
    lacking = [need for need in needs if not features.has(need)]
    words = ", ".join(need.replace("_", " ") for need in lacking or needs)
    return f"lacks {words}" if lacking else f"has {words}"


def choose_levels(features: KernelFeatures, held: Collection[str], requested: str | None = None) -> tuple[Level, ...]:
    """Return the levels that may serve a trace, the highest first: the one asked for alone, else all that a battery
    holds and the kernel offers.

    UnsupportedError for a level that is unknown or that the kernel lacks, TraceleftError where battery and kernel
    have no level in common.
    """
    if requested is not None:
        return (_require_level(features, held, requested),)
    features.require("privileges")
    offered = offered_levels(features)
    if found := tuple(LEVELS[name] for name in offered if name in held):
        return found
    if not offered:
        reasons = "; ".join(f"for {name} it {explain_level(features, name)}" for name in LEVELS)
        raise UnsupportedError("levels", f"this kernel offers none: {reasons}")
    raise TraceleftError(
        f"the battery holds {_listed(held)}, this kernel offers {_listed(offered)}: build it with --level {offered[0]}"
    )


def check_level(name: str) -> str:
    """Return the name of a level; UnsupportedError if there is none of that name."""
    if name not in LEVELS:
        raise UnsupportedError(f"level {name}", f"choose one of {', '.join(LEVELS)}")
    return name


def _require_level(features: KernelFeatures, held: Collection[str], name: str) -> Level:
    level = LEVELS[check_level(name)]
    if name not in held:
        raise TraceleftError(f"the battery holds {_listed(held)}, not {name}: build it with --level {name}")
    for need in level.needs:
        features.require(need)
    return level


def _listed(levels: Collection[str]) -> str:
    ordered = [name for name in LEVELS if name in levels]
    return f"level {', '.join(ordered)}" if ordered else "no level"


def refuse_stack_level(level: Level) -> None:
    """Raise UnsupportedError for a level without maps of stacks."""
    if level.is_stack:
        raise UnsupportedError("-k", f"level {level.name} has no maps of stacks: it needs level 4.11 or later")
