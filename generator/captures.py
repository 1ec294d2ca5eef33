"""How a handler captures what a syscall's pointer arguments lead to, as C expressions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Event = Mapping[str, Any]
"""An event of the schema document, as docs/reference/schema.md has it."""

LINE_MAX: Final = 70

When = Literal["retried", "always", "succeeded"]


@dataclass(frozen=True, slots=True)
class Capture:
    """One pointer argument's capture: the helper that is called (empty: there is no room), and what it takes.

    ``when`` says when it is read at the exit, ``kind`` what a new image has in its place.
    """

    function: str
    member: str
    rest: str
    when: When
    slot: int
    kind: str
    is_long: bool = False


def slot_arguments(event: Event) -> Iterator[tuple[Mapping[str, Any], str, str | None]]:
    """Give the pointer arguments that are captured, each with its slot and the one that it has for the exit."""
    slots = event["layout"]["slots"]
    for argument in event["args"]:
        if "slot" in argument:
            second = slots[argument["slot_out"]]["name"] if "slot_out" in argument else None
            yield argument, slots[argument["slot"]]["name"], second


def is_environment(argument: Mapping[str, Any]) -> bool:
    """Tell whether an argument is an environment, whose strings may be secrets."""
    return (argument["kind"], argument["name"]) == ("strings", "envp")


def is_read_after_errors(argument: Mapping[str, Any]) -> bool:
    """Tell whether what an argument leads to is also read where the call failed.

    What the kernel was to write is not; where that is led to by a vector or a message, the vector itself is.
    """
    is_vector = argument["kind"] in ("iovec", "msghdr")
    return argument["direction"] == "in" or bool(argument.get("on_error")) or is_vector


def length_expression(event: Event, length: Mapping[str, Any], *, on_stack: bool = False) -> str:
    """Give a LENGTH of the schema as a C expression, for a record that is built in scratch or on the stack."""
    if "constant" in length:
        return str(length["constant"])
    if "pointer" in length:
        return _pointed_length(event, length["pointer"], on_stack=on_stack)
    argument = _scalar(event, length["arg"]) if "arg" in length else ""
    if length.get("ret"):
        return f"minimum(call->ret, {argument})" if argument else "call->ret"
    return argument


def _pointed_length(event: Event, index: int, *, on_stack: bool) -> str:
    """The kernel says how long the whole would be, and writes no more than the size that it got at entry."""
    for argument in event["args"]:
        if argument["index"] == index and "slot_out" in argument:
            room = event["layout"]["slots"][argument["slot"]]["name"]
            if on_stack:
                return f"minimum(read_length(call->args[{index}]), *(__u32 *)stack->{room})"
            return f"written_length(scratch, &record->{room}, call->args[{index}])"
    return f"read_length(call->args[{index}])"


def _scalar(event: Event, index: int) -> str:
    widths = {argument["index"]: argument["width"] for argument in event["args"]}
    cast = "" if widths.get(index, 8) == 8 else "(__u32)"
    return f"{cast}call->args[{index}]"


def entry_arguments(event: Event) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Give the pointer arguments that are captured at the entry, each with its slot there."""
    slots = event["layout"]["slots"]
    for argument, member, _ in slot_arguments(event):
        if slots[argument["slot"]]["at"] == "entry":
            yield argument, member


def exit_arguments(event: Event) -> Iterator[tuple[Mapping[str, Any], str, When]]:
    """Give the pointer arguments with their slots at the exit, and when each is captured there."""
    slots = event["layout"]["slots"]
    for argument, member, second in slot_arguments(event):
        if slots[argument["slot"]]["at"] == "entry" and second is None:
            yield argument, member, "retried"
        else:
            yield argument, second or member, "always" if is_read_after_errors(argument) else "succeeded"


def scratch_capture(event: Event, argument: Mapping[str, Any], member: str, when: When = "always") -> Capture:
    """Give the capture in scratch of what one pointer argument leads to."""
    helper, parameters = capture_parameters(event, argument)
    rest = ", ".join([f"call->args[{argument['index']}]", *parameters])
    is_long = len(f"scratch, offset, &record->{member}") + len(rest) >= LINE_MAX
    kind = "environment" if is_environment(argument) else argument["kind"]
    return Capture(f"capture_{helper}", member, rest, when, argument["slot"], kind, is_long)


def capture_parameters(event: Event, argument: Mapping[str, Any], *, on_stack: bool = False) -> tuple[str, list[str]]:
    """Give the helper's name less its prefix, and what it takes behind the address."""
    length = length_expression(event, argument["length"], on_stack=on_stack) if "length" in argument else ""
    available = "(call->ret < 0 ? 0 : call->ret)" if argument["direction"] == "out" else "~0ULL"
    match argument["kind"]:
        case "path":
            return "text", ["PATH_LIMIT"]
        case "text":
            return "text", ["config->text_limit"]
        case "strings" if is_environment(argument) and not on_stack:
            return "environment", ["config"]
        case "strings":
            return "strings", []
        case "buffer":
            return "bytes", [length, "config->text_limit"]
        case "sockaddr":
            return "bytes", [length, "SOCKADDR_MAX"]
        case "sigset":
            return "bytes", [length, "128"]
        case "fdset":
            return "bytes", [f"(({length} + 63) / 64) * 8", "128"]
        case "struct":
            size = str(argument["size"])
            return "bytes", [f"minimum({length}, {size})" if length else size, size]
        case "value":
            size = str(argument["element"]["width"])
            return "bytes", [size, size]
        case "array":
            limit = length if length.isdigit() else "config->text_limit"
            return "array", [length, str(argument["size"]), limit]
        case "iovec":
            return "iovec", [length, available]
        case "msghdr":
            return "msghdr", [available]
    raise ValueError(f"no capture for kind {argument['kind']!r}")
