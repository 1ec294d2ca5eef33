"""Events that have no object of their own: their programs are the core's, and every battery has them.

They are calls that no event is for (``others``), and signals and ends of threads (``task_events``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from traceleft.expression import Catalogue
from traceleft.tracer.schema import tasks, unknown

NAMES: Final = frozenset({unknown.NAME, *tasks.NAMES})
DOCUMENTS: Final[Mapping[str, Mapping[str, object]]] = {unknown.NAME: unknown.DOCUMENT, **tasks.DOCUMENTS}
"""The events as a schema document has them, by name."""

# Fewer syscalls than any kernel has: a battery of so few was made of chosen ones, and what it lacks was left out.
COMPLETE_MIN: Final = 256


def default_events(catalogue: Catalogue) -> list[str]:
    """Return what is traced where nothing is named: every syscall, and the core's events.

    Of a battery of chosen syscalls, those alone.
    """
    syscalls = [name for name in catalogue.names if ":" not in name and name not in NAMES]
    return [*syscalls, *(sorted(NAMES & catalogue.names) if len(syscalls) >= COMPLETE_MIN else [])]


def part(expressions: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return event expressions less what names these events, and those that are named, all where nothing is."""
    remaining, named = [], []
    for expression in expressions:
        items = expression.split(",")
        named += [item for item in items if item in NAMES]
        if left := [item for item in items if item not in NAMES]:
            remaining.append(",".join(left))
    return remaining, sorted(set(named) if named or remaining else NAMES)


def calls_of(events: Iterable[str]) -> tuple[str, ...]:
    """Return the events that are calls: signals and ends are not counted or rolled up unless they are named."""
    return tuple(name for name in events if name not in tasks.NAMES)


def add_to(catalogue: Catalogue) -> Catalogue:
    """Return the catalogue with these events added."""
    return replace(catalogue, names=catalogue.names | NAMES)
