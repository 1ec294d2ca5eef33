"""What a handler prints for kernels below 4.11, whose records are built on the stack.

There every pointer has a room of its own in the record, at an offset and of a size that the kernel's verifier knows:
this shares a stack's bytes out among them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from traceleft.generator.captures import Event, capture_parameters, is_read_after_errors, slot_arguments

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
    exit_lines = list(_exec_exit_lines(event, sizes) if is_exec else _exit_lines(event, sizes))
    return {
        "rooms": rooms,
        "rest": STACK_RECORD_BYTES - used if saves else 0,
        "entry_lines": list(_entry_lines(event, sizes)),
        "exit_lines": exit_lines,
        "asks_resumed": any("resumed" in line for line in exit_lines),
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


def _entry_lines(event: Event, rooms: Mapping[str, int]) -> Iterator[str]:
    slots = event["layout"]["slots"]
    for argument, member, _ in slot_arguments(event):
        if slots[argument["slot"]]["at"] == "entry":
            yield _capture_call(event, argument, member, rooms)


def _exit_lines(event: Event, rooms: Mapping[str, int]) -> Iterator[str]:
    slots = event["layout"]["slots"]
    for argument, member, second in slot_arguments(event):
        capture = _capture_call(event, argument, second or member, rooms)
        if slots[argument["slot"]]["at"] == "entry" and second is None:
            yield f"if (!resumed || stack->record.{member}.status == -EFAULT)"
            yield f"\t{capture}"
        elif is_read_after_errors(argument):
            yield capture
        else:
            yield "if (call->ret >= 0)"
            yield f"\t{capture}"


def _exec_exit_lines(event: Event, rooms: Mapping[str, int]) -> Iterator[str]:
    """A failed call's memory is intact; a successful one's is the new image's."""
    yield "if (call->ret >= 0 && !resumed)"
    yield "\treturn 0;"
    for argument, member, _ in slot_arguments(event):
        yield f"if (call->ret < 0 && (!resumed || stack->record.{member}.status == -EFAULT))"
        yield f"\t{_capture_call(event, argument, member, rooms)}"


def _capture_call(event: Event, argument: Mapping[str, Any], member: str, rooms: Mapping[str, int]) -> str:
    if member not in rooms:
        return f"set_slot(&stack->record.{member}, 0, 0, STATUS_LONGER);"
    kind, parameters = capture_parameters(event, argument, on_stack=True)
    room = f"ROOM({member})"
    address = f"call->args[{argument['index']}]"
    if argument["kind"] in ("struct", "value"):
        room = f"ROOM_OF({member}, {parameters[-1]})"
    elif argument["kind"] in ELEMENTS:
        element, before = ELEMENTS[argument["kind"]]
        room += f", {max((rooms[member] - before) // element, 1)}"
        parameters = [*parameters, "config->text_limit"]
    return f"stack_{kind}({', '.join([room, address, *parameters])});"
