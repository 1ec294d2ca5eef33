"""How a handler captures what a syscall's pointer arguments lead to, as C expressions."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Event = Mapping[str, Any]
"""An event of the schema document, as docs/schema.md has it."""

LINE_MAX: Final = 70
CONTINUATION: Final = "\n\t\t\t\t"


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


def capture_call(event: Event, argument: Mapping[str, Any], member: str) -> str:
    """Give the statement that captures in scratch what one pointer argument leads to."""
    kind, parameters = capture_parameters(event, argument)
    address = f"call->args[{argument['index']}]"
    target = f"scratch, offset, &record->{member}"
    function = f"capture_{kind}"
    rest = ", ".join([address, *parameters])
    # A long call goes on in the next line, as far in as kernel style has it.
    gap = " " if len(target) + len(rest) < LINE_MAX else CONTINUATION
    return f"offset = {function}({target},{gap}{rest});"


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
