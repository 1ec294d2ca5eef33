"""Levels: what ranges of kernels offer, and how objects are made for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from traceleft.battery.since import Kernel
from traceleft.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Level:
    """A level, named after its first kernel.

    ``number`` is what sources know it by, ``cpu`` the newest instruction set that its first kernel runs. What else
    its objects may use is what that kernel has (battery/verifier/floor.py).
    """

    name: str
    number: int
    cpu: str

    @property
    def kernel(self) -> Kernel:
        """The level's first kernel."""
        return Kernel.parse(self.name)

    @property
    def has_tracepoints(self) -> bool:
        """Whether its kernels let programs attach to tracepoints (4.7 and later)."""
        return self.number >= 407

    @property
    def flags(self) -> tuple[str, ...]:
        """What the level adds to clang's flags."""
        return (f"-mcpu={self.cpu}", f"-DTRACELEFT_LEVEL={self.number}")


# v2 came with 4.14, v3 with 5.1.
LEVELS: Final = {
    level.name: level
    for level in (Level("4.4", 404, "v1"), Level("4.11", 411, "v1"), Level("4.18", 418, "v2"), Level("5.8", 508, "v3"))
}
DEFAULT_LEVELS: Final = tuple(LEVELS)


def find_level(name: str) -> Level:
    """Return a level by name."""
    level = LEVELS.get(name)
    if level is None:
        raise UnsupportedError(f"level {name}", f"this traceleft builds {', '.join(LEVELS)}")
    return level


def sort_levels(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of levels, oldest kernel first."""
    return tuple(sorted(names, key=Kernel.parse))
