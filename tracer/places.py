"""Functions by where they begin, and the one that a place lies in."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import Final

Place = tuple[str, int]
"""A function's name and the bytes from its start."""

# Of so many names of one place the plainest is taken.
ALIASES_MAX: Final = 64
_SIZE_MAX: Final = 0xFFFFFFFF


def pack(start: int, size: int, key: int) -> int:
    """Return a function as one number: its start of 64 bits, its size and its key of 32."""
    return start << 64 | min(size, _SIZE_MAX) << 32 | key


class Places:
    """Functions, each ``pack(start, size, key)``, whose names are looked up by their keys when they are shown.

    A size of 0 reaches to the next one.
    """

    def __init__(self, functions: Iterable[int], name_of: Callable[[int], str]) -> None:
        ordered = sorted(functions)
        self._starts = array("Q", (each >> 64 for each in ordered))
        self._sizes = array("L", (each >> 32 & _SIZE_MAX for each in ordered))
        self._keys = array("L", (each & _SIZE_MAX for each in ordered))
        self._name_of = name_of

    def find(self, place: int) -> Place | None:
        """Return what a place lies in; of several names of one function the plainest."""
        last = bisect_right(self._starts, place) - 1
        if last < 0:
            return None
        start = self._starts[last]
        first = max(bisect_left(self._starts, start), last - ALIASES_MAX + 1)
        reaching = [rank for rank in range(first, last + 1) if self._reaches(rank, place)]
        names = [name for name in map(self._name_of, (self._keys[rank] for rank in reaching)) if name]
        return (max(names, key=_plainness), place - start) if names else None

    def _reaches(self, rank: int, place: int) -> bool:
        size = self._sizes[rank]
        return not size or place < self._starts[rank] + size


def _plainness(name: str) -> tuple[int, int, str]:
    """Rank a name: few underscores first, then a short one."""
    return len(name.lstrip("_")) - len(name), -len(name), name
