"""What a handler's template prints, worked out from an event of the schema.

Pure: the schema document's event in, plain strings out. The lines are C
statements in the order in which they run; the helpers that they call are in
``templates/include``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Event = Mapping[str, Any]
"""An event of the schema document, as docs/schema.md has it."""

VECTOR_KINDS: Final = frozenset({"strings", "iovec", "msghdr"})
EXEC_EVENTS: Final = frozenset({"execve", "execveat"})
SAVED_BYTES: Final = 1024
SCRATCH_LIMIT: Final = 32767
LINE_MAX: Final = 70
CONTINUATION: Final = "\n\t\t\t\t"
ARGUMENT_OFFSET: Final = 16
"""Offset of the first argument, and of the result, in the context of a syscall tracepoint."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One program of a handler."""

    role: str
    section: str
    context: str
    comment: tuple[str, ...] = ()
    guard: str = ""
    """The preprocessor's condition for a hook that not every level has."""
    lines: tuple[str, ...] = ()


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
    is_exec, saves = name in EXEC_EVENTS, event["entry"] == "save"
    return {
        "source": f"syscalls/sys_enter_{name}",
        "header": "exec.h" if is_exec else "syscall.h",
        "has_vectors": any(argument["kind"] in VECTOR_KINDS for argument in event["args"]),
        "body_template": "syscall_body.j2",
        "saves": saves,
        "emits": event["entry"] in ("emit", "number"),
        "saved_map": "saved_exec" if is_exec else "saved",
        "saved_limit": SCRATCH_LIMIT if is_exec else SAVED_BYTES,
        "regs_parameter": ", const void *regs" if is_exec else "",
        "entry_lines": list(_entry_lines(event)),
        "exit_declarations": _exit_declarations(saves=saves, is_exec=is_exec),
        "exit_lines": list(_exec_exit_lines(event) if is_exec else _exit_lines(event)),
        "hooks": _syscall_hooks(name, event),
    }


def _exit_declarations(*, saves: bool, is_exec: bool) -> list[str]:
    declarations = ["const void *begun;", "__u64 resumed;"] if saves else []
    return [*declarations, "struct new_stack stack;"] if is_exec else declarations


def _slot_arguments(event: Event) -> Iterator[tuple[Mapping[str, Any], str, str | None]]:
    slots = event["layout"]["slots"]
    for argument in event["args"]:
        if "slot" in argument:
            second = slots[argument["slot_out"]]["name"] if "slot_out" in argument else None
            yield argument, slots[argument["slot"]]["name"], second


def _entry_lines(event: Event) -> Iterator[str]:
    slots = event["layout"]["slots"]
    for argument, member, _ in _slot_arguments(event):
        if slots[argument["slot"]]["at"] == "entry":
            yield capture_call(event, argument, member)


def _exit_lines(event: Event) -> Iterator[str]:
    slots = event["layout"]["slots"]
    for argument, member, second in _slot_arguments(event):
        capture = capture_call(event, argument, second or member)
        if slots[argument["slot"]]["at"] == "entry" and second is None:
            yield f"if (!resumed || record->{member}.status == -EFAULT)"
            yield f"\t{capture}"
        elif argument["direction"] == "in" or argument.get("on_error"):
            yield capture
        else:
            yield "if (call->ret >= 0)"
            yield f"\t{capture}"


def _exec_exit_lines(event: Event) -> Iterator[str]:
    """A failed call's memory is intact; a successful one's is the new image's."""
    pairs = [(argument, member) for argument, member, _ in _slot_arguments(event)]
    yield "if (call->ret >= 0 && !resumed)"
    yield "\treturn 0;"
    for argument, member in pairs:
        yield f"if (call->ret < 0 && (!resumed || record->{member}.status == -EFAULT))"
        yield f"\t{capture_call(event, argument, member)}"
    wanted = " || ".join(f"record->{member}.status == -EFAULT" for _, member in pairs)
    if not wanted:
        return
    yield f"if (call->ret >= 0 && regs && ({wanted})) {{"
    yield "\tstack = find_new_stack(regs);"
    yield "\tcall->flags |= RECORD_NEW_STACK;"
    for argument, member in pairs:
        yield f"\tif (record->{member}.status == -EFAULT)"
        yield f"\t\t{_new_stack_capture(argument, member)}"
    yield "}"


