"""What a verifier refuses before it follows a path: unsound instructions, loops, what nothing leads to, ways out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from traceleft.battery.objects.insns import Instruction, flow_of
from traceleft.battery.since import OLDEST, Kernel
from traceleft.battery.verifier.encoding import NOT_FOLLOWED, fault_of

# 2589726d12a1.
LOOPS: Final = Kernel(5, 3)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Where a program is refused, counted as the kernel's log does, and what is there."""

    at: int
    why: str

    def __str__(self) -> str:
        return f"{self.why} (instruction {self.at})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one verifier says. ``is_plain``: where it takes the program, all later ones do, which need not be asked."""

    refusal: Refusal | None
    is_plain: bool = False


def check_shape(code: Sequence[Instruction], kernel: Kernel = OLDEST) -> Refusal | None:
    """Return what is wrong with a program for a kernel, whatever its paths.

    Loops are refused for every kernel: 5.3 and later follow them, these rules do not, and no object below level 5.8 has
    one.
    """
    if not code:
        return Refusal(0, "no instruction")
    for each in code:
        fault = fault_of(each, kernel)
        if fault is not None:
            return Refusal(each.at, fault)
    try:
        flow = flow_of(tuple(code))
    except ValueError as exc:
        return Refusal(0, str(exc))
    if flow.has_loop:
        return Refusal(0, "a loop" if kernel < LOOPS else f"a loop{NOT_FOLLOWED}")
    return Refusal(min(flow.unreached), "an instruction that nothing leads to") if flow.unreached else None
