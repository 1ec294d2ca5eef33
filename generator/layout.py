"""Where everything lies in a record."""

import hashlib
import json
import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from traceleft.record_layout import SLOT_BYTES, slots_offset

SYSCALL_ARGUMENTS: Final = 6

# A slot is a member of a C structure, next to `header` and `args`; clang predefines bpf, linux and unix.
_RESERVED: Final = frozenset(
    """args header auto break case char const continue default do double else enum extern float for goto if inline int
    long register restrict return short signed sizeof static struct switch typedef typeof union unsigned void
    volatile while asm bpf linux unix likely unlikely offsetof""".split()  # noqa: SIM905
)

Moment = Literal["entry", "exit"]
ArgumentKeys = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Slot:
    """The fixed part of what one pointer led to; `at` is the hook that captures it."""

    name: str
    offset: int
    at: Moment


@dataclass(frozen=True, slots=True)
class EventLayout:
    """The fixed part of an event's record: header, `args` words, then the slots."""

    args: int
    slots: tuple[Slot, ...]
    digest: str = ""

    @property
    def fixed_size(self) -> int:
        """Bytes before the tail."""
        return slots_offset(self.args) + SLOT_BYTES * len(self.slots)

    def to_document(self) -> dict[str, Any]:
        """Return the layout as the schema has it."""
        slots = [{"name": slot.name, "offset": slot.offset, "at": slot.at} for slot in self.slots]
        return {"fixed_size": self.fixed_size, "args": self.args, "slots": slots, "digest": self.digest}


def lay_out(event_id: int, arguments: Sequence[ArgumentKeys], *, args: int) -> tuple[EventLayout, list[dict[str, Any]]]:
    """Give every argument with a `direction` its slots, in order.

    Takes the arguments' schema keys, `at` among them where a slot is captured at entry; returns them with `slot` and
    `slot_out` instead, and the layout.
    """
    placed: list[dict[str, Any]] = []
    slots: list[Slot] = []
    for argument in arguments:
        keys = {key: value for key, value in argument.items() if key != "at"}
        if "direction" in keys:
            for key, name, at in _wanted_slots(argument):
                keys[key] = len(slots)
                name = _free_name(name, slots)
                slots.append(Slot(name, slots_offset(args) + SLOT_BYTES * len(slots), at))
        placed.append(keys)
    layout = EventLayout(args, tuple(slots))
    return EventLayout(args, layout.slots, _digest(event_id, layout, placed)), placed


def _wanted_slots(argument: ArgumentKeys) -> list[tuple[str, str, Moment]]:
    name = member_name(argument["name"])
    if argument["direction"] == "inout":
        return [("slot", name, "entry"), ("slot_out", f"{name}_out", "exit")]
    return [("slot", name, "entry" if argument.get("at") == "entry" else "exit")]


def _free_name(name: str, slots: Sequence[Slot]) -> str:
    taken = {slot.name for slot in slots}
    while name in taken:
        name += "_"
    return name


def member_name(name: str) -> str:
    """Return `name` as it can stand in the C structure of a record."""
    is_free = name not in _RESERVED and not keyword.iskeyword(name) and not name.startswith("__") and name.islower()
    return name if is_free else f"{name}_"


def digest_document(document: object) -> str:
    """Digest a document's canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _digest(event_id: int, layout: EventLayout, arguments: Sequence[ArgumentKeys]) -> str:
    shape = {key: value for key, value in layout.to_document().items() if key != "digest"}
    keys = ("name", "index", "kind", "slot", "slot_out")
    named = [{key: argument[key] for key in keys if key in argument} for argument in arguments]
    return digest_document({"id": event_id, "layout": shape, "args": named})