def _new_stack_capture(argument: Mapping[str, Any], member: str) -> str:
    if argument["kind"] == "path":
        return f"offset = capture_text(scratch, offset, &record->{member}, find_executed_name(&stack), PATH_LIMIT);"
    vector = "envp" if argument["name"] == "envp" else "argv"
    return f"offset = capture_strings(scratch, offset, &record->{member}, stack.{vector});"


def length_expression(event: Event, length: Mapping[str, Any]) -> str:
    """Give a LENGTH of the schema as a C expression."""
    if "constant" in length:
        return str(length["constant"])
    if "pointer" in length:
        return _pointed_length(event, length["pointer"])
    argument = _scalar(event, length["arg"]) if "arg" in length else ""
    if length.get("ret"):
        return f"minimum(call->ret, {argument})" if argument else "call->ret"
    return argument


def _pointed_length(event: Event, index: int) -> str:
    """The kernel says how long the whole would be, and writes no more than it was told at entry."""
    for argument in event["args"]:
        if argument["index"] == index and "slot_out" in argument:
            room = event["layout"]["slots"][argument["slot"]]["name"]
            return f"written_length(scratch, &record->{room}, call->args[{index}])"
    return f"read_length(call->args[{index}])"


def _scalar(event: Event, index: int) -> str:
    widths = {argument["index"]: argument["width"] for argument in event["args"]}
    cast = "" if widths.get(index, 8) == 8 else "(__u32)"
    return f"{cast}call->args[{index}]"


def capture_call(event: Event, argument: Mapping[str, Any], member: str) -> str:
    """Give the statement that captures what one pointer argument leads to."""
    function, parameters = _capture(event, argument)
    address = f"call->args[{argument['index']}]"
    target = f"scratch, offset, &record->{member}"
    rest = ", ".join([address, *parameters])
    # A long call goes on in the next line, as far in as kernel style has it.
    gap = " " if len(target) + len(rest) < LINE_MAX else CONTINUATION
    return f"offset = {function}({target},{gap}{rest});"


def _capture(event: Event, argument: Mapping[str, Any]) -> tuple[str, list[str]]:
    length = length_expression(event, argument["length"]) if "length" in argument else ""
    available = "call->ret" if argument["direction"] == "out" else "~0ULL"
    match argument["kind"]:
        case "path":
            return "capture_text", ["PATH_LIMIT"]
        case "text":
            return "capture_text", ["config->text_limit"]
        case "strings":
            return "capture_strings", []
        case "buffer":
            return "capture_bytes", [length, "config->text_limit"]
        case "sockaddr":
            return "capture_bytes", [length, "SOCKADDR_MAX"]
        case "sigset":
            return "capture_bytes", [length, "128"]
        case "fdset":
            return "capture_bytes", [f"(({length} + 63) / 64) * 8", "128"]
        case "struct":
            size = str(argument["size"])
            return "capture_bytes", [f"minimum({length}, {size})" if length else size, size]
        case "value":
            size = str(argument["element"]["width"])
            return "capture_bytes", [size, size]
        case "array":
            limit = length if length.isdigit() else "config->text_limit"
            return "capture_array", [length, str(argument["size"]), limit]
        case "iovec":
            return "capture_iovec", [length, available]
        case "msghdr":
            return "capture_msghdr", [available]
    raise ValueError(f"no capture for kind {argument['kind']!r}")


def _syscall_hooks(name: str, event: Event) -> list[Hook]:
    entry, regs = event["entry"], "(const void *)ctx->args[0]"
    extra = (f", {regs}", ", NULL") if name in EXEC_EVENTS else ("", "")
    hooks = [_raw_enter(entry)] if entry in ("save", "emit") else []
    if entry != "emit":
        hooks.append(_raw_exit(extra[0]))
    hooks.append(_tp_enter(event))
    if entry not in ("emit", "number"):
        hooks.append(_tp_exit(extra[1]))
    hooks += [_kprobe(entry), _kprobe_plain(entry)]
    if entry != "emit":
        hooks.append(_kretprobe(extra[1]))
    return hooks


_RAW: Final = "struct raw_tracepoint_args *ctx"
_REGISTERS: Final = "struct pt_regs *ctx"
_HAS_RAW: Final = "HAS_RAW_TRACEPOINT"


