"""Which signals of strace's a process ignores, derived from the calls by which it chose what they do.

The kernel throws an ignored signal away as it is sent, unless the process is ptraced: then strace shows it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from tests.differential.strace_text import Call, Line, Signal, Struct, Word
from traceleft.linux import EXECS

IGNORED_BY_DEFAULT: Final = frozenset({"SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"})
FORKS: Final = frozenset({"clone", "clone3", "fork", "vfork"})

Handlers = dict[str, str]
"""What each signal does that does not do what it does by default: SIG_IGN or the address of a handler."""


def mark_ignored(lines: Iterable[Line], threads: Mapping[int, tuple[int, ...]]) -> Iterator[Line]:
    """Yield the lines of a trace, signals that their process ignores marked as such."""
    tids = {thread: tid for tid, thread in threads.items()}
    handlers: dict[int, Handlers] = {}
    for line in lines:
        parent = tids.get(threads.get(line.tid, ())[:-1])
        if line.tid not in handlers:  # in a call of the parent's that has not returned
            handlers[line.tid] = dict(handlers.get(parent or 0, {}))
        own = handlers[line.tid]
        if isinstance(line, Call):
            _follow(line, own, handlers)
        if isinstance(line, Signal):
            line = replace(line, is_ignored=_ignores(own, line.name))
        yield line


def _follow(call: Call, own: Handlers, handlers: dict[int, Handlers]) -> None:
    """Book what a call does to its thread's handlers, or to a child's."""
    if call.name == "rt_sigaction" and call.ret == "0" and (action := _action(call)) is not None:
        own[action[0]] = action[1]
    elif call.name in EXECS and call.ret == "0":
        kept = {name: handler for name, handler in own.items() if handler == "SIG_IGN"}
        own.clear()
        own.update(kept)
    elif call.name in FORKS and call.ret not in ("?", "-1"):
        child = int(call.ret, 0)
        if _shares_handlers(call):
            handlers[child] = own
        else:
            handlers.setdefault(child, dict(own))


def _action(call: Call) -> tuple[str, str] | None:
    """Return which signal rt_sigaction gives which handler, None where it only asks."""
    (_, signal), (_, action) = call.args[:2]
    handler = action.get("sa_handler") if isinstance(action, Struct) else None
    if not isinstance(signal, Word) or not isinstance(handler, Word):
        return None
    return signal.text, handler.text


def _shares_handlers(call: Call) -> bool:
    return any("CLONE_SIGHAND" in repr(value) for _, value in call.args)


def _ignores(own: Handlers, name: str) -> bool:
    handler = own.get(name, "SIG_DFL")
    return handler == "SIG_IGN" or (handler == "SIG_DFL" and name in IGNORED_BY_DEFAULT)
