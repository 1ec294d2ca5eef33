"""Levels: what ranges of kernels offer, and what an object may therefore use."""

from dataclasses import dataclass
from typing import Final

from traceleft.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Level:
    """A level, named after its first kernel. ``helpers_end`` is the first helper number that it lacks."""

    name: str
    number: int
    cpu: str
    helpers_end: int
    instructions_max: int

    @property
    def flags(self) -> tuple[str, ...]:
        """What the level adds to clang's flags."""
        return (f"-mcpu={self.cpu}", f"-DTRACELEFT_LEVEL={self.number}")


# 5.8's newest helper is csum_level, 135 (enum bpf_func_id).
LEVELS: Final = {level.name: level for level in (Level("5.8", 508, "v3", 136, 1_000_000),)}


def find_level(name: str) -> Level:
    """Return a level by name."""
    level = LEVELS.get(name)
    if level is None:
        raise UnsupportedError(f"level {name}", f"this traceleft builds {', '.join(LEVELS)}")
    return level