def _raw_enter(entry: str) -> Hook:
    last = ("return emit_entry(config, &call);",) if entry == "emit" else ("save(config, &call);", "return 0;")
    read = ("read_args(call.args, (const void *)ctx->args[0]);", "call.tid = bpf_get_current_pid_tgid();")
    return Hook("raw_enter", "raw_tp", _RAW, lines=read + last, guard=_HAS_RAW)


def _raw_exit(extra: str) -> Hook:
    lines = ("take_raw_exit(ctx, config, EVENT, &call);", f"return emit(config, &call{extra});")
    return Hook("raw_exit", "raw_tp", _RAW, lines=lines, guard=_HAS_RAW)


def _tp_enter(event: Event) -> Hook:
    loads = tuple(
        f"call.args[{index}] = *(__u64 *)(ctx + {ARGUMENT_OFFSET + 8 * index});" for index in range(event["registers"])
    )
    return Hook("tp_enter", "tp", "void *ctx", lines=loads + _kept_entry(event["entry"], ("emit", "number")))


def _kprobe(entry: str) -> Hook:
    comment = ("/* The wrapper's only argument is the caller's registers (Linux 4.17 and later). */",)
    read = ("read_args(call.args, (const void *)ctx->di);",)
    return Hook("kprobe", "kprobe", _REGISTERS, comment, lines=read + _kept_entry(entry, ("emit",)))


def _kprobe_plain(entry: str) -> Hook:
    comment = ("/* Below 4.17 a syscall is a function of its arguments. */",)
    lines = ("read_plain_args(call.args, ctx);", *_kept_entry(entry, ("emit",)))
    return Hook("kprobe_plain", "kprobe", _REGISTERS, comment, lines=lines, guard="TRACELEFT_LEVEL < 418")


def _kept_entry(entry: str, emitting: tuple[str, ...]) -> tuple[str, ...]:
    keep = ("if (!keep_entry(config, EVENT, &call))", "\treturn 0;")
    if entry in emitting:
        return (*keep, "return emit_entry(config, &call);")
    if entry == "save":
        return (*keep, "save(config, &call);", "return 0;")
    return (*keep, "return 0;")


def _tp_exit(extra: str) -> Hook:
    return Hook("tp_exit", "tp", "void *ctx", lines=_kept_exit(f"*(__s64 *)(ctx + {ARGUMENT_OFFSET})", extra))


def _kretprobe(extra: str) -> Hook:
    return Hook("kretprobe", "kretprobe", _REGISTERS, lines=_kept_exit("(__s64)ctx->ax", extra))


def _kept_exit(result: str, extra: str) -> tuple[str, ...]:
    return (
        f"if (!take_kept(config, EVENT, {result}, &call))",
        "\treturn 0;",
        f"return emit(config, &call{extra});",
    )


def _tracepoint_context(name: str, event: Event) -> dict[str, object]:
    return {
        "source": name.replace(":", "/"),
        "header": "tracepoint.h",
        "has_vectors": False,
        "body_template": "tracepoint_body.j2",
        "lines": list(_field_lines(event)),
    }


def _field_lines(event: Event) -> Iterator[str]:
    slots = event["layout"]["slots"]
    for argument in event["args"]:
        if "slot" in argument:
            yield _field_capture(argument, slots[argument["slot"]]["name"])
        else:
            yield f"record->args[{argument['index']}] = {_field_load(argument)};"


def _field_load(argument: Mapping[str, Any]) -> str:
    offset, size = argument["offset"], argument["size"]
    if size in (1, 2, 4, 8) and offset % size == 0:
        sign = "s" if argument["signed"] and size > 2 else "u"
        return f"*(__{sign}{8 * size} *)(ctx + {offset})"
    return f"read_field(ctx + {offset}, {min(size, 8)})"


def _field_capture(argument: Mapping[str, Any], member: str) -> str:
    target = f"scratch, offset, &record->{member}"
    if argument.get("data_loc"):
        limit = "PATH_LIMIT" if argument["kind"] == "path" else "config->text_limit"
        function = "capture_location" if argument["kind"] in ("path", "text") else "capture_location_bytes"
        return f"offset = {function}({target}, ctx, *(__u32 *)(ctx + {argument['offset']}), {limit});"
    return f"offset = capture_field({target}, ctx + {argument['offset']}, {argument['size']});"
