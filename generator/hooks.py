"""The programs of a syscall's handler: one a hook, which differ in how they find its arguments and result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from traceleft.linux import EXECS

RESULT_OFFSET: Final = 16
"""Offset of the result in the context of a syscall tracepoint."""
Ending = Literal["", "emit_entry", "save", "emit"]
"""What a program does last: put the event out at its entry, keep what the entry captured, put it out; nothing more."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One program of a handler: where it is attached, and how it finds a call's arguments or result.

    Its template prints the statements by ``role``. ``guard`` is the preprocessor's condition for a hook that not every
    level has, ``result`` the expression of a result that has no helper, ``extra`` what the event is put out with.
    """

    role: str
    section: str
    context: str
    guard: str = ""
    ending: Ending = ""
    result: str = ""
    extra: str = ""


_RAW: Final = "struct raw_tracepoint_args *ctx"
_REGISTERS: Final = "struct pt_regs *ctx"
_HAS_RAW: Final = "HAS_RAW_TRACEPOINT"
_HAS_TRACEPOINT: Final = "HAS_TRACEPOINT"
# sched_prepare_exec came with 6.10; before, a kprobe on begin_new_exec() or flush_old_exec() serves. Verifiers of level
# 4.11 follow too many paths of it.
_PREPARES: Final = (
    Hook("raw_prepare", "raw_tp", _RAW, "HAS_RINGBUF"),
    Hook("tp_prepare", "tp", "void *ctx", "HAS_RINGBUF"),
    Hook("kprobe_prepare", "kprobe", _REGISTERS, "HAS_LIVENESS"),
)


def syscall_hooks(name: str, event: Mapping[str, Any]) -> list[Hook]:
    """Give the programs of a syscall's handler, in the order in which they are printed."""
    entry = event["entry"]
    raw_extra, extra = (", (const void *)ctx->args[0]", ", NULL") if name in EXECS else ("", "")
    at_entry: Ending = "emit_entry" if entry == "emit" else "save" if entry == "save" else ""
    hooks = [Hook("raw_enter", "raw_tp", _RAW, _HAS_RAW, at_entry)] if at_entry else []
    if entry != "emit":
        hooks.append(Hook("raw_exit", "raw_tp", _RAW, _HAS_RAW, "emit", extra=raw_extra))
    # A tracepoint sees no return where only the entry knows the number.
    hooks.append(Hook("tp_enter", "tp", "void *ctx", _HAS_TRACEPOINT, "emit_entry" if entry == "number" else at_entry))
    if entry not in ("emit", "number"):
        result = f"*(__s64 *)(ctx + {RESULT_OFFSET})"
        hooks.append(Hook("tp_exit", "tp", "void *ctx", _HAS_TRACEPOINT, "emit", result, extra))
    hooks.append(Hook("kprobe", "kprobe", _REGISTERS, ending=at_entry))
    hooks.append(Hook("kprobe_plain", "kprobe", _REGISTERS, "HAS_PLAIN_SYSCALLS", at_entry))
    if entry != "emit":
        hooks.append(Hook("kretprobe", "kretprobe", _REGISTERS, ending="emit", result="(__s64)ctx->ax", extra=extra))
    if name in EXECS and any("slot" in argument for argument in event["args"]):
        hooks += _PREPARES
    return hooks
