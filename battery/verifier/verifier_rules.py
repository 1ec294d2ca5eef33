"""What the verifiers of kernels below 4.11 go by: which helpers take what, and how far they follow a program.

From kernel/bpf/verifier.c, kernel/bpf/core.c and kernel/trace/bpf_trace.c of 4.4 and 4.9. Where releases of one series
differ, these rules are those of the stricter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from traceleft.battery.since import Kernel

STACK_BYTES: Final = 512
# BPF_COMPLEXITY_LIMIT_STACK: branches that wait to be followed.
BRANCHES_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Rules:
    """How verifiers from a kernel on judge.

    ``steps_max``: instructions followed on all paths together. ``fills_stack``: a helper may write to a stack that
    holds nothing yet. ``adds``: a constant that is added to a constant or to an address on the stack is followed.
    ``narrows``: a register that was equal to a constant is that constant. ``marks_calls``: states are compared after
    calls and at jumps, in addition to where jumps lead. ``numbers_lookups``: values of two lookups are two things.
    """

    kernel: Kernel
    steps_max: int
    fills_stack: bool
    adds: bool
    narrows: bool
    marks_calls: bool
    numbers_lookups: bool


RULES: Final = (
    Rules(
        kernel=Kernel(4, 4),
        steps_max=32_768,
        fills_stack=False,
        adds=False,
        narrows=True,
        marks_calls=False,
        numbers_lookups=False,
    ),
    Rules(
        kernel=Kernel(4, 9),
        steps_max=65_536,
        fills_stack=True,
        adds=True,
        narrows=False,
        marks_calls=True,
        numbers_lookups=True,
    ),
)
# Verifiers from 4.11 on follow numbers and map memory, which these rules do not (battery/verifier/era.py).


class Argument(Enum):
    """What a helper asks of an argument; the value says it in a message."""

    ANYTHING = "anything"
    CONTEXT = "the context"
    MAP = "the map"
    KEY = "the key"
    VALUE = "the value"
    SOURCE = "the source"
    DESTINATION = "the destination"
    # The length of what the argument before it points to.
    SIZE = "the size"


class Result(Enum):
    """What a helper leaves in register 0."""

    NUMBER = "number"
    NOTHING = "nothing"
    MAP_VALUE = "a map's value, or null"


@dataclass(frozen=True, slots=True)
class Prototype:
    """What a helper takes, in registers 1 to 5, and what it returns."""

    arguments: tuple[Argument, ...] = ()
    result: Result = Result.NUMBER


_ANYTHING, _CONTEXT, _MAP, _KEY = Argument.ANYTHING, Argument.CONTEXT, Argument.MAP, Argument.KEY
_SOURCE, _DESTINATION, _SIZE = Argument.SOURCE, Argument.DESTINATION, Argument.SIZE

# Those of tracing programs, by number; data/since.toml says which kernel has each.
PROTOTYPES: Final[Mapping[int, Prototype]] = {
    1: Prototype((_MAP, _KEY), Result.MAP_VALUE),
    2: Prototype((_MAP, _KEY, Argument.VALUE, _ANYTHING)),
    3: Prototype((_MAP, _KEY)),
    4: Prototype((_DESTINATION, _SIZE, _ANYTHING)),
    5: Prototype(),
    6: Prototype((_SOURCE, _SIZE)),
    7: Prototype(),
    8: Prototype(),
    12: Prototype((_CONTEXT, _MAP, _ANYTHING), Result.NOTHING),
    14: Prototype(),
    15: Prototype(),
    16: Prototype((_DESTINATION, _SIZE)),
    22: Prototype((_MAP, _ANYTHING)),
    25: Prototype((_CONTEXT, _MAP, _ANYTHING, _SOURCE, _SIZE)),
    27: Prototype((_CONTEXT, _MAP, _ANYTHING)),
    35: Prototype(),
    36: Prototype((_ANYTHING, _SOURCE, _SIZE)),
    37: Prototype((_MAP, _ANYTHING)),
    42: Prototype(),
}

# Maps that only these helpers take, which take no other: prog, perf event, stack trace and cgroup arrays.
RESERVED_MAPS: Final[Mapping[int, frozenset[int]]] = {
    3: frozenset({12}),
    4: frozenset({22, 25}),
    7: frozenset({27}),
    8: frozenset({37}),
}

# Bytes of its context that a program may read, by its type in data/since.toml. x86_64's struct pt_regs has 168, as few
# as any; a tracepoint's first 8 hold a pointer, and its record has at most 2048 (PERF_MAX_TRACE_SIZE).
CONTEXTS: Final[Mapping[str, range]] = {
    "kprobe": range(168),
    "perf event": range(168),
    "tracepoint": range(8, 2048),
    # A raw tracepoint has at most twelve arguments (c4f6699dfcb8).
    "raw tracepoint": range(96),
}


def takes_map(helper: int, map_type: int) -> bool:
    """Tell whether a helper may be given a map of a type."""
    if map_type in RESERVED_MAPS:
        return helper in RESERVED_MAPS[map_type]
    return not any(helper in helpers for helpers in RESERVED_MAPS.values())
