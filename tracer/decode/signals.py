"""Names of signals, and the status that wait gives of a child."""

from typing import Final

from traceleft.tracer.decode.value import Value

SIGNALS: Final = (
    *("SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1"),
    *("SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP"),
    *("SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR"),
    *("SIGSYS", "SIGRTMIN", *(f"SIGRT_{number}" for number in range(1, 33))),
)
"""Names by number, less one: generic Linux (x86, arm); real-time signals as strace writes them."""

_STOPPED, _CONTINUED, _CORE, _SYSCALL_STOP = 0x7F, 0xFFFF, 0x80, 0x80
_PTRACE_EVENTS: Final = {
    1: "FORK",
    2: "VFORK",
    3: "CLONE",
    4: "EXEC",
    5: "VFORK_DONE",
    6: "EXIT",
    7: "SECCOMP",
    128: "STOP",
}


def name_signal(number: int) -> str:
    """Return a signal's name, its number as text where it has none."""
    return SIGNALS[number - 1] if 1 <= number <= len(SIGNALS) else str(number)


def show_wait_status(status: int) -> dict[str, Value]:
    """Return what became of a child: it exited, was signaled (``core_dumped``), stopped or continued.

    A stop that ptrace made tells its ``event``, and whether it is a ``syscall``'s.
    """
    status &= 0xFFFFFFFF
    signal, code, event = status & 0x7F, status >> 8 & 0xFF, status >> 16
    if status == _CONTINUED:
        return {"continued": True}
    if status & 0xFF == _STOPPED:
        return _show_stop(code, event)
    if signal:
        return {"signaled": name_signal(signal), "core_dumped": bool(status & _CORE)}
    return {"exited": code}


def _show_stop(code: int, event: int) -> dict[str, Value]:
    is_syscall = code == (SIGNALS.index("SIGTRAP") + 1 | _SYSCALL_STOP)
    stopped: dict[str, Value] = {"stopped": name_signal(code & ~_SYSCALL_STOP if is_syscall else code)}
    if is_syscall:
        stopped["syscall"] = True
    if event:
        name = _PTRACE_EVENTS.get(event)
        stopped["event"] = f"PTRACE_EVENT_{name}" if name else f"0x{event:x}"
    return stopped


def show_wait_text(status: Value) -> str:
    """Return a shown status in the words of wait's macros."""
    match status:
        case {"exited": code}:
            return f"{{WIFEXITED(s) && WEXITSTATUS(s) == {code}}}"
        case {"signaled": signal, "core_dumped": dumped}:
            return f"{{WIFSIGNALED(s) && WTERMSIG(s) == {signal}{' && WCOREDUMP(s)' if dumped else ''}}}"
        case {"stopped": signal, **rest}:
            mark = f" | 0x{_SYSCALL_STOP:x}" if "syscall" in rest else ""
            event = f" | {rest['event']} << 16" if "event" in rest else ""
            return f"{{WIFSTOPPED(s) && WSTOPSIG(s) == {signal}{mark}}}{event}"
    return "{WIFCONTINUED(s)}"
