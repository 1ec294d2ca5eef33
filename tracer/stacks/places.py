"""Functions by where they begin, and the one that a place lies in."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import Final

Place = tuple[str, int]
"""A function's name and the bytes from its start."""

# Of so many names of one place the plainest is taken.
ALIASES_MAX: Final = 64
# So many functions that end before a place are passed over, for one around them.
PASSED_MAX: Final = 16
_SIZE_MAX: Final = 0xFFFFFFFF


def pack(start: int, size: int, key: int) -> int:
    """Return a function as one number: its start of 64 bits, its size and its key of 32."""
    return start << 64 | min(size, _SIZE_MAX) << 32 | key


class Places:
    """Functions, each ``pack(start, size, key)``, whose names are looked up by their keys when they are shown.

    A size of 0 reaches to the next one. Of several names of one function the plainest is taken; with ``takes_last``
    that of the greatest key, as of a list where a place is used again.
    """

    def __init__(self, functions: Iterable[int], name_of: Callable[[int], str], *, takes_last: bool = False) -> None:
        ordered = sorted(functions)
        self._starts = array("Q", (each >> 64 for each in ordered))
        self._sizes = array("L", (each >> 32 & _SIZE_MAX for each in ordered))
        self._keys = array("L", (each & _SIZE_MAX for each in ordered))
        self._name_of = name_of
        self._takes_last = takes_last

    def find(self, place: int) -> Place | None:
        """Return the innermost function that a place lies in."""
        end = bisect_right(self._starts, place)
        for passed in range(PASSED_MAX):
            if not end:
                return None
            start = self._starts[end - 1]
            first = bisect_left(self._starts, start, 0, end)
            reaching = [
                rank for rank in range(max(first, end - ALIASES_MAX), end) if self._reaches(rank, place, passed)
            ]
            if name := self._choose(reaching):
                return name, place - start
            end = first
        return None

    def _reaches(self, rank: int, place: int, passed: int) -> bool:
        size = self._sizes[rank]
        return place < self._starts[rank] + size if size else not passed

    def _choose(self, ranks: Iterable[int]) -> str:
        keys = [self._keys[rank] for rank in ranks]
        if self._takes_last:
            keys = [max(keys)] if keys else []
        return max(filter(None, map(self._name_of, keys)), key=_plainness, default="")


def _plainness(name: str) -> tuple[int, int, str]:
    """Rank a name: few underscores first, then a short one."""
    return len(name.lstrip("_")) - len(name), -len(name), name
