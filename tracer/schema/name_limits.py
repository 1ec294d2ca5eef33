"""How long what stands in a recording may be: one table, for who writes it and for who reads it.

Names come from what is traced, which may have chosen them to make a recording unreadable. What is longer is cut, and
ends in a mark. A block that would be too large becomes several.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

BLOCK_BYTES_MAX: Final = 16 << 20
# What a head tells: a host, a kernel, a command, a directory.
TEXT_MAX: Final = 256
# The path of a cgroup.
CGROUP_PATH_MAX: Final = 4096
CGROUPS_MAX: Final = 1 << 16
# A function's name, or a module's path, in a stack.
NAME_MAX: Final = 8192
FRAMES_MAX: Final = 1024
CUT: Final = "…"
# A character of a text as JSON has it takes so many bytes at most.
CHARACTER_BYTES: Final = 6
# So much of a block is filled before the next one is begun.
FULL_BYTES: Final = BLOCK_BYTES_MAX // 2

T = TypeVar("T")


def cut(text: str, limit: int) -> str:
    """Return a text of so many characters at most; one that was longer ends in a mark."""
    return text if len(text) <= limit else text[: limit - 1] + CUT


def cut_line(text: str) -> str:
    """Return a text as a head has it: of one line, each character that does not print shown as ``?``."""
    return "".join(each if each.isprintable() else "?" for each in text[: TEXT_MAX + 1])[:TEXT_MAX]


def portions(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield the items in portions, each small enough for a block."""
    portion: list[T] = []
    size = 0
    for item in items:
        size += size_of(item)
        if size > FULL_BYTES and portion:
            yield portion
            portion, size = [], size_of(item)
        portion.append(item)
    if portion:
        yield portion


def size_of_text(text: str | None) -> int:
    """Return how many bytes a text takes at most, as JSON has it."""
    return CHARACTER_BYTES * len(text or "") + 8
