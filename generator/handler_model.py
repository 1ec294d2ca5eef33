"""What a handler's template prints, worked out from an event of the schema.

Pure: the schema document's event in, names, numbers and C expressions out. The
statements are in the templates, the helpers that they call in
``templates/include``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from traceleft.generator.captures import (
    Capture,
    Event,
    When,
    entry_arguments,
    exit_arguments,
    is_environment,
    is_read_after_errors,
    scratch_capture,
    slot_arguments,
)
from traceleft.generator.hooks import syscall_hooks
from traceleft.generator.stack_model import stack_context
from traceleft.linux import EXECS
from traceleft.record_layout import HEADER_BYTES

VECTOR_KINDS: Final = frozenset({"strings", "iovec", "msghdr"})
SAVED_BYTES: Final = 1024
SCRATCH_LIMIT: Final = 32767


def identifier(name: str) -> str:
    """Give an event's name as C and Python have it."""
    return name.replace(":", "_")


def handler_context(name: str, event: Event, structs: Mapping[str, Any]) -> dict[str, object]:
    """Give all that ``handler.bpf.c.j2`` and its body print for one event; structs are the schema's."""
    event = {**event, "args": [_with_size(argument, structs) for argument in event["args"]]}
    layout = event["layout"]
    context: dict[str, object] = {
        "ident": identifier(name),
        "id": event["id"],
        "args": layout["args"],
        "header_bytes": HEADER_BYTES,
        "fixed_size": layout["fixed_size"],
        "digest": layout["digest"],
        "slots": [{"member": slot["name"], "offset": slot["offset"]} for slot in layout["slots"]],
    }
    specific = _tracepoint_context(name, event) if event["kind"] == "tracepoint" else _syscall_context(name, event)
    return context | specific


def _with_size(argument: Mapping[str, Any], structs: Mapping[str, Any]) -> Mapping[str, Any]:
    if argument["kind"] != "struct":
        return argument
    return {**argument, "size": structs[argument["struct"]]["size"]}


def _syscall_context(name: str, event: Event) -> dict[str, object]:
    is_exec, saves, hooks = name in EXECS, event["entry"] == "save", syscall_hooks(name, event)
    return {
        "source": f"syscalls/sys_enter_{name}",
        "header": "exec.h" if is_exec else "syscall.h",
        "has_vectors": any(argument["kind"] in VECTOR_KINDS for argument in event["args"]),
        "body_template": "syscall_body.j2",
        "saves": saves,
        "emits": event["entry"] in ("emit", "number"),
        "emits_guard": "HAS_TRACEPOINT" if event["entry"] == "number" else "",
        "saved_map": "saved_exec" if is_exec else "saved",
        "saved_limit": SCRATCH_LIMIT if is_exec else SAVED_BYTES,
        "regs_parameter": ", const void *regs" if is_exec else "",
        "entry": [scratch_capture(event, argument, member) for argument, member in entry_arguments(event)],
        "prepares": any(hook.role.endswith("_prepare") for hook in hooks),
        "is_exec": is_exec,
        "exit": [scratch_capture(event, *each) for each in exit_arguments(event)],
        "has_environment": any(is_environment(argument) for argument, _, _ in slot_arguments(event)),
        "registers": event["registers"],
        "number": event["number"],
        "short": _short(event) if not saves else None,
        "stack": stack_context(event, is_exec=is_exec, saves=saves),
        "hooks": hooks,
    }


def _short(event: Event) -> Capture | None:
    """Give the capture of a record whose only tail is a buffer, which `-s` keeps short."""
    found = list(exit_arguments(event))
    if [argument["kind"] for argument, _, _ in found] != ["buffer"]:
        return None
    ((argument, member, _),) = found
    when: When = "always" if is_read_after_errors(argument) else "succeeded"
    return scratch_capture(event, argument, member, when)


def _tracepoint_context(name: str, event: Event) -> dict[str, object]:
    return {
        "source": name.replace(":", "/"),
        "header": "tracepoint.h",
        "has_vectors": False,
        "body_template": "tracepoint_body.j2",
        "fields": [_field(argument, event["layout"]["slots"]) for argument in event["args"]],
    }


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a tracepoint: how it is read from the hook's record, and where it goes.

    ``member`` is its slot. A field without one is a number: loaded as ``type`` where it is aligned, else byte by byte.
    """

    index: int
    offset: int
    size: int
    type: str = ""
    member: str = ""
    function: str = ""
    limit: str = ""


def _field(argument: Mapping[str, Any], slots: Sequence[Mapping[str, Any]]) -> _Field:
    index, offset, size = argument["index"], argument["offset"], argument["size"]
    if "slot" not in argument:
        sign = "s" if argument["signed"] and size > 2 else "u"
        is_aligned = size in (1, 2, 4, 8) and offset % size == 0
        return _Field(index, offset, min(size, 8), type=f"__{sign}{8 * size}" if is_aligned else "")
    member = slots[argument["slot"]]["name"]
    if not argument.get("data_loc"):
        return _Field(index, offset, size, member=member)
    limit = "PATH_LIMIT" if argument["kind"] == "path" else "config->text_limit"
    function = "capture_location" if argument["kind"] in ("path", "text") else "capture_location_bytes"
    return _Field(index, offset, size, member=member, function=function, limit=limit)
