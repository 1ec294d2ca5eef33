"""Calls that no event of a battery is for: free and refused numbers, x32's, those of a newer kernel.

They are one event, ``unknown``, whose programs are the core's. It is shown as strace shows such a call,
``syscall_999(0x1, …)``, by its number and six registers. Numbers up to 1022 are marked in the map ``chosen`` unless the
battery has an event for them; the place behind them stands for all higher ones.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from traceleft.tracer.schema.unknown import NUMBER

if TYPE_CHECKING:
    from traceleft.tracer import _native
    from traceleft.tracer.session.maps import Maps

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "raw_tracepoint": ("other_exit",),
    "tracepoint": ("other_tp_enter", "other_tp_exit"),
}
# The maps that lead to these programs.
ARRAYS: Final = {"other_exit": "progs_exit", "other_tp_enter": "progs_tp_enter", "other_tp_exit": "progs_tp_exit"}
REASON: Final = "only raw tracepoints, and tracepoints of many events, see calls without an event"


def place(maps: "Maps", core: "_native.Object", programs: Mapping[str, str], unknown: Iterable[int]) -> None:
    """Lead the unknown numbers to the core's programs, given by role; without programs nothing is done."""
    for role, program in programs.items():
        maps.put(ARRAYS[role], NUMBER, core.program_fd(program))
    if programs:
        mark(maps, unknown, NUMBER + 1)


def mark(maps: "Maps", unknown: Iterable[int], chosen: int) -> None:
    """Mark the unknown numbers with what is chosen of them: the event's id + 1, or 0."""
    for number in unknown:
        maps.put("chosen", number, chosen)
