"""Options of tracers for tests that are run with many: a name each, without the groups that they belong to."""

from dataclasses import fields
from typing import Any, Final

from traceleft import (
    BufferOptions,
    CountOptions,
    DetailOptions,
    FilterOptions,
    LimitOptions,
    ProbeOptions,
    StackOptions,
)

GROUPS: Final = {
    "buffers": BufferOptions,
    "counts": CountOptions,
    "details": DetailOptions,
    "filters": FilterOptions,
    "limits": LimitOptions,
    "probes": ProbeOptions,
    "stacks": StackOptions,
}
GROUP_OF: Final = {each.name: group for group, kind in GROUPS.items() for each in fields(kind)}


def grouped(**values: Any) -> dict[str, Any]:
    """Return the keywords of a tracer that have these values; those that belong to no group stay as they are."""
    found: dict[str, dict[str, Any]] = {}
    for name in values.keys() & GROUP_OF.keys():
        found.setdefault(GROUP_OF[name], {})[name] = values[name]
    rest = {name: value for name, value in values.items() if name not in GROUP_OF}
    return rest | {group: GROUPS[group](**chosen) for group, chosen in found.items()}
