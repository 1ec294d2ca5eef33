"""What a handler prints for kernels below 4.11, whose records are built on the stack.

There every pointer has a room of its own in the record, at an offset and of a size that the kernel's verifier knows:
this shares a stack's bytes out among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from traceleft.generator.captures import (
    Capture,
    Event,
    When,
    capture_parameters,
    entry_arguments,
    exit_arguments,
    slot_arguments,
)

STACK_RECORD_BYTES: Final = 376
"""A whole record; the program itself uses the rest of the stack's 512 bytes."""
WORD: Final = 8
# What a kind has at least and at most, where its size is not its own. Paths come before other text.
ROOMS: Final = {
    "path": (64, 256),
    "text": (40, 256),
    "buffer": (40, 256),
    "array": (64, 256),
    "sockaddr": (32, 128),
    "sigset": (8, 8),
    "fdset": (16, 128),
    "strings": (144, 448),
    "iovec": (72, 288),
    "msghdr": (216, 288),
}
# The least room of one element of a vector, and of what stands before the elements.
ELEMENTS: Final = {"strings": (48, 0), "iovec": (72, 0), "msghdr": (72, 144)}


@dataclass(frozen=True, slots=True)
class Room:
    """Where a pointer's data go: the member of the record's slot, and the bytes."""

    member: str
    bytes: int


def stack_context(event: Event, *, is_exec: bool, saves: bool) -> dict[str, object]:
    """Give what ``stack_body.j2`` prints."""
    rooms = share_rooms(event)
    used = event["layout"]["fixed_size"] + sum(room.bytes for room in rooms)
    sizes = {room.member: room.bytes for room in rooms}
    exits = [_capture(event, argument, member, sizes, when) for argument, member, when in exit_arguments(event)]
    return {
        "rooms": rooms,
        "rest": STACK_RECORD_BYTES - used if saves else 0,
        "entry": [_capture(event, argument, member, sizes) for argument, member in entry_arguments(event)],
        "exit": exits,
        "asks_resumed": is_exec or any(each.when == "retried" for each in exits),
    }


def share_rooms(event: Event) -> list[Room]:
    """Give each slot its room: its least, then what is left by turns to those that would have more."""
    wishes = {
        member: _wish(argument)
        for argument, first, second in slot_arguments(event)
        for member in (first, second)
        if member is not None
    }
    left = STACK_RECORD_BYTES - event["layout"]["fixed_size"]
    rooms = {}
    for position, (member, (least, _)) in enumerate(wishes.items()):
        # Those that follow have a word each, however little there is.
        rooms[member] = min(least, left - WORD * (len(wishes) - position - 1))
        left -= rooms[member]
    hungry = [member for member, (_, most) in wishes.items() if rooms[member] < most]
    while left >= WORD and hungry:
        for member in hungry:
            if left >= WORD:
                rooms[member] += WORD
                left -= WORD
        hungry = [member for member in hungry if rooms[member] < wishes[member][1]]
    return [Room(member, size) for member, size in rooms.items() if size]


def _wish(argument: Mapping[str, Any]) -> tuple[int, int]:
    match argument["kind"]:
        case "strings" if argument["name"] == "envp":
            # argv needs all that a path leaves.
            return 0, 0
        case "value":
            return WORD, WORD
        case "struct":
            size = -(-argument["size"] // WORD) * WORD
            return size, size
        case kind:
            return ROOMS[kind]


def _capture(
    event: Event, argument: Mapping[str, Any], member: str, rooms: Mapping[str, int], when: When = "always"
) -> Capture:
    if member not in rooms:
        return Capture("", member, "", when, argument["slot"], argument["kind"])
    helper, parameters = capture_parameters(event, argument, on_stack=True)
    room = f"ROOM({member})"
    address = f"call->args[{argument['index']}]"
    if argument["kind"] in ("struct", "value"):
        room = f"ROOM_OF({member}, {parameters[-1]})"
    elif argument["kind"] in ELEMENTS:
        element, before = ELEMENTS[argument["kind"]]
        room += f", {max((rooms[member] - before) // element, 1)}"
        parameters = [*parameters, "config->text_limit"]
    rest = ", ".join([room, address, *parameters])
    return Capture(f"stack_{helper}", member, rest, when, argument["slot"], argument["kind"])
