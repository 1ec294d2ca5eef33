"""What a handler's template prints, worked out from an event of the schema.

Pure: the schema document's event in, plain strings out. The lines are C
statements in the order in which they run; the helpers that they call are in
``templates/include``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from traceleft.generator.captures import (
    CONTINUATION,
    Event,
    capture_call,
    capture_parameters,
    is_environment,
    is_read_after_errors,
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
        "entry_lines": list(_entry_lines(event)),
        "prepares": any(hook.role.endswith("_prepare") for hook in hooks),
        "exit_declarations": _exit_declarations(saves=saves, is_exec=is_exec),
        "exit_lines": list(_exec_exit_lines(event) if is_exec else _exit_lines(event)),
        "short": _short(event) if not saves else None,
        "stack": stack_context(event, is_exec=is_exec, saves=saves),
        "hooks": hooks,
    }


def _short(event: Event) -> dict[str, object] | None:
    """Give the statements for a record whose only tail is a buffer, which `-s` keeps short."""
    pointers = list(slot_arguments(event))
    if [argument["kind"] for argument, _, _ in pointers] != ["buffer"]:
        return None
    ((argument, member, _),) = pointers
    _, (length, limit) = capture_parameters(event, argument)
    target = f"record->tail, length, &record->record.{member}"
    capture = f"length = capture_short({target},{CONTINUATION}call->args[{argument['index']}], {length}, {limit});"
    if is_read_after_errors(argument):
        return {"member": member, "lines": [capture]}
    return {"member": member, "lines": ["if (call->ret >= 0)", f"\t{capture}"]}


def _exit_declarations(*, saves: bool, is_exec: bool) -> list[str]:
    declarations = ["__u32 tid = bpf_get_current_pid_tgid();", "const void *begun;", "__u64 resumed;"] if saves else []
    return [*declarations, "struct new_stack stack;"] if is_exec else declarations


def _entry_lines(event: Event) -> Iterator[str]:
    slots = event["layout"]["slots"]
    for argument, member, _ in slot_arguments(event):
        if slots[argument["slot"]]["at"] == "entry":
            yield capture_call(event, argument, member)


def _exit_lines(event: Event) -> Iterator[str]:
    slots = event["layout"]["slots"]
    for argument, member, second in slot_arguments(event):
        capture = capture_call(event, argument, second or member)
        if slots[argument["slot"]]["at"] == "entry" and second is None:
            yield f"if (!resumed || record->{member}.status == -EFAULT)"
            yield f"\t{capture}"
        elif is_read_after_errors(argument):
            yield capture
        else:
            yield "if (call->ret >= 0)"
            yield f"\t{capture}"


def _exec_exit_lines(event: Event) -> Iterator[str]:
    """A failed call's memory is intact; a successful one's is the new image's."""
    pairs = [(argument, member) for argument, member, _ in slot_arguments(event)]
    yield "if (call->ret >= 0 && !resumed)"
    yield "\treturn 0;"
    if any(is_environment(argument) for argument, _ in pairs):
        yield "if (!(config->flags & CONFIG_ENVIRONMENT))"
        yield "\tcall->flags |= RECORD_COUNTED;"
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
        yield f"\tif (record->{member}.status == -EFAULT) {{"
        yield f"\t\tcall->flags |= RECORD_SUBSTITUTE({argument['slot']});"
        yield f"\t\t{_new_stack_capture(argument, member)}"
        yield "\t}"
    yield "}"


def _new_stack_capture(argument: Mapping[str, Any], member: str) -> str:
    if argument["kind"] == "path":
        return f"offset = capture_text(scratch, offset, &record->{member}, find_executed_name(&stack), PATH_LIMIT);"
    target = f"scratch, offset, &record->{member}"
    if is_environment(argument):
        return f"offset = capture_new_environment({target}, stack.envp, config);"
    return f"offset = capture_strings({target}, stack.argv);"


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
