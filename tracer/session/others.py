"""Calls that no event of a battery is for: free and refused numbers, x32's, those of a newer kernel.

They are one event, ``unknown``, whose programs are the core's. It is shown as strace shows such a call,
``syscall_999(0x1, …)``, by its number and six registers. Numbers up to 1022 are marked in the map ``chosen`` unless the
battery has an event for them; the place behind them stands for all higher ones.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from traceleft.tracer import _native
    from traceleft.tracer.session.maps import Maps

NAME: Final = "unknown"
# As NR_OTHER of templates/include/maps.h.j2.
NUMBER: Final = 1023
NUMBER_ARG: Final = 6
# Higher numbers are shown in hex: x32's have bit 30.
DECIMAL_MAX: Final = 1023
ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "raw_tracepoint": ("other_exit",),
    "tracepoint": ("other_tp_enter", "other_tp_exit"),
}
# The maps that lead to these programs.
ARRAYS: Final = {"other_exit": "progs_exit", "other_tp_enter": "progs_tp_enter", "other_tp_exit": "progs_tp_exit"}
REASON: Final = "only raw tracepoints, and tracepoints of many events, see calls without an event"

_REGISTER: Final = {"kind": "hex", "width": 8, "signed": False, "type": "unsigned long"}
DOCUMENT: Final[dict[str, object]] = {
    "id": NUMBER,
    "kind": "syscall",
    "number": NUMBER,
    "aliases": [],
    "classes": [],
    "format": "",
    "borrowed": True,
    "registers": 6,
    "entry": "none",
    "ret": {"kind": "int"},
    "layout": {"fixed_size": 136, "args": 7, "slots": [], "digest": ""},
    "args": [
        {"name": "number", "index": NUMBER_ARG, "kind": "int", "width": 4, "signed": False, "type": "unsigned int"},
        *({"name": f"arg{index}", "index": index, **_REGISTER} for index in range(6)),
    ],
}
"""The event as a schema document has it."""


def name_of(number: int) -> str:
    """Return how a call of this number is called."""
    return f"syscall_{number}" if number <= DECIMAL_MAX else f"syscall_0x{number:x}"


def unknown_numbers(known: Iterable[int]) -> list[int]:
    """Return the numbers below the event's own that no event is for."""
    return sorted(set(range(NUMBER)) - set(known))


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
