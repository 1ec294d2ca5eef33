"""Calls that no event of a battery is for: free and refused numbers, x32's, those of a newer kernel.

They are one event, ``unknown``, shown as strace shows such a call, ``syscall_999(0x1, …)``, by its number and six
registers.
"""

from collections.abc import Iterable
from typing import Final

NAME: Final = "unknown"


# As NR_OTHER of templates/include/maps.h.j2.
NUMBER: Final = 1023
NUMBER_ARG: Final = 6


# Higher numbers are shown in hex: x32's have bit 30.
DECIMAL_MAX: Final = 1023
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
