"""The programs of a syscall's handler: one a hook, which differ in how they find its arguments and result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from traceleft.linux import EXECS

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


def syscall_hooks(name: str, event: Mapping[str, Any]) -> list[Hook]:
    entry, regs = event["entry"], "(const void *)ctx->args[0]"
    extra = (f", {regs}", ", NULL") if name in EXECS else ("", "")
    hooks = [_raw_enter(entry)] if entry in ("save", "emit") else []
    if entry != "emit":
        hooks.append(_raw_exit(extra[0]))
    hooks.append(_tp_enter(event))
    if entry not in ("emit", "number"):
        hooks.append(_tp_exit(extra[1]))
    hooks += [_kprobe(entry), _kprobe_plain(event)]
    if entry != "emit":
        hooks.append(_kretprobe(extra[1]))
    if name in EXECS and any("slot" in argument for argument in event["args"]):
        hooks += [Hook(*each, lines=("return prepare(config, &call);",), guard=guard) for each, guard in _PREPARES]
    return hooks


_RAW: Final = "struct raw_tracepoint_args *ctx"
_REGISTERS: Final = "struct pt_regs *ctx"
_HAS_RAW: Final = "HAS_RAW_TRACEPOINT"
_HAS_TRACEPOINT: Final = "HAS_TRACEPOINT"
# sched_prepare_exec came with 6.10; before, a kprobe on begin_new_exec() or flush_old_exec() serves. Verifiers of level
# 4.11 follow too many paths of it.
_PREPARES: Final = (
    (("raw_prepare", "raw_tp", _RAW), "HAS_RINGBUF"),
    (("tp_prepare", "tp", "void *ctx"), "HAS_RINGBUF"),
    (("kprobe_prepare", "kprobe", _REGISTERS), "HAS_LIVENESS"),
)


def _raw_enter(entry: str) -> Hook:
    last = ("return emit_entry(config, &call);",) if entry == "emit" else ("save(config, &call);", "return 0;")
    read = ("kept_args(&call);",)
    return Hook("raw_enter", "raw_tp", _RAW, lines=read + last, guard=_HAS_RAW)


def _raw_exit(extra: str) -> Hook:
    lines = ("take_raw_exit(ctx, config, EVENT, &call);", f"return emit(config, &call{extra});")
    return Hook("raw_exit", "raw_tp", _RAW, lines=lines, guard=_HAS_RAW)


def _tp_enter(event: Mapping[str, Any]) -> Hook:
    loads = tuple(
        f"call.args[{index}] = *(__u64 *)(ctx + {ARGUMENT_OFFSET + 8 * index});" for index in range(event["registers"])
    )
    lines = loads + _kept_entry(event["entry"], ("emit", "number"))
    return Hook("tp_enter", "tp", "void *ctx", lines=lines, guard=_HAS_TRACEPOINT)


def _kprobe(entry: str) -> Hook:
    comment = ("/* The wrapper's only argument is the caller's registers (Linux 4.17 and later). */",)
    read = ("read_args(call.args, (const void *)ctx->di);",)
    return Hook("kprobe", "kprobe", _REGISTERS, comment, lines=read + _kept_entry(entry, ("emit",)))


def _kprobe_plain(event: Mapping[str, Any]) -> Hook:
    comment = ("/* Below 4.17 a syscall is a function of its arguments. */",)
    number = event["number"]
    own = () if number is None else (f"if (!is_own_call(ctx, config, {number}))", "\treturn 0;")
    lines = (*own, "read_plain_args(call.args, ctx);", *_kept_entry(event["entry"], ("emit",)))
    return Hook("kprobe_plain", "kprobe", _REGISTERS, comment, lines=lines, guard="HAS_PLAIN_SYSCALLS")


def _kept_entry(entry: str, emitting: tuple[str, ...]) -> tuple[str, ...]:
    keep = ("if (!keep_entry(config, EVENT, &call))", "\treturn 0;")
    if entry in emitting:
        return (*keep, "return emit_entry(config, &call);")
    if entry == "save":
        return (*keep, "save(config, &call);", "return 0;")
    return (*keep, "return 0;")


def _tp_exit(extra: str) -> Hook:
    lines = _kept_exit(f"*(__s64 *)(ctx + {ARGUMENT_OFFSET})", extra)
    return Hook("tp_exit", "tp", "void *ctx", lines=lines, guard=_HAS_TRACEPOINT)


def _kretprobe(extra: str) -> Hook:
    return Hook("kretprobe", "kretprobe", _REGISTERS, lines=_kept_exit("(__s64)ctx->ax", extra))


def _kept_exit(result: str, extra: str) -> tuple[str, ...]:
    return (
        f"if (!take_kept(config, EVENT, {result}, &call))",
        "\treturn 0;",
        f"return emit(config, &call{extra});",
    )
