"""Which kernel release each thing came with that an object may need. The data, with its sources: data/since.toml."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple, Self

from traceleft.errors import BatteryError


class Kernel(NamedTuple):
    """A kernel release as far as it tells what there is: 5.10 is later than 5.9."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a release; only its first two numbers count. Raises BatteryError if it is not one."""
        found = re.match(r"([0-9]{1,3})\.([0-9]{1,4})(?![0-9])", text, re.ASCII)
        if found is None:
            raise BatteryError(f"{text[:64]!a} is not a kernel release: write one such as 5.10")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


# Below 4.4 nothing was ever tried; what no kernel takes is later than all of them.
OLDEST = Kernel(4, 4)
NEVER = Kernel(999, 0)


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that came with a kernel release."""

    name: str
    since: Kernel


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper; ``tracing`` is the first kernel whose tracing programs, of each type, may call it."""

    name: str
    since: Kernel
    tracing: Kernel | None


@dataclass(frozen=True, slots=True)
class Since:
    """All of it. ``instructions`` are (first kernel, limit), oldest first."""

    helpers: Mapping[int, Helper]
    rewritten: Mapping[int, int]
    map_types: Mapping[int, Thing]
    map_flags: Mapping[int, Thing]
    sections: Mapping[str, Thing]
    features: Mapping[str, Thing]
    instructions: tuple[tuple[Kernel, int], ...]
    stack_bytes: int

    def takes(self, count: int) -> Kernel:
        """Return the first kernel that takes a program of so many instructions."""
        return next((kernel for kernel, limit in self.instructions if count <= limit), NEVER)

    def limit(self, kernel: Kernel) -> int:
        """Return how many instructions a kernel takes in one program."""
        return next((limit for first, limit in reversed(self.instructions) if first <= kernel), 0)

    def helper(self, number: int) -> Helper | None:
        """Return a helper, or for one that libbpf rewrites the one that it becomes on an older kernel."""
        known, older = self.helpers.get(number), self.helpers.get(self.rewritten.get(number, -1))
        return known if known is None or older is None else Helper(known.name, older.since, older.tracing)


@cache
def load_since() -> Since:
    """Return the tables that ship."""
    data = tomllib.loads(files("traceleft.battery").joinpath("data/since.toml").read_text(encoding="utf-8"))
    limits = data["limits"]
    return Since(
        helpers={int(number): _helper(*entry) for number, entry in data["helpers"].items()},
        rewritten={int(number): older for number, older in data["rewritten"].items()},
        map_types={int(number): _thing(*entry) for number, entry in data["map_types"].items()},
        map_flags={int(flag): _thing(*entry) for flag, entry in data["map_flags"].items()},
        sections={name: _thing(*entry) for name, entry in data["sections"].items()},
        features={name: _thing(what, since) for name, (since, what) in data["features"].items()},
        instructions=tuple((Kernel.parse(kernel), limit) for kernel, limit in limits["instructions"]),
        stack_bytes=limits["stack_bytes"],
    )


def _helper(name: str, since: str, tracing: str | None = None) -> Helper:
    return Helper(name, Kernel.parse(since), None if tracing is None else Kernel.parse(tracing))


def _thing(name: str, since: str) -> Thing:
    return Thing(name, Kernel.parse(since))
