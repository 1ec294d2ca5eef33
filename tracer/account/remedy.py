"""What to do about loss: which option, and what value."""

from collections.abc import Mapping, Sequence
from typing import Final

PAGES_MAX: Final = 1 << 18
GROWTH: Final = 4


def busiest(by_event: Mapping[str, int]) -> str:
    """Return the event that makes most of the records with its share, such as ``openat makes 62 %``; empty of one."""
    total = sum(by_event.values())
    if len(by_event) < 2 or not total:
        return ""
    name = max(sorted(by_event), key=lambda each: by_event[each])
    return f"{name} makes {100 * by_event[name] / total:.0f} %"


def buffer_remedy(buffer_pages: int, by_event: Mapping[str, int]) -> str:
    """Return the remedy for a full buffer of so many pages: a larger one, if there may be one."""
    if buffer_pages < PAGES_MAX:
        return f"use --buffer-pages {min(buffer_pages * GROWTH, PAGES_MAX)} (now {buffer_pages})"
    return f"the buffer is as large as it may be ({buffer_pages} pages); {_fewer(busiest(by_event))}"


def reader_remedy(most: str) -> str:
    """Return the remedy for a reader that is too slow; ``most`` says what event makes most of its work."""
    return f"{_fewer(most)}, or write to a file in bulk (--format json -o FILE)"


def missed_remedy(hook: str, offered: Sequence[str]) -> str:
    """Return why a hook missed calls, and the remedy; ``offered`` are the hooks of the level that the kernel has."""
    if hook != "kprobe":
        return "a kernel map was full: follow fewer processes"
    others = [each for each in offered if each != hook]
    instead = f", or --attach {others[0]}" if others else ""
    return f"a kernel map was full or too many calls of all processes were under way: follow fewer processes{instead}"


def _fewer(most: str) -> str:
    return f"choose fewer events with -e ({most})" if most else "choose fewer calls (-p, --comm, -z)"
