"""Signals and ends of threads, in lines as strace has them."""

from collections.abc import Mapping

from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import error_name


def show_signal(args: "Mapping[str, Value]") -> str:
    """Return a signal as strace shows it."""
    info = args["info"]
    if not isinstance(info, dict):
        return f"--- {args['signal']} ---"
    # The code comes before an error, which is shown if there is one.
    shown = {name: _show_member(value) for name, value in info.items() if name != "si_errno"}
    first = [f"{name}={shown.pop(name)}" for name in ("si_signo", "si_code") if name in shown]
    error = info.get("si_errno")
    first += [f"si_errno={error_name(error)}"] if isinstance(error, int) and error else []
    rest = [f"{name}={value}" for name, value in shown.items()]
    return f"--- {args['signal']} {{{', '.join([*first, *rest])}}} ---"


def _show_member(value: "Value") -> str:
    return "NULL" if value is None else str(value)


def show_exit(args: "Mapping[str, Value]") -> str:
    """Return the end of a thread as strace shows it."""
    match args["status"]:
        case {"signaled": signal, "core_dumped": dumped}:
            return f"+++ killed by {signal}{' (core dumped)' if dumped else ''} +++"
        case {"exited": code}:
            return f"+++ exited with {code} +++"
    return f"+++ exited with {args['status']} +++"
